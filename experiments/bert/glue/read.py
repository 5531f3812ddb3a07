"""A GLUE task from a folder, a zip, or the Hub; all of it is checked while it is read."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

from experiments.bert.glue.examples import Examples, TaskData
from experiments.bert.glue.tasks import GlueTask
from experiments.bert.glue.tsv import read_tsv
from experiments.configuration import ConfigurationError

__all__ = ["read_task"]

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


def read_task(task: GlueTask, data: Path) -> TaskData:
    """Read all splits of a task from TSV files.

    Args:
        task: one of `TASKS`.
        data: a folder with ``TASK/train.tsv`` … or ``TASK.zip``, or a zip of such folders; TASK is
            the task's title ("SST-2") or name ("sst2"), in any case. Test files may be missing. A
            folder is taken before a zip of the same task, which it was unpacked from.

    Raises:
        ConfigurationError: files are missing, damaged, hold something else, or are there twice;
            the message names file, line and value.
    """
    files = _find(task, data)
    dev, test = {}, {}
    train = _read(files, task, "train", labelled=True)
    for part in task.parts:
        dev[part.name] = _read(files, task, part.dev, labelled=True)
        if f"{part.test}.tsv" in files.members:
            test[part.name] = _read(files, task, part.test, labelled=False)
    return TaskData(task, str(files.where), train, dev, test)


@dataclass(frozen=True)
class _Files:
    """The files of a task, in a folder or a zip."""

    where: Path
    members: dict[str, str]
    """Path within `where` by file name."""

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file."""
        if self.where.is_dir():
            with (self.where / self.members[name]).open("rb") as stream:
                yield stream
            return
        with zipfile.ZipFile(self.where) as archive, archive.open(self.members[name]) as stream:
            yield stream


def _read(files: _Files, task: GlueTask, stem: str, *, labelled: bool) -> Examples:
    name = f"{stem}.tsv"
    if name not in files.members:
        needed = ", ".join(f"{each}.tsv" for each in ("train", *(p.dev for p in task.parts)))
        raise ConfigurationError(f"{files.where}: {name} is missing; {task.title} needs {needed}")
    with _undamaged(files.where), files.open(name) as stream:
        return read_tsv(stream, f"{files.where}/{files.members[name]}", task, labelled=labelled)


def _find(task: GlueTask, data: Path) -> _Files:
    """The folder or zip that holds a task."""
    if not data.exists():
        raise ConfigurationError(f"--data {data}: is missing; {_wanted(task)}")
    if data.is_file():
        return _in_zip(task, data)
    entries = sorted(data.iterdir())
    folders = [each for each in entries if each.is_dir() and _means(each.name, task)]
    if folders:
        _single(folders, data, task)
        return _Files(folders[0], {each.name: each.name for each in folders[0].glob("*.tsv")})
    archives = [each for each in entries if each.suffix == ".zip" and _means(each.stem, task)]
    if archives:
        _single(archives, data, task)
        return _in_zip(task, archives[0])
    raise ConfigurationError(f"--data {data}: holds no {task.title}; {_wanted(task)}")


def _in_zip(task: GlueTask, path: Path) -> _Files:
    with _undamaged(path), zipfile.ZipFile(path) as archive:
        paths = [PurePosixPath(name) for name in archive.namelist()]
    own = [each for each in paths if _means(each.parent.name, task) and _is_table(each)]
    if not own:
        raise ConfigurationError(f"{path}: holds no {task.title}/train.tsv; {_wanted(task)}")
    _single(sorted({each.parent for each in own}), path, task)
    members: dict[str, str] = {}
    for each in own:
        if each.name in members:
            raise ConfigurationError(f"{path}: holds {each} twice; pack the file again")
        members[each.name] = str(each)
    return _Files(path, members)


def _is_table(path: PurePosixPath) -> bool:
    """Whether a member is a TSV file; those of macOS that describe one are not."""
    return path.suffix == ".tsv" and not path.name.startswith(".")


def _single(places: Sequence[PurePath], within: Path, task: GlueTask) -> None:
    """Refuse several places of a task: which one is meant is unknown."""
    if len(places) > 1:
        raise ConfigurationError(
            f"{within}: holds {task.title} more than once, in {places[0]} and {places[1]}; keep one"
        )


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ConfigurationError(
            f"{path}: cannot be read to its end ({type(error).__name__}: {error}); fetch or pack "
            "the file again"
        ) from error


def _means(name: str, task: GlueTask) -> bool:
    return name.lower().replace("-", "").replace("_", "") == task.name


def _wanted(task: GlueTask) -> str:
    return (
        f"give a folder with {task.title}/train.tsv, …, or with {task.title}.zip, as GLUE has them "
        "(gluebenchmark.com/tasks), or --set fine_tuning.source=hub"
    )
