import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.configuration import ConfigurationError
from experiments.mae.data.build import build_manifest
from experiments.mae.data.converters.classes import IMAGES, check_classes
from experiments.mae.data.dataset import MultiModalImages
from tests.experiments.mae.data.folders import DEPTH, RGB, quiet


def write_classes(root, splits=("train", "val"), classes=("c1", "c0", "c2")):
    """Two images a class, the first of each grey."""
    for number, split in enumerate(splits):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            grey = np.random.default_rng(number).integers(0, 256, (6, 8)).astype(np.uint8)
            Image.fromarray(grey).save(folder / f"{name}_0.JPEG", quality=95)
            colours = np.stack([grey, grey // 2, 255 - grey], -1)
            Image.fromarray(colours).save(folder / f"{name}_1.JPEG", quality=95)
    return root


def build(root, out, splits=None):
    check_classes(root, splits)
    return build_manifest(root, IMAGES, out, splits=splits, by_modality=False, stages=quiet())


def test_class_folders_become_sorted_classes(tmp_path):
    root = write_classes(tmp_path / "data")
    (root / "classes.tsv").write_text("c0\tfish\n")
    (root / ".cache").mkdir()
    found = build(root, tmp_path / "m.jsonl")
    assert found.header.classes == ("c0", "c1", "c2")
    assert found.header.splits == {"train": 6, "val": 6}
    assert found.header.names == ("rgb",)
    assert found[1].stem == "c0/c0_1"
    assert found[1].files == {"rgb": "data/train/c0/c0_1.JPEG"}
    found.check_files()


def test_an_image_has_the_id_of_its_class_and_grey_becomes_colour(tmp_path):
    found = build(write_classes(tmp_path / "data"), tmp_path / "m.jsonl")
    images = MultiModalImages(found, lambda tensors, duplicate, index: dict(tensors))
    assert [images[index]["label"] for index in range(6)] == [0, 0, 1, 1, 2, 2]
    grey, colour = images[0]["rgb"], images[1]["rgb"]
    assert grey.shape == colour.shape == (3, 6, 8)
    assert (grey[0] == grey[1]).all()
    assert (grey[1] == grey[2]).all()
    assert (colour[0] != colour[2]).any()


def test_only_the_named_splits_are_read(tmp_path):
    root = write_classes(tmp_path / "data")
    test = root / "test"
    test.mkdir()
    shutil.copy(root / "val/c0/c0_0.JPEG", test / "a.JPEG")
    with pytest.raises(ConfigurationError, match="data/test: should have its images in class fold"):
        build(root, tmp_path / "m.jsonl")
    found = build(root, tmp_path / "m.jsonl", ("val",))
    assert found.header.splits == {"val": 6}


def empty(root):
    (root / "val/c1/c1_0.JPEG").unlink()
    (root / "val/c1/c1_1.JPEG").unlink()


BAD = {
    "an empty class": (empty, "val/c1: a class folder should hold images; found none; remove or f"),
    "a class less": (
        lambda root: shutil.rmtree(root / "val/c1"),
        "val/c1: is missing, though .*train/c1 is there; all splits should have the same classes",
    ),
    "a class more": (
        lambda root: shutil.copytree(root / "val/c1", root / "val/images"),
        "train/images: is missing, though .*val/images is there",
    ),
    "folders in a class": (
        lambda root: shutil.copytree(root / "val/c1", root / "train/c1/images"),
        "train/c1/images: should not be in a class folder",
    ),
    "no split": (
        lambda root: [shutil.rmtree(root), root.mkdir()],
        "data: should hold folders of splits, such as train; found none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_folder_is_named(tmp_path, case):
    damage, message = BAD[case]
    root = write_classes(tmp_path / "data")
    damage(root)
    with pytest.raises(ConfigurationError, match=message):
        build(root, tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


def test_a_split_that_is_not_there_is_named(tmp_path):
    root = write_classes(tmp_path / "data")
    with pytest.raises(ConfigurationError, match="data/test: is missing; split 'test' should have"):
        build(root, tmp_path / "m.jsonl", ("train", "test"))


def test_without_folders_of_modalities_there_can_be_only_one(tmp_path):
    root = write_classes(tmp_path / "data")
    with pytest.raises(ValueError, match="`by_modality` should be true for 2 modalities"):
        build_manifest(root, (RGB, DEPTH), by_modality=False, stages=quiet())
