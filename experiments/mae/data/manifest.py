"""A manifest: which files belong together, what they hold, and where they came from.

JSON Lines. The first line is a `Header`, every other one a `Record`; paths are relative to the
manifest's folder, so that both can be moved together.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from experiments.configuration import ConfigurationError, plain, strict
from experiments.mae.data.declarations import ModalityFiles, Side

__all__ = ["SCHEMA", "Header", "Manifest", "Record", "read_manifest", "write_manifest"]

T = TypeVar("T")

SCHEMA: Literal[1] = 1
"""Version of the format; a manifest of another one is refused."""

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(config=strict, kw_only=True)
class Header:
    """What holds for all records."""

    schema_version: Literal[1] = SCHEMA
    modalities: Annotated[tuple[ModalityFiles, ...], Field(min_length=1)]
    splits: dict[Text, Count]
    """Records by split."""
    classes: tuple[Text, ...] = ()
    """Names of the classes of whole images; their ids are the places in this."""
    smallest: Side
    """Least height and least width of the images."""
    largest: Side
    """Largest height and largest width."""
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the records and of the SHA-256 of each of their files, in order."""
    provenance: dict[Text, str] = Field(default_factory=dict)
    """Source, model, revision, versions: whatever tells how the files came about."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that numbers depend on, as plain data: the files, and how they are read."""
        read = [asdict(each) for each in self.modalities]
        for each in read:
            each.pop("class_names", None)
        return {"digest": self.digest, "modalities": plain(read)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(each.name for each in self.modalities)

    @model_validator(mode="after")
    def _consistent(self) -> "Header":
        for name, values in (("modalities", self.names), ("classes", self.classes)):
            twice = [each for each, count in Counter(values).items() if count > 1]
            if twice:
                raise ValueError(f"`{name}` should have different names; found {twice[0]!r} twice")
        return self


@dataclass(config=strict, kw_only=True)
class Record:
    """Files that show the same scene."""

    split: Text
    stem: Text
    """Path within a modality's folder, without the extension; the same in all modalities."""
    label: str | None = None
    """Class of the whole image: the folder of the stem."""
    size: Side
    """Height and width of the image in pixels."""
    files: dict[Text, Text]
    """Relative path by modality."""

    @model_validator(mode="after")
    def _relative(self) -> "Record":
        for path in self.files.values():
            if PurePosixPath(path).is_absolute():
                raise ValueError(f"`files` should be relative to the manifest; found {path}")
        return self


_HEADER = TypeAdapter(Header)
_RECORD = TypeAdapter(Record)


class Manifest(Sequence[Record]):
    """The records of a manifest, or of some of its splits.

    They are kept as the text of the file and parsed on demand: millions of them stay small, and
    are shared by worker processes.

    Args:
        path: of the file.
        header: its first line.
        text: the whole file.
        begins: where in `text` each record begins.
    """

    def __init__(self, path: Path, header: Header, text: bytes, begins: NDArray[np.int64]) -> None:
        self.path = path
        self.header = header
        self._text = text
        self._begins = begins

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> "Manifest": ...

    def __getitem__(self, index: int | slice) -> "Record | Manifest":
        if isinstance(index, slice):
            return Manifest(self.path, self.header, self._text, self._begins[index])
        begin = int(self._begins[index])
        return _RECORD.validate_json(self._text[begin : self._text.index(b"\n", begin)])

    @cached_property
    def folder(self) -> Path:
        """The folder that paths are relative to."""
        return self.path.resolve().parent

    def file(self, record: Record, name: str) -> Path:
        """Path of a record's modality."""
        return self.folder / record.files[name]

    def split(self, *names: str) -> "Manifest":
        """The records of some splits, in the order of the file.

        Raises:
            ConfigurationError: there is no such split.
        """
        unknown = [name for name in names if name not in self.header.splits]
        if unknown:
            raise ConfigurationError(
                f"{self.path}: has no split {unknown[0]!r}; found {', '.join(self.header.splits)}"
            )
        kept = [place for place, record in enumerate(self) if record.split in names]
        return Manifest(self.path, self.header, self._text, self._begins[kept])

    def check_files(self) -> None:
        """See that every file is there; reads none.

        Raises:
            ConfigurationError: naming the first that is missing.
        """
        for record in self:
            for name in record.files:
                if not self.file(record, name).is_file():
                    raise ConfigurationError(
                        f"{self.file(record, name)}: is missing, though {self.path} lists it as "
                        f"{name} of {record.stem}; put it back, or build the manifest again"
                    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest and check every line; the files that it names are not touched.

    Args:
        path: of the manifest.

    Raises:
        ConfigurationError: no such file, or one that is cut off, has another schema, or a line that
            is wrong; the message names file and line.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); give a manifest"
        ) from error
    end = text.find(b"\n")
    if end < 0:
        raise ConfigurationError(f"{path}, line 1: should be a header; found no whole line")
    header = _checked(path, 1, lambda: _header(text[:end]))
    counts: Counter[str] = Counter()
    begins, seen = [], set[tuple[str, str]]()
    for number, (begin, line) in enumerate(_lines(text, end + 1), 2):
        record = _checked(path, number, lambda line=line: _record(line, header, seen))  # type: ignore[misc]
        counts[record.split] += 1
        begins.append(begin)
    if counts != Counter(header.splits) or not text.endswith(b"\n"):
        raise ConfigurationError(
            f"{path}: should have the records {header.splits}, as line 1 says; found "
            f"{dict(counts)}; copy or build it again"
        )
    return Manifest(path, header, text, np.asarray(begins, np.int64))


def write_manifest(path: Path, header: Header, records: Iterable[Record]) -> Manifest:
    """Write a manifest, whole or not at all, and read it back.

    Args:
        path: of the manifest; one that is there is replaced.
        header: its first line.
        records: its other lines.

    Raises:
        ConfigurationError: `read_manifest` would refuse it; then nothing has been written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as stream:
            stream.write(_HEADER.dump_json(header) + b"\n")
            stream.writelines(_RECORD.dump_json(record) + b"\n" for record in records)
            stream.flush()
            os.fsync(stream.fileno())
        found = read_manifest(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    found.path = path
    return found


def _header(line: bytes) -> Header:
    return _HEADER.validate_json(line)


def _record(line: bytes, header: Header, seen: set[tuple[str, str]]) -> Record:
    record = _RECORD.validate_json(line)
    if set(record.files) != set(header.names):
        raise ValueError(
            f"`files` should be of {', '.join(header.names)}; found {', '.join(record.files)}"
        )
    if record.split not in header.splits:
        raise ValueError(
            f"`split` should be of line 1 ({', '.join(header.splits)}); found {record.split!r}"
        )
    if record.label is not None and record.label not in header.classes:
        raise ValueError(f"`label` should be of the classes of line 1; found {record.label!r}")
    if (record.split, record.stem) in seen:
        raise ValueError(f"`stem` should occur once in a split; found {record.stem!r} again")
    seen.add((record.split, record.stem))
    return record


def _lines(text: bytes, begin: int) -> Iterator[tuple[int, bytes]]:
    while begin < len(text):
        end = text.find(b"\n", begin)
        end = len(text) if end < 0 else end
        yield begin, text[begin:end]
        begin = end + 1


def _checked(path: Path, number: int, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] != "value_error":
            message = f"`{place}`: {message}; found {repr(first['input'])[:80]}"
        raise ConfigurationError(f"{path}, line {number}: {message}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}, line {number}: {error}") from None
