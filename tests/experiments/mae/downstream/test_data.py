import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.configuration import ConfigurationError
from experiments.mae.data.build import MANIFEST
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.manifest import Manifest, read_manifest
from experiments.mae.downstream.data import (
    Collator,
    TrainingOrder,
    evaluation_images,
    training_images,
)
from experiments.mae.downstream.encoders import fresh_encoder
from experiments.mae.downstream.study import read_data
from experiments.mae.downstream.task_data import TaskData, depth_statistics
from tests.experiments.mae.downstream import mosaics
from tests.experiments.mae.downstream.mosaics import recipe


def size_of(how):
    return fresh_encoder(mosaics.SIZE, how.inputs).size


def order(folder, how, length=120, seed=0):
    data = read_data(how, folder)
    images = training_images(data, size_of(how), seed)
    return TrainingOrder(images, length, seed, how.max_train_images)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_every_epoch_has_every_image_once_in_an_order_and_a_view_of_its_own(mosaic_folder):
    found = order(mosaic_folder, recipe("semseg"), 96)
    samples = [found[position] for position in range(96)]
    epochs = [samples[:48], samples[48:]]
    indices = [[each["index"] for each in epoch] for epoch in epochs]
    assert [Counter(each) for each in indices] == [Counter(range(48))] * 2
    assert indices[0] != indices[1]
    by_index = [{each["index"]: each["rgb"] for each in epoch} for epoch in epochs]
    assert sum(torch.equal(by_index[0][index], by_index[1][index]) for index in range(48)) < 3
    assert same(found[7], samples[7])
    assert [each["position"] for each in samples] == list(range(96))


