import tracemalloc
from collections import Counter

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from experiments.configuration import ConfigurationError
from experiments.mae.data.converters import nyuv2 as module
from experiments.mae.data.converters.nyuv2 import convert_nyuv2, nyuv2_files
from experiments.mae.data.declarations import DepthFiles, LabelFiles
from experiments.mae.data.files import decode
from tests.experiments.mae.data.converters.official import (
    NAMES,
    cell,
    frames,
    write_frames,
    write_official,
    write_splits,
)
from tests.experiments.mae.data.folders import quiet
from tests.experiments.mae.data.trees import tree

FRAMES = "nyu_depth_v2_labeled.mat"


def pixels(folder, split, name, number):
    return np.asarray(Image.open(folder / split / name / f"{number:04d}.png"))


@pytest.mark.parametrize("classes", [40, 13])
def test_every_pixel_is_where_matlab_has_it(tmp_path, classes):
    arrays, to_40, to_13 = write_official(tmp_path / "data")
    convert_nyuv2(tmp_path / "data", tmp_path / "out", classes, quiet())
    height, width = arrays["labels"].shape[:2]
    for number in range(1, 6):
        split, at = ("test" if number in (2, 5) else "train"), number - 1
        rgb, depth, labels = (
            pixels(tmp_path / "out", split, name, number) for name in ("rgb", "depth", "semseg")
        )
        assert rgb.shape == (height, width, 3)
        assert depth.shape == labels.shape == (height, width)
        for row in range(height):
            for column in range(width):
                raw = int(arrays["labels"][row, column, at])
                wanted = 0 if raw == 0 else to_40[raw - 1]
                if classes == 13 and wanted:
                    wanted = to_13[wanted - 1]
                assert labels[row, column] == wanted
                assert tuple(rgb[row, column]) == tuple(arrays["images"][row, column, :, at])
                metres = float(arrays["depths"][row, column, at])
                assert abs(depth[row, column] / 1000 - metres) <= 0.0005 + 1e-9


def test_each_frame_is_in_its_split_under_its_number_from_one(tmp_path):
    write_official(tmp_path / "data", count=7, test=(1, 4, 7))
    convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())
    for name in ("rgb", "depth", "semseg"):
        found = {
            split: sorted(path.stem for path in (tmp_path / "out" / split / name).iterdir())
            for split in ("train", "test")
        }
        assert found == {
            "train": ["0002", "0003", "0005", "0006"],
            "test": ["0001", "0004", "0007"],
        }


@pytest.mark.parametrize(("classes", "name"), [(40, "class"), (13, "kind")])
def test_the_files_are_declared_as_they_are_stored(tmp_path, classes, name):
    arrays, *_ = write_official(tmp_path / "data")
    _, depth, labels = convert_nyuv2(tmp_path / "data", tmp_path / "out", classes, quiet())
    assert isinstance(depth, DepthFiles)
    assert isinstance(labels, LabelFiles)
    assert labels.class_names == tuple(f"{name} {number}" for number in range(1, classes + 1))
    metres = decode(tmp_path / "out/train/depth/0001.png", depth)["depth"][0]
    np.testing.assert_allclose(metres, arrays["depths"][..., 0], rtol=0, atol=0.00051)
    stored = pixels(tmp_path / "out", "train", "semseg", 1).astype(int)
    ids = decode(tmp_path / "out/train/semseg/0001.png", labels)["semseg"]
    np.testing.assert_array_equal(ids, np.where(stored == 0, classes, stored - 1))


def test_unknown_depth_is_zero_and_not_valid(tmp_path):
    arrays, *_ = write_official(tmp_path / "data")
    arrays["depths"][0, :3, 0] = (0, np.nan, np.inf)
    write_frames(tmp_path / "data" / FRAMES, arrays)
    _, depth, _ = convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())
    found = decode(tmp_path / "out/train/depth/0001.png", depth)
    assert found["depth"][0, 0, :3].tolist() == [0, 0, 0]
    unknown = np.argwhere(~found["depth_valid"][0].numpy())
    assert unknown.tolist() == [[0, 0], [0, 1], [0, 2]]


