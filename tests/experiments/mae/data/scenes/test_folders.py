import numpy as np
import pytest

from experiments.configuration import ConfigurationError
from experiments.mae.data.files import decode
from experiments.mae.data.scenes import folders
from experiments.mae.data.scenes.drawing import KINDS, LABELS
from experiments.mae.data.scenes.rendering import render
from tests.experiments.mae.data.folders import quiet

SIZE = (16, 24)
SPLITS = {"train": 9, "val": 4}


def scenes(out, splits=SPLITS, size=SIZE, seed=3):
    return folders.write_scenes(out, splits, size, seed=seed, stages=quiet())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return scenes(tmp_path_factory.mktemp("scenes") / "out")


def test_files_hold_what_was_rendered(made):
    assert made.header.splits == SPLITS
    assert made.header.classes == KINDS
    assert made.header.smallest == made.header.largest == SIZE
    unknown = 0
    for record in made:
        number = int(record.stem.rpartition("/")[2])
        expected = render(SIZE, 3, *record.split.encode(), number)
        assert record.label == expected.kind
        found = {}
        for each in made.header.modalities:
            found |= decode(made.file(record, each.name), each)
        assert np.array_equal(found["rgb"].permute(1, 2, 0).numpy(), expected.rgb)
        assert np.array_equal(found["semseg"].numpy(), expected.labels)
        known = found["depth_valid"][0].numpy()
        assert np.array_equal(known, expected.labels != LABELS.index("sky"))
        error = np.abs(found["depth"][0].numpy() - expected.depth)[known]
        assert error.max() <= 0.0005 + 1e-6  # half a millimetre
        unknown += (~known).sum()
    assert unknown > 0


def test_stored_depth_is_in_millimetres_and_zero_for_the_sky():
    values = np.array([0.1, 2.00049, 2.0006, 30.0, np.inf])
    assert folders.stored_depth(values).tolist() == [100, 2000, 2001, 30_000, 0]


def test_more_scenes_begin_with_the_same_and_splits_differ(made, tmp_path):
    more = scenes(tmp_path / "more", {"val": 5, "train": 2})
    for split, count in (("train", 2), ("val", 4)):
        pairs = [
            [{r.stem: m.file(r, "rgb").read_bytes() for r in m.split(split)} for m in (made, more)]
        ]
        for old, new in pairs:
            common = old.keys() & new.keys()
            assert len(common) == count
            assert all(old[stem] == new[stem] for stem in common)
    files = [
        {m.file(r, "rgb").read_bytes() for r in made.split(s)}
        for m, s in ((made, "train"), (made, "val"))
    ]
    assert not files[0] & files[1]


def test_finished_scenes_are_left_as_they_are(tmp_path, monkeypatch):
    first = scenes(tmp_path / "out", {"train": 2})
    monkeypatch.setattr(folders, "render", None)  # would fail
    again = scenes(tmp_path / "out", {"train": 2})
    assert again.header == first.header
    for options in ({"seed": 4}, {"size": (16, 16)}, {"splits": {"train": 3}}):
        with pytest.raises(ConfigurationError, match="should be empty or hold the same scenes"):
            scenes(tmp_path / "out", **{"splits": {"train": 2}, **options})


def test_an_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(size, *key):
        if key[-1] == 1:
            raise KeyboardInterrupt
        return render(size, *key)

    monkeypatch.setattr(folders, "render", interrupted)
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        scenes(tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]
    monkeypatch.setattr(folders, "render", render)
    assert len(scenes(tmp_path / "out", {"train": 2})) == 2


def test_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("x")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(ConfigurationError, match="found something else; choose another"):
            scenes(out)
    assert (tmp_path / "mine").read_text() == "x"


@pytest.mark.parametrize("options", [{"splits": {}}, {"splits": {"a": 0}}, {"size": (0, 4)}])
def test_nothing_is_no_set_of_scenes(tmp_path, options):
    with pytest.raises(ConfigurationError, match="should be positive"):
        scenes(tmp_path / "out", **options)