def test_fewer_images_are_the_same_ones_for_every_seed_and_of_all_classes(mosaic_folder):
    few = recipe("cls", max_train_images=12)
    kept = [
        {each["index"] for each in (order(mosaic_folder, few, 24, seed)[k] for k in range(24))}
        for seed in (0, 1)
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 12
    images = evaluation_images(read_data(few, mosaic_folder), size_of(few))
    train = training_images(read_data(few, mosaic_folder), size_of(few), 0)
    assert {train.sample(0, index)["label"] for index in kept[0]} == {0, 1, 2}
    assert len(images) == 15


def test_batches_hold_inputs_and_targets_as_the_model_takes_them(mosaic_folder):
    how = recipe("depth", inputs=("semseg", "rgb"))
    data = read_data(how, mosaic_folder)
    images = evaluation_images(data, size_of(how))
    batch = Collator(how=how)([images[0], images[1]])
    assert {name: tuple(each.shape) for name, each in batch["modalities"].items()} == {
        "semseg": (2, 8, 8),
        "rgb": (2, 3, 32, 32),
    }
    assert batch["depth"].shape == batch["depth_valid"].shape == (2, 1, 32, 32)
    assert set(batch) == {"modalities", "depth", "depth_valid"}
    inverse = recipe("semseg", inputs=("depth",))
    images = evaluation_images(read_data(inverse, mosaic_folder), size_of(inverse))
    batch = Collator(how=inverse)([images[0]])
    assert set(batch) == {"modalities", "valid", "semseg"}
    assert not batch["valid"]["depth"].all()
    assert batch["semseg"].max() == 3


def mixing(**fields):
    return Collator(how=recipe("cls", mixup=0.8, cutmix=1.0, **fields), classes=3, seed=4)


def test_mixed_pairs_are_a_function_of_seed_and_position(mosaic_folder):
    samples = [order(mosaic_folder, recipe("cls"))[k] for k in range(8)]
    torch.manual_seed(0)
    first = mixing()(samples)
    np.random.rand(3)  # noqa: NPY002
    assert same(first, mixing()(samples))
    assert not same(first, mixing()([{**each, "position": 8} for each in samples]))
    assert not same(first, replace(mixing(), seed=5)(samples))
    assert torch.allclose(first["label"].sum(1), torch.ones(8))
    assert not torch.equal(first["modalities"]["rgb"][0], samples[0]["rgb"])
    plain = Collator(how=recipe("cls", label_smoothing=0.0), classes=3, seed=4)(samples)
    assert plain["label"].tolist() == [each["label"] for each in samples]
    assert torch.equal(plain["modalities"]["rgb"][0], samples[0]["rgb"])


def test_labels_are_smoothed_in_training_and_not_in_evaluation(mosaic_folder):
    how = recipe("cls", inputs=("rgb", "depth"), mixup=0.8, cutmix=1.0, label_smoothing=0.3)
    samples = [order(mosaic_folder, how)[k] for k in range(3)]
    batch = Collator(how=how, classes=3, seed=0)(samples)
    assert torch.equal(batch["modalities"]["rgb"][0], samples[0]["rgb"])  # nothing is mixed
    expected = torch.full((3, 3), 0.1)
    expected[range(3), [each["label"] for each in samples]] = 0.8
    assert torch.allclose(batch["label"], expected)
    assert Collator(how=how, classes=3)(samples)["label"].dtype == torch.int64


def test_the_statistics_of_depth_are_those_of_its_known_pixels(mosaic_folder):
    data = read_data(recipe("depth"), mosaic_folder)
    depth = np.concatenate(
        [stored[stored > 0] / 1000 for _, _, stored, _ in map(mosaics.mosaic, range(48))]
    )
    assert depth_statistics(data) == pytest.approx((depth.mean(), depth.std()), rel=1e-5)


def changed(folder, modalities=None, **fields):
    """The manifest of mosaics with another header."""
    manifest = read_manifest(folder / MANIFEST)
    if modalities is not None:
        fields["modalities"] = modalities
    header = replace(manifest.header, **fields)
    return Manifest(manifest.path, header, manifest._text, manifest._begins)


RGB, DEPTH, SEMSEG = mosaics.MODALITIES


@pytest.mark.parametrize(
    ("task", "header", "message"),
    [
        ("semseg", {"modalities": (RGB, DEPTH)}, "has no semseg to predict; found rgb, depth"),
        ("depth", {"modalities": (DEPTH,)}, "has no rgb to take as input; found depth"),
        (
            "depth",
            {"modalities": (RGB, DepthFiles(scale=1.0, unit="inverse"))},
            "depth should be in metres to be predicted; found `unit` inverse",
        ),
        (
            "depth",
            {"modalities": (RGB, LabelFiles(name="depth", classes=2))},
            "depth cannot be predicted from files of kind labels",
        ),
        (
            "semseg",
            {"modalities": (RGB, RgbFiles(name="semseg"))},
            "semseg cannot be predicted from files of kind rgb",
        ),
        ("cls", {"classes": ("red",)}, "at least 2 classes of images.*; found 1"),
        (
            "cls",
            {"splits": {"train": 1}},
            "should have a split test or val or valid beside 'train'",
        ),
    ],
)
def test_data_that_does_not_fit_the_task_is_refused(mosaic_folder, task, header, message):
    with pytest.raises(ConfigurationError, match=message):
        TaskData(how=recipe(task), manifest=changed(mosaic_folder, **header))


def test_the_split_that_is_evaluated_is_found_or_named(mosaic_folder):
    for names, expected in ((("val", "train", "test"), "test"), (("train", "valid"), "valid")):
        manifest = changed(mosaic_folder, splits=dict.fromkeys(names, 1))
        assert TaskData(how=recipe("depth"), manifest=manifest).test_split == expected
    manifest = changed(mosaic_folder, splits={"train": 1, "test": 1, "other": 1})
    named = TaskData(how=recipe("depth", test_split="other"), manifest=manifest)
    assert named.test_split == "other"


def test_what_is_trained_on_is_not_what_is_evaluated(mosaic_folder):
    manifest = changed(mosaic_folder, splits={"train": 1, "val": 1, "test": 1})
    assert TaskData(how=recipe("depth", train_split="test"), manifest=manifest).test_split == "val"
    manifest = changed(mosaic_folder, splits={"train": 1, "test": 1})
    with pytest.raises(ConfigurationError, match=r"beside 'test', which is trained on"):
        TaskData(how=recipe("depth", train_split="test"), manifest=manifest)


def test_images_without_a_class_are_refused(tmp_path):
    mosaics.write(tmp_path, {"train": 3, "test": 3})
    path = tmp_path / MANIFEST
    path.write_text(re.sub(r'"label":"\w+"', '"label":null', path.read_text(), count=1))
    with pytest.raises(ConfigurationError, match=r"of split \w+ should have a class; put it into"):
        read_data(recipe("cls"), tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"should be a folder with manifest\.jsonl"):
        read_data(recipe("cls"), tmp_path)
    with pytest.raises(ConfigurationError, match="or a manifest; make it by"):
        read_data(recipe("cls"), tmp_path / "missing")