def test_interrupted_work_goes_on_where_it_was(tmp_path, monkeypatch):
    write_official(tmp_path / "data", count=9, test=(3, 6, 9))
    convert_nyuv2(tmp_path / "data", tmp_path / "whole", 40, quiet())
    written, original = [], module.write_png

    def write(path, values):
        if len(written) >= 14:
            raise InterruptedError
        written.append(path)
        original(path, values)

    monkeypatch.setattr(module, "write_png", write)
    with pytest.raises(InterruptedError):
        convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())
    complete = {
        stem for stem, count in Counter(each.stem for each in written).items() if count == 3
    }
    assert 0 < len(complete) < 9
    written.clear()
    monkeypatch.setattr(
        module, "write_png", lambda path, values: (written.append(path), original(path, values))
    )
    convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())
    assert {each.stem for each in written} == {f"{n:04d}" for n in range(1, 10)} - complete
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_frames_are_read_one_at_a_time(tmp_path):
    write_official(tmp_path / "data", count=60, size=(96, 128))
    whole = 60 * 96 * 128 * (3 + 4 + 2)
    tracemalloc.start()
    try:
        convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 2


def test_thirteen_classes_need_one_file_more():
    assert set(nyuv2_files(13)) - set(nyuv2_files(40)) == {"class13Mapping.mat"}


def array(name, values):
    def apply(data):
        arrays = frames(5)
        write_frames(data / FRAMES, {**arrays, name: values(arrays[name])})

    return apply


def set_to(place, value):
    def apply(values):
        changed = values.copy()
        changed[place] = value
        return changed

    return apply


def matlab(file, **variables):
    return lambda data: savemat(data / file, variables)


def shortened(name, size):
    def apply(data):
        content = (data / name).read_bytes()
        (data / name).write_bytes(content[:size])

    return apply


def without(name):
    def apply(data):
        with h5py.File(data / FRAMES, "r+") as file:
            del file[name]

    return apply


NUMBERS = {"trainNdxs": [[1], [3], [4]], "testNdxs": [[2], [5]]}
FORTY = {"mapClass": np.ones((1, NAMES)), "className": cell(["a"] * 40)}
THIRTEEN = {"labels13": np.ones((1, 40)), "class13": cell(["a"] * 13)}

BAD = {
    "cut off": (shortened(FRAMES, -4000), f"{FRAMES}: should be the labelled data set .* fetch"),
    "another format": (
        matlab(FRAMES, images=np.zeros(3)), f"{FRAMES}: should be .* MATLAB 7.3 .HDF5.; found"
    ),
    "no depth": (without("depths"), f"{FRAMES}: should have the array 'depths'; found .*images"),
    "swapped depth": (
        array("depths", lambda values: values.swapaxes(0, 1)),
        f"{FRAMES}: `depths` should be 5×9×6 of floating point .* found 5×6×9 of float32",
    ),
    "channels last": (
        array("images", lambda values: values.transpose(2, 0, 1, 3)), "`images` should be 5×3×9×6"
    ),
    "images of 16 bits": (
        array("images", lambda values: values.astype(np.uint16)), "`images` should be uint8"
    ),
    "millimetres": (
        array("depths", lambda values: values * 1000),
        f"{FRAMES}: depths of frame 1 should be 0.5 to 10 metres; found",
    ),
    "a far pixel": (
        array("depths", set_to((2, 3, 3), 70.0)), "depths of frame 4 should be .* found 70;"
    ),
    "a negative pixel": (array("depths", set_to((2, 3, 3), -1.0)), "frame 4 should be .* found -1"),
    "a label": (
        array("labels", set_to((2, 3, 2), NAMES + 1)),
        f"{FRAMES}: labels of frame 3 should be 0 to {NAMES}; found {NAMES + 1}",
    ),
    "no splits": (lambda data: (data / "splits.mat").unlink(), "splits.mat: is missing; put it"),
    "cut off splits": (shortened("splits.mat", 150), "splits.mat: cannot be read as a file of MAT"),
    "a frame too many": (
        matlab("splits.mat", **{**NUMBERS, "testNdxs": [[2], [6]]}),
        "`testNdxs` should be whole numbers of 1 to 5; found 6",
    ),
    "frames from 0": (
        matlab("splits.mat", **{**NUMBERS, "trainNdxs": [[0], [3]]}), "`trainNdxs` .* found 0"
    ),
    "a frame in both": (
        matlab("splits.mat", **{**NUMBERS, "testNdxs": [[2], [3]]}), "`testNdxs` .* found 3 again"
    ),
    "no test": (matlab("splits.mat", trainNdxs=[[1]]), "should have the variable 'testNdxs'"),
    "an empty test": (
        matlab("splits.mat", **{**NUMBERS, "testNdxs": []}), "`testNdxs` should be numbers; found 0"
    ),
    "another map": (
        matlab("classMapping40.mat", **{**FORTY, "mapClass": np.ones((1, NAMES - 1))}),
        f"`mapClass` should have a class for each of the {NAMES} names .* found {NAMES - 1}",
    ),
    "41 classes": (
        matlab("classMapping40.mat", **{**FORTY, "mapClass": np.full((1, NAMES), 41)}),
        "`mapClass` should be whole numbers of 0 to 40; found 41",
    ),
    "half a class": (
        matlab("classMapping40.mat", **{**FORTY, "mapClass": np.full((1, NAMES), 1.5)}),
        "`mapClass` should be whole numbers of 0 to 40; found 1.5",
    ),
}  # fmt: skip

