"""Manifests from folders ``root/{split}/[modality/][class/]{stem}.{ext}``, every file checked.

Files belong together by their stem, never by their order; a stem without one of its files is an
error.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import DepthFiles, LabelFiles, ModalityFiles
from experiments.mae.data.files import as_tensors, stored_values
from experiments.mae.data.layout import modality_folder, split_names, stems
from experiments.mae.data.manifest import Header, Manifest, Record, write_manifest
from experiments.progress import Stages

__all__ = ["MANIFEST", "build_manifest"]

MANIFEST = "manifest.jsonl"
"""Name of a manifest, unless another is given."""

_AT_ONCE = 1024
"""Records that are handed to the threads together."""


def build_manifest(
    root: Path,
    modalities: Sequence[ModalityFiles],
    out: Path | None = None,
    *,
    splits: Sequence[str] | None = None,
    by_modality: bool = True,
    provenance: Mapping[str, str] | None = None,
    threads: int | None = None,
    stages: Stages | None = None,
) -> Manifest:
    """Match the files of folders, read each to its last byte, and write a manifest.

    Args:
        root: holds a folder for each split.
        modalities: what the files hold; the folders are called by their names.
        out: the manifest; ``manifest.jsonl`` in `root` if None.
        splits: folders of `root`; None: all that have a folder of one of the modalities, or, if not
            `by_modality`, all folders.
        by_modality: whether a split has a folder for each modality; if not, it is itself the folder
            of the only one, as in ``root/{split}/{class}/{stem}.{ext}``.
        provenance: kept in the header, beside the versions of what has read the files.
        threads: that read files; as many as there are processors, up to 8, if None.
        stages: shows the progress; on standard error if None.

    Returns:
        The manifest; it does not depend on `threads`.

    Raises:
        ValueError: several modalities, but not `by_modality`.
        ConfigurationError: the first file, in order of split, stem and modality, that is missing,
            damaged, or holds something else than declared, its value and a remedy; or a folder
            that cannot be understood. Nothing has been written then.
    """
    if len(modalities) > 1 and not by_modality:
        raise ValueError(
            f"`by_modality` should be true for {len(modalities)} modalities; found false"
        )
    out = root / MANIFEST if out is None else out
    folder = out.resolve().parent
    names = split_names(root, modalities, splits, by_modality)
    records = [
        each
        for split in names
        for each in _matched(
            split, {m.name: modality_folder(root, split, m.name, by_modality) for m in modalities}
        )
    ]
    classes = sorted({each.label for each in records if each.label is not None})
    digest, tally = hashlib.sha256(), _Tally(modalities)
    found: list[Record] = []
    with (stages or Stages()).stage("check files", "images", len(records)) as advance:
        for each, checked in _in_threads(records, modalities, threads):
            record = _record(each, checked.size, root, folder)
            tally.add(each, checked)
            found.append(record)
            digest.update(repr((record.split, record.stem, checked.digests)).encode())
            advance(1, False)
    tally.finish()
    sizes = np.array([record.size for record in found])
    header = Header(
        modalities=tuple(modalities),
        splits={name: sum(record.split == name for record in found) for name in names},
        classes=tuple(classes),
        smallest=tuple(sizes.min(0).tolist()),
        largest=tuple(sizes.max(0).tolist()),
        digest=digest.hexdigest(),
        provenance={**_versions(), **(provenance or {})},
    )
    return write_manifest(out, header, found)


@dataclass(frozen=True)
class _Match:
    """Files of the same stem, not read yet."""

    split: str
    stem: str
    files: dict[str, Path]

    @property
    def label(self) -> str | None:
        parent = PurePosixPath(self.stem).parent.name
        return parent or None


@dataclass(frozen=True)
class _Checked:
    size: tuple[int, int]
    digests: tuple[str, ...]
    largest: dict[str, int]
    """Largest stored value of depth, by modality."""


class _Tally:
    """What only all files together can show."""

    def __init__(self, modalities: Sequence[ModalityFiles]) -> None:
        self._deep = [each for each in modalities if isinstance(each, DepthFiles)]
        self._largest = dict.fromkeys((each.name for each in self._deep), 0)
        self._first: dict[str, Path] = {}

    def add(self, match: _Match, checked: _Checked) -> None:
        for name, value in checked.largest.items():
            self._largest[name] = max(self._largest[name], value)
            self._first.setdefault(name, match.files[name])

    def finish(self) -> None:
        """See that depth of 16 bits was not made of 8."""
        for each in self._deep:
            if each.bits == 16 and self._largest[each.name] < 256:
                raise ConfigurationError(
                    f"{self._first[each.name]} and all others of {each.name} should have values of "
                    f"16 bits; found none above {self._largest[each.name]}, so that 8 bits were "
                    "put into files of 16; make them again from their source, or write 8 bits and "
                    "declare `bits` 8"
                )


def _matched(split: str, folders: Mapping[str, Path]) -> Iterator[_Match]:
    """The files of a split by stem, from the folders of its modalities."""
    found = {name: stems(folder) for name, folder in folders.items()}
    for stem in sorted(set().union(*found.values())):
        files = {name: paths[stem] for name, paths in found.items() if stem in paths}
        for name, folder in folders.items():
            if name not in files:
                other, path = next(iter(files.items()))
                raise ConfigurationError(
                    f"{folder / stem}.*: is missing, though there is {other} {path}; "
                    f"add it, or remove the other files of {stem}"
                )
        yield _Match(split, stem, files)


def _in_threads(
    matches: Sequence[_Match], modalities: Sequence[ModalityFiles], threads: int | None
) -> Iterator[tuple[_Match, _Checked]]:
    """Check matches side by side, and give them in order; the first error in order is raised."""
    count = threads or min(8, os.cpu_count() or 1)
    rest = iter(matches)
    with ThreadPoolExecutor(count) as pool:
        while part := list(islice(rest, _AT_ONCE)):
            yield from zip(
                part, pool.map(partial(_check, modalities=modalities), part), strict=True
            )


def _check(match: _Match, modalities: Sequence[ModalityFiles]) -> _Checked:
    """Read the files of a stem to their last bytes."""
    size: tuple[int, int] | None = None
    digests, largest = [], {}
    for each in modalities:
        path = match.files[each.name]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
        values = stored_values(path, each, content)
        as_tensors(path, each, values)
        stride = each.stride if isinstance(each, LabelFiles) else 1
        own = (values.shape[0] * stride, values.shape[1] * stride)
        size = own if size is None else size
        if own != size:
            first = modalities[0]
            times = f" (times its stride {stride})" if stride > 1 else ""
            raise ConfigurationError(
                f"{path}: should have the size {size[0]}×{size[1]} (height × width) of "
                f"{match.files[first.name]}; found {own[0]}×{own[1]}{times}; resize one, or "
                "declare `stride`"
            )
        digests.append(hashlib.sha256(content).hexdigest())
        if isinstance(each, DepthFiles):
            known = values if each.void is None else values[values != each.void]
            largest[each.name] = int(known.max(initial=0))
    assert size is not None  # there is a modality
    return _Checked(size, tuple(digests), largest)


def _record(match: _Match, size: tuple[int, int], root: Path, folder: Path) -> Record:
    way = Path(os.path.relpath(root.resolve(), folder))
    files = {name: (way / path.relative_to(root)).as_posix() for name, path in match.files.items()}
    return Record(split=match.split, stem=match.stem, label=match.label, size=size, files=files)


def _versions() -> dict[str, str]:
    return {f"{name} version": version(name) for name in ("numpy", "pillow")}
