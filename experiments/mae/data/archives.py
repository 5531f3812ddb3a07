"""ZIP archives of images, unpacked below a folder and nowhere else."""

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from experiments.configuration import ConfigurationError
from experiments.progress import Stages
from taskrobust._files import write_atomically

__all__ = ["LARGEST", "unpack"]

LARGEST = 256 << 20
"""Bytes that a member may unpack to; no image of a data set is nearly as large."""

_DAMAGED = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged member raises, or one of an unknown compression."""


def unpack(archive: Path, folder: Path, stages: Stages) -> None:
    """Write the members of an archive below a folder, each whole or not at all.

    All names and sizes are checked before anything is written, and each member against its own
    checksum. Members that an interrupted call has written stay; folders and hidden files are passed
    over.

    Args:
        archive: ZIP.
        folder: to be filled; made if need be.
        stages: shows the progress.

    Raises:
        ConfigurationError: no archive; a member that leads outside, is a link, encrypted, there
            twice, damaged, or beyond `LARGEST`; or more than fits on the disk.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked(archive, opened.infolist())
            _check_space(archive, folder, members)
            with stages.stage(f"unpack {archive.name}", "files", len(members)) as advance:
                for name, member in members.items():
                    path = folder / name
                    there = path.is_file()
                    if not there:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_atomically(path, _content(archive, opened, member))
                    advance(1, there)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"{archive}: cannot be unpacked to {folder} ({error}); give a whole ZIP archive, and a "
            "place that can be written to"
        ) from error


def _checked(archive: Path, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The members to be written, by the name below the folder."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        wrong = _wrong(info, path)
        if path.as_posix() in found:
            wrong = "is there twice"
        if wrong:
            raise ConfigurationError(
                f"{archive}, member {info.filename!r}: {wrong}; make the archive again without it"
            )
        if not info.is_dir() and not any(p.startswith((".", "__MACOSX")) for p in path.parts):
            found[path.as_posix()] = info
    folders = {parent.as_posix() for name in found for parent in PurePosixPath(name).parents}
    both = sorted(folders & set(found))
    if both:
        raise ConfigurationError(
            f"{archive}, member {both[0]!r}: is a file and a folder; make the archive again"
        )
    if not found:
        raise ConfigurationError(f"{archive}: should hold files; found none; make it again")
    return found


def _wrong(info: zipfile.ZipInfo, path: PurePosixPath) -> str | None:
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
        return "leads outside of the folder that is unpacked to"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.file_size > LARGEST:
        return f"should have at most {LARGEST:,} bytes, found {info.file_size:,}"
    return None


def _check_space(archive: Path, folder: Path, members: dict[str, zipfile.ZipInfo]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    needed = sum(info.file_size for name, info in members.items() if not (folder / name).is_file())
    if needed > free:
        raise ConfigurationError(
            f"{archive}: unpacks to {needed:,} bytes; found {free:,} free at {folder}; choose "
            "another place"
        )


def _content(archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return opened.read(member)
    except _DAMAGED as error:
        raise ConfigurationError(
            f"{archive}, member {member.filename!r}: cannot be read ({error}); fetch the archive "
            "again"
        ) from error
