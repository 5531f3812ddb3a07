"""A GLUE task from a folder, a zip, or the Hub; all of it is checked while it is read."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from experiments.bert.glue.examples import Examples, TaskData
from experiments.bert.glue.tasks import GlueTask
from experiments.bert.glue.tsv import read_tsv
from experiments.configuration import ConfigurationError

__all__ = ["read_task"]

_DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)
"""What reading a truncated, damaged or encrypted archive raises."""


def read_task(task: GlueTask, data: Path) -> TaskData:
    """Read all splits of a task from TSV files.

    Args:
        task: one of `TASKS`.
        data: a folder with ``TASK/train.tsv`` … or ``TASK.zip``, or a zip of such folders; TASK is
            the task's title ("SST-2") or name ("sst2"), in any case. Test files may be missing.

    Raises:
        ConfigurationError: files are missing, damaged, or hold something else; the message names
            file, line and value.
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
    for folder in (each for each in entries if each.is_dir() and _means(each.name, task)):
        return _Files(folder, {each.name: each.name for each in folder.glob("*.tsv")})
    for archive in (each for each in entries if each.suffix == ".zip" and _means(each.stem, task)):
        return _in_zip(task, archive)
    raise ConfigurationError(f"--data {data}: holds no {task.title}; {_wanted(task)}")


def _in_zip(task: GlueTask, path: Path) -> _Files:
    with _undamaged(path), zipfile.ZipFile(path) as archive:
        paths = [PurePosixPath(name) for name in archive.namelist()]
    own = [each for each in paths if _means(each.parent.name, task) and each.suffix == ".tsv"]
    members = {each.name: str(each) for each in own}
    if not members:
        raise ConfigurationError(f"{path}: holds no {task.title}/train.tsv; {_wanted(task)}")
    return _Files(path, members)


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
