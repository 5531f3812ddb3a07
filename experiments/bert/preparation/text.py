"""Documents from local files: which files, and what is in them.

Text has one sentence a line and a blank line between documents; CoNLL-U has gold tags (see
`conllu`). Both may be compressed (.gz, .xz) or members of a .zip.
"""

import gzip
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, TypeVar

from experiments.bert.preparation.conllu import conllu_documents
from experiments.bert.preparation.documents import Document, TaggedSentence
from experiments.configuration import ConfigurationError

__all__ = ["NLTK_DATA", "check_no_copies", "find_files", "read_documents"]

T = TypeVar("T")

NLTK_DATA = "nltk_data"
"""Folder of NLTK's models and word lists, which may lie beside the text and is none."""

SUFFIXES = (".txt", ".conllu")
"""Of text and CoNLL-U, alone, before .gz or .xz, or as members of a .zip."""

ARCHIVES = (".gz", ".xz", ".zip")

LONGEST = 100_000
"""Characters of a line; what is longer is no sentence."""

_LONGEST_BYTES = 4 * LONGEST + 8
"""What is read of a line at most: a character has up to four bytes; a byte order mark, a line end.
"""

_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,  # names of members
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a truncated, damaged or encrypted archive raises."""


_LINES = "text should have one sentence a line, and a blank line between documents"


def find_files(folder: Path, patterns: Sequence[str], field: str) -> tuple[Path, ...]:
    """The files that patterns mean.

    Args:
        folder: what relative patterns are relative to.
        patterns: files, folders (all their files of a known kind, at any depth) or glob patterns.
        field: of the configuration, for the error.

    Returns:
        Files in order of the patterns, then of their names; each once.

    Raises:
        ConfigurationError: a pattern that matches nothing, or a file of an unknown kind.
    """
    found = chain.from_iterable(_matches(folder, pattern, field) for pattern in patterns)
    return tuple(dict.fromkeys(found))


def read_documents(files: Sequence[Path], folder: Path) -> Iterator[Document]:
    """Documents of files, in order; a document never goes on in another file.

    Args:
        files: from `find_files`.
        folder: names of documents are relative to it.

    Raises:
        ConfigurationError: bytes that are not UTF-8, a damaged archive, lines that are no
            sentences, faulty CoNLL-U; the message names file and line.
    """
    return _read(files, folder, _documents)


def check_no_copies(files: Sequence[Path], folder: Path) -> None:
    """Refuse text that is there twice: one copy could be trained on and the other held out.

    Args:
        files: from `find_files`, of all splits.
        folder: names in the message are relative to it.

    Raises:
        ConfigurationError: two files, or members of archives, that are not empty have the same
            content once uncompressed; an archive is damaged.
    """
    seen: dict[bytes, str] = {}
    for name, digest in _read(files, folder, _digest):
        if digest in seen:
            raise ConfigurationError(
                f"{seen[digest]} and {name} have the same content; held-out text should not be "
                "trained on: remove one, or name the files of `preparation.train` one by one"
            )
        seen[digest] = name


def _read(
    files: Sequence[Path], folder: Path, read: Callable[[IO[bytes], str, bool], Iterator[T]]
) -> Iterator[T]:
    """What a function of bytes, name and whether it is CoNLL-U yields for each text of files."""
    for path in files:
        name = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
        try:
            with _members(path) as members:
                for member, stream in members:
                    yield from read(stream, f"{name}{member}", _is_conllu(path, member))
        except _DAMAGED as error:
            raise ConfigurationError(
                f"{path}: cannot be read to its end ({type(error).__name__}: {error}); fetch or "
                "pack the file again"
            ) from error


def _matches(folder: Path, pattern: str, field: str) -> list[Path]:
    path = folder / pattern
    if path.is_file():
        if not _known(path):
            raise ConfigurationError(
                f"`preparation.{field}`: {path} should end in one of {', '.join(SUFFIXES)}, if "
                f"need be followed by .gz or .xz, or in .zip"
            )
        return [path]
    if path.is_dir():
        base, inside = path, "**/*"
    else:
        base = Path(path.anchor) if Path(pattern).is_absolute() else folder
        inside = str(path.relative_to(base))
    visible = (each for each in sorted(base.glob(inside)) if not _hidden(each.relative_to(base)))
    files = [each for each in visible if each.is_file() and _known(each)]
    if not files:
        raise ConfigurationError(
            f"`preparation.{field}`: {pattern!r} matches no text file in {folder.resolve()} (of "
            f"the kinds {', '.join((*SUFFIXES, *ARCHIVES))}); correct it, or --data"
        )
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == NLTK_DATA for part in path.parts)


def _known(path: Path) -> bool:
    suffixes = path.suffixes[-2:]
    if path.suffix in (".gz", ".xz"):
        return suffixes[0] != ".tar"
    return path.suffix in (*SUFFIXES, ".zip")


def _is_conllu(path: Path, member: str) -> bool:
    return ".conllu" in PurePath(member or path.name).suffixes[-2:]


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Open a file: name within the archive (empty if there is but one) and bytes of each text."""
    if path.suffix != ".zip":
        opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
        with opened(path, "rb") as stream:  # type: ignore[operator]
            yield iter([("", stream)])
        return
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if PurePath(name).suffix in SUFFIXES)
        if not names:
            raise ConfigurationError(
                f"{path}: has no member that ends in {' or '.join(SUFFIXES)}; name the files of "
                "`preparation.train` one by one"
            )
        yield _opened(archive, names)


def _opened(archive: zipfile.ZipFile, names: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    for name in names:
        with archive.open(name) as stream:
            yield f"/{name}", stream


def _digest(stream: IO[bytes], name: str, is_conllu: bool) -> Iterator[tuple[str, bytes]]:  # noqa: ARG001
    """Name and digest of a text that is not empty."""
    digest = hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type]
    if digest != hashlib.sha256().digest():
        yield name, digest


def _documents(stream: IO[bytes], name: str, is_conllu: bool) -> Iterator[Document]:
    lines = _decoded(stream, name)
    return conllu_documents(lines, name) if is_conllu else _text_documents(lines, name)


def _decoded(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines without white space around them."""
    for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_BYTES), b""), start=1):
        if len(line) >= _LONGEST_BYTES and not line.endswith(b"\n"):
            raise ConfigurationError(
                f"{name}, line {number}: at least {_LONGEST_BYTES:,} bytes in a line; {_LINES}"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{name}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; convert the "
                "file (iconv -f ENCODING -t UTF-8)"
            ) from None
        yield number, text.strip()


def _text_documents(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Document]:
    first = 1
    sentences: list[TaggedSentence] = []
    for number, line in chain(lines, [(0, "")]):
        if len(line) > LONGEST:
            raise ConfigurationError(
                f"{name}, line {number}: {len(line):,} characters in a line; {_LINES}"
            )
        if line:
            first = first if sentences else number
            sentences.append(TaggedSentence(line))
        elif sentences:
            yield Document(f"{name}:{first}", tuple(sentences))
            sentences = []
