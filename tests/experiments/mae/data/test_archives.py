import io
import shutil
import stat
import zipfile
from collections import namedtuple

import pytest
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.data import archives as module
from experiments.mae.data.archives import unpack
from experiments.progress import Stages
from tests.experiments.mae.data.folders import quiet
from tests.experiments.mae.data.trees import tree

FILES = {"top/train/a.png": b"aa" * 50, "top/train/b.png": b"b", "top/classes.tsv": b""}


def write(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_members_are_written_and_hidden_ones_passed_over(tmp_path):
    others = [("__MACOSX/top/._a", b"x"), ("top/.DS_Store", b"x"), ("top/empty/", b"")]
    archive = write(tmp_path / "a.zip", [*FILES.items(), *others])
    unpack(archive, tmp_path / "out", quiet())
    assert tree(tmp_path / "out") == FILES
    assert not (tmp_path / "out/top/empty").exists()


def test_what_is_there_is_not_written_again(tmp_path):
    archive = write(tmp_path / "a.zip", FILES.items())
    unpack(archive, tmp_path / "out", quiet())
    (tmp_path / "out/top/train/a.png").unlink()
    stamp = (tmp_path / "out/top/train/b.png").stat().st_mtime_ns
    console = Console(file=io.StringIO(), width=200)
    unpack(archive, tmp_path / "out", Stages(console))
    assert tree(tmp_path / "out") == FILES
    assert (tmp_path / "out/top/train/b.png").stat().st_mtime_ns == stamp
    assert "unpack a.zip: 3 files" in console.file.getvalue()
    assert "2 of them done before" in console.file.getvalue()


def link():
    info = zipfile.ZipInfo("top/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


BAD = {
    "a parent": ([("../evil.png", b"x")], r"a\.zip, member '\.\./evil\.png': leads outside"),
    "a parent within": ([("top/../../evil.png", b"x")], "leads outside"),
    "a root": ([("/tmp/evil.png", b"x")], "leads outside"),
    "a parent that hides": ([("../.evil", b"x")], "leads outside"),
    "backslashes": ([(r"top\..\evil.png", b"x")], "leads outside"),
    "a drive": ([("C:/evil.png", b"x")], "leads outside"),
    "a link": ([(link(), b"/etc/passwd")], "member 'top/link': is a link; make the archive again"),
    "twice": ([("top/a.png", b"x"), ("top//a.png", b"y")], "member 'top//a.png': is there twice"),
    "a file and a folder": ([("top/a", b"x"), ("top/a/b", b"y")], "'top/a': is a file and a fo"),
    "after others": ([("a.png", b"x"), ("../evil.png", b"x")], "leads outside"),
    "nothing": ([("top/", b"")], r"a\.zip: should hold files; found none"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_written_outside_and_nothing_at_all_of_a_bad_archive(tmp_path, case):
    members, message = BAD[case]
    folder = tmp_path / "deep" / "out"
    archive = write(tmp_path / "a.zip", [("first.png", b"1")] * (message is None) + members)
    if message is None:
        unpack(archive, folder, quiet())
    else:
        with pytest.raises(ConfigurationError, match=message):
            unpack(archive, folder, quiet())
    outside = [
        path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents
    ]
    assert outside == [archive]
    assert set(tree(folder) if folder.exists() else ()) <= {"first.png", "a.png"}


def test_absurd_sizes_are_refused_before_they_are_written(tmp_path, monkeypatch):
    archive = write(tmp_path / "a.zip", [("small", b"x"), ("zeros", bytes(5000))])
    monkeypatch.setattr(module, "LARGEST", 4999)
    with pytest.raises(
        ConfigurationError, match="'zeros': should have at most 4,999 bytes, found 5"
    ):
        unpack(archive, tmp_path / "out", quiet())
    assert not (tmp_path / "out").exists()


def test_an_archive_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    archive = write(tmp_path / "a.zip", [("a", bytes(3000)), ("b", bytes(3000))])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9000, 4000, 5000))
    with pytest.raises(ConfigurationError, match="unpacks to 6,000 bytes; found 5,000 free"):
        unpack(archive, tmp_path / "out", quiet())
    assert tree(tmp_path / "out") == {}


def test_a_damaged_member_is_named(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.png", b"first content")
        opened.writestr("b.png", b"second content")
    archive.write_bytes(archive.read_bytes().replace(b"second", b"sEcond"))
    with pytest.raises(ConfigurationError, match=r"member 'b\.png': cannot be read .*CRC"):
        unpack(archive, tmp_path / "out", quiet())
    assert tree(tmp_path / "out") == {"a.png": b"first content"}


def test_a_member_that_lies_about_its_size_is_found_out(tmp_path):
    archive = write(tmp_path / "a.zip", [("a.png", bytes(5000))])
    content = archive.read_bytes()
    archive.write_bytes(content.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(ConfigurationError, match=r"'a\.png': cannot be read"):
        unpack(archive, tmp_path / "out", quiet())
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize("size", [0, 30, -10])
def test_half_an_archive_is_named(tmp_path, size):
    archive = write(tmp_path / "a.zip", FILES.items())
    archive.write_bytes(archive.read_bytes()[:size])
    with pytest.raises(ConfigurationError, match=r"a\.zip: cannot be unpacked"):
        unpack(archive, tmp_path / "out", quiet())


def test_an_encrypted_member_is_named(tmp_path):
    archive = write(tmp_path / "a.zip", [("a.png", b"x")])
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"'a\.png': is encrypted"):
        unpack(archive, tmp_path / "out", quiet())
