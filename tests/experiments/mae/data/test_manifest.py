import json
import pickle

import pytest

from experiments.configuration import ConfigurationError
from experiments.mae.data.manifest import read_manifest, write_manifest
from tests.experiments.mae.data.folders import build, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = write(tmp_path_factory.mktemp("data"), ("test", "train"), ("c0/a", "c0/b", "c1/a"))
    build(root)
    return root


@pytest.fixture
def lines(folder):
    return (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()


def changed(lines, number, **fields):
    """A manifest's text with other fields in a line (numbered from 1); None takes a field away."""
    content = json.loads(lines[number - 1]) | fields
    line = json.dumps({name: value for name, value in content.items() if value is not None})
    return "\n".join([*lines[: number - 1], line, *lines[number:]]) + "\n"


def test_records_come_back_in_order_one_at_a_time_and_by_split(folder):
    found = read_manifest(folder / "manifest.jsonl")
    assert len(found) == 6
    keys = [(each.split, each.label, each.stem) for each in found]
    assert keys == [
        (split, stem[:2], stem) for split in ("test", "train") for stem in ("c0/a", "c0/b", "c1/a")
    ]
    assert found[-1] == list(found)[5]
    assert [each.stem for each in found[1:3]] == ["c0/b", "c1/a"]
    assert list(found.split("train")) == list(found)[3:]
    assert list(found.split("train", "test")) == list(found)
    assert found.split("train").header == found.header


def test_a_manifest_travels_to_a_worker(folder):
    found = read_manifest(folder / "manifest.jsonl").split("train")
    copy = pickle.loads(pickle.dumps(found))  # as a worker process is given it
    assert list(copy) == list(found)
    assert copy.file(copy[0], "depth").is_file()


def test_an_unknown_split_is_named(folder):
    with pytest.raises(ConfigurationError, match=r"no split 'val'; found test, train"):
        read_manifest(folder / "manifest.jsonl").split("train", "val")


def test_manifest_and_files_move_together(folder, tmp_path):
    folder.rename(tmp_path / "moved")
    try:
        read_manifest(tmp_path / "moved" / "manifest.jsonl").check_files()
    finally:
        (tmp_path / "moved").rename(folder)


def test_a_file_that_is_gone_is_named(tmp_path):
    found = build(write(tmp_path / "d"))
    found.check_files()
    (tmp_path / "d/train/semseg/b.png").unlink()
    with pytest.raises(ConfigurationError, match=r"semseg/b\.png: is missing, .* semseg of b; put"):
        found.check_files()


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (1, {"schema_version": 2}, r"line 1: `schema_version`: Input should be 1; found 2"),
        (1, {"digest": None}, "line 1: `digest`: Field required"),
        (1, {"extra": 1}, "line 1: `extra`: Unexpected"),
        (1, {"modalities": []}, "line 1: `modalities`"),
        (1, {"modalities": [{"kind": "sound"}]}, "line 1: `modalities.0`: .*'sound'"),
        (
            1,
            {"modalities": [{"kind": "rgb"}, {"kind": "rgb"}]},
            "line 1: `modalities` should have different names; found 'rgb' twice",
        ),
        (1, {"splits": {"test": 3, "train": 4}}, "should have the records .*'train': 4.*found"),
        (1, {"splits": {"train": 3}}, r"line 2: `split` should be of line 1 \(train\); .*'test'"),
        (2, {"size": [0, 4]}, "line 2: `size.0`: .* found 0"),
        (3, {"files": {"rgb": "x"}}, "line 3: `files` should be of rgb, depth, semseg; found rgb"),
        (
            4,
            {"files": {"rgb": "/x", "depth": "y", "semseg": "z"}},
            "line 4: `files` should be relative to the manifest; found /x",
        ),
        (5, {"label": "c7"}, "line 5: `label` should be of the classes of line 1; found 'c7'"),
        (6, {"stem": "c0/a"}, "line 6: `stem` should occur once in a split; found 'c0/a' again"),
        (7, {"weight": 1}, "line 7: `weight`: Unexpected"),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_value(lines, tmp_path, number, fields, message):
    path = tmp_path / "m.jsonl"
    path.write_text(changed(lines, number, **fields), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"m\.jsonl.*{message}"):
        read_manifest(path)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe\n", b"[1, 2]\n", b"\x89PNG\r\n\x1a\n"])
def test_something_else_is_no_manifest(tmp_path, text):
    path = tmp_path / "m.jsonl"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=r"m\.jsonl, line 1"):
        read_manifest(path)


def test_a_manifest_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"m\.jsonl: cannot be read .No such file"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_manifest_cut_off_anywhere_is_refused(folder, tmp_path):
    text = (folder / "manifest.jsonl").read_bytes()
    path = tmp_path / "m.jsonl"
    for length in {*range(0, len(text), 17), *range(len(text) - 9, len(text))}:
        path.write_bytes(text[:length])
        with pytest.raises(ConfigurationError):
            read_manifest(path)


def test_an_interrupted_write_leaves_the_old_manifest(folder, tmp_path):
    found = read_manifest(folder / "manifest.jsonl")
    path = tmp_path / "m.jsonl"
    write_manifest(path, found.header, found)
    old = path.read_bytes()

    def records():
        yield found[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(path, found.header, records())
    with pytest.raises(ConfigurationError, match="should have the records"):
        write_manifest(path, found.header, found[1:])
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
