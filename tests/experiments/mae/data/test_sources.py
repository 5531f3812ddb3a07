from dataclasses import asdict

import pytest
import yaml
from pydantic.dataclasses import dataclass

from experiments.configuration import ConfigurationError, dump, load, strict
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.sources import (
    Classes,
    Folders,
    ImageNetS,
    NYUv2,
    Preparation,
    Scenes,
)


@dataclass(config=strict, kw_only=True)
class Study:
    preparation: Preparation


def read(tmp_path, text, overrides=()):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load(Study, path, overrides).preparation


GOOD = {
    "{source: scenes, splits: {train: 8, val: 2}, size: [32, 48]}": Scenes(
        splits={"train": 8, "val": 2}, size=(32, 48)
    ),
    "{source: classes}": Classes(),
    "{source: classes, splits: [train, validation]}": Classes(splits=("train", "validation")),
    "{source: nyuv2, classes: 13}": NYUv2(classes=13),
    "{source: imagenet_s, other: class}": ImageNetS(other="class"),
    "{source: folders, modalities: [{kind: rgb}, {kind: depth, bits: 8, scale: 0.04},"
    " {kind: labels, classes: 39, ignored: [255]}]}": Folders(
        modalities=(
            RgbFiles(),
            DepthFiles(bits=8, scale=0.04),
            LabelFiles(classes=39, ignored=(255,)),
        )
    ),
}


@pytest.mark.parametrize("text", GOOD)
def test_a_preset_tells_the_source_and_what_it_needs(tmp_path, text):
    found = read(tmp_path, f"preparation: {text}")
    assert found == GOOD[text]
    assert type(found) is type(GOOD[text])


@pytest.mark.parametrize("how", GOOD.values())
def test_a_preparation_survives_its_dump(tmp_path, how):
    text = dump(Study(preparation=how))
    assert read(tmp_path, text) == how
    assert yaml.safe_load(text)["preparation"].keys() == asdict(how).keys()


BAD = {
    "{source: web}": r"`preparation`: .*'web'.*'scenes', 'folders', 'classes', 'nyuv2', 'ima",
    "{splits: {train: 1}}": r"`preparation`: .*source",
    "{source: nyuv2, seed: 3}": r"`preparation.nyuv2.seed`: Unexpected .*; found 3",
    "{source: classes, modalities: []}": r"`preparation.classes.modalities`: Unexpected",
    "{source: scenes, splits: {}}": r"`preparation.scenes.splits`: .* at least 1",
    "{source: scenes, splits: {train: 0}}": r"`preparation.scenes.splits.train`: .*; found 0",
    "{source: scenes, splits: {../a: 1}}": r"`preparation.scenes.splits.../a",
    "{source: scenes}": r"`preparation.scenes.splits`: .*required",
    "{source: folders, modalities: []}": r"`preparation.folders.modalities`: .* at least 1",
    "{source: classes, splits: [../train]}": r"`preparation.classes.splits.0`: .*found '../train'",
    "{source: nyuv2, classes: 41}": r"`preparation.nyuv2.classes`: .* 40 or 13; found 41",
    "{source: imagenet_s, other: background}": r"`preparation.imagenet_s.other`: .*'ignored' or",
}


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_field_is_named_with_its_source(tmp_path, text):
    with pytest.raises(ConfigurationError, match=BAD[text]):
        read(tmp_path, f"preparation: {text}")


def test_fields_can_be_set_one_by_one(tmp_path):
    found = read(tmp_path, "preparation: {source: nyuv2}", ["preparation.classes=13"])
    assert found == NYUv2(classes=13)