BAD_40 = {
    "39 names": (
        matlab("classMapping40.mat", **{**FORTY, "className": cell(["a"] * 39)}),
        "`className` should have 40 names",
    ),
}

BAD_13 = {
    "no thirteen": (
        lambda data: (data / "class13Mapping.mat").unlink(), "class13Mapping.mat: is missing"
    ),
    "14 classes": (
        matlab("class13Mapping.mat", classMapping13={**THIRTEEN, "labels13": np.full((1, 40), 14)}),
        "`labels13` should be whole numbers of 0 to 13; found 14",
    ),
    "41 of them": (
        matlab("class13Mapping.mat", classMapping13={**THIRTEEN, "labels13": np.ones((1, 41))}),
        "`labels13` should have 40 classes; found 41",
    ),
    "no structure": (
        matlab("class13Mapping.mat", classMapping13=np.ones((1, 40))),
        "`classMapping13` should be a structure",
    ),
    "12 names": (
        matlab("class13Mapping.mat", classMapping13={**THIRTEEN, "class13": cell(["a"] * 12)}),
        "should have 13 names",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "damage", "message"),
    [
        pytest.param(classes, *case, id=f"{name}, {classes} classes")
        for classes, cases in ((40, BAD | BAD_40), (13, BAD_13))
        for name, case in cases.items()
    ],
)
def test_a_wrong_file_is_named_with_value_and_remedy(tmp_path, classes, damage, message):
    write_official(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=message):
        convert_nyuv2(tmp_path / "data", tmp_path / "out", classes, quiet())


def test_a_frame_that_is_damaged_within_the_file_is_named(tmp_path):
    write_official(tmp_path / "data", size=(40, 50))
    path = tmp_path / "data" / FRAMES
    with h5py.File(path, "r") as file:
        info = file["depths"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    begin = info.byte_offset + info.size // 2  # offsets count from the start of the file
    content[begin : begin + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{FRAMES}: frame . cannot be read"):
        convert_nyuv2(tmp_path / "data", tmp_path / "out", 40, quiet())


def test_the_order_of_the_numbers_does_not_matter(tmp_path):
    write_official(tmp_path / "data")
    convert_nyuv2(tmp_path / "data", tmp_path / "one", 40, quiet())
    write_splits(tmp_path / "data", [4, 1, 3], [5, 2])
    convert_nyuv2(tmp_path / "data", tmp_path / "two", 40, quiet())
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
