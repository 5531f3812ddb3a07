import io
import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.data.augmentation import CentralCrop
from experiments.mae.data.build import build_manifest
from experiments.mae.data.dataset import MultiModalImages
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.label import run as module
from experiments.mae.label.depth import load_depth
from experiments.mae.label.run import label
from experiments.mae.label.semantics import load_semantics
from experiments.mae.label.stored import Stored
from experiments.progress import Stages
from tests.experiments.mae.label import tiny
from tests.experiments.mae.label.conftest import CPU, SIZES, picture
from tests.experiments.mae.label.test_semantics import same_up_to_ties, scores_alone


def silent():
    return Stages(Console(file=io.StringIO()))


@pytest.fixture
def make(data, tmp_path, depth, semantics):
    """Labels of the images of `data`, in a folder."""
    return partial(label, data, tmp_path / "out", [depth, semantics], batch_size=2, stages=silent())


def files(out):
    """All labels' bytes by relative path."""
    found = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for name in ("depth", "semseg")
        for path in sorted(out.glob(f"*/{name}/*/*"))
    }
    assert found
    return found


def test_labels_lie_beside_links_to_the_images_and_the_manifest_tells_all(make, data, tmp_path):
    found = make(command="mae label ...")
    out = tmp_path / "out"
    assert found.path == out / "manifest.jsonl"
    assert found.header.splits == {"train": 4, "val": 1}
    assert found.header.classes == ("c0", "c1")
    assert found.header.modalities == (
        RgbFiles(),
        DepthFiles(unit="inverse", scale=1 / 65535),
        LabelFiles(classes=7, class_names=tuple(f"class {n}" for n in range(7))),
    )
    for number, size in enumerate(SIZES):
        split, stem = "val" if number == 4 else "train", f"c{number % 2}/{number}.png"
        rgb = out / split / "rgb" / stem
        assert not rgb.readlink().is_absolute()
        assert rgb.samefile(data / split / "rgb" / stem)
        for name, mode in (("depth", "I;16"), ("semseg", "L")):
            with Image.open(out / split / name / stem) as image:
                assert (image.size, image.mode) == (size[::-1], mode)
    origin = found.header.provenance
    assert origin["depth unit"] == "inverse"
    assert origin["depth class"] == "DPTForDepthEstimation"
    assert origin["semseg class"] == "Mask2FormerForUniversalSegmentation"
    assert origin["semseg command"] == "mae label ..."
    assert origin["rgb source"] == str(data)
    told = json.loads((out / "labels.json").read_text())["modalities"]
    assert told["depth"]["identity"]["digest"] == origin["depth digest"]
    assert set(told["depth"]["versions"]) >= {"torch", "transformers", "torchvision"}


def test_the_manifest_is_read_by_the_data_set(make):
    images = MultiModalImages(make(), CentralCrop(size=(24, 24)))
    sample = images[3]
    assert sample["rgb"].shape == (3, 24, 24)
    assert 0 <= sample["depth"].min() < sample["depth"].max() <= 1
    assert sample["semseg"].max() < 7
    assert "depth_valid" not in sample


def test_images_of_different_sizes_in_a_batch_get_the_labels_they_get_alone(
    make, data, tmp_path, models, depth
):
    # Mask2Former's image processor would pad the smaller ones, and stretch the padded labels.
    make(batch_size=5)
    for path in sorted(data.rglob("*.png")):
        image = pixels(path)
        way = tmp_path / "out" / path.parents[2].name
        ids = pixels(way / "semseg" / path.parent.name / path.name)
        assert same_up_to_ties(ids, scores_alone("mask2former", models["mask2former"], image))
        stored = pixels(way / "depth" / path.parent.name / path.name)
        (alone,) = depth.predict([depth.prepare(image)], [image.shape[:2]])
        assert np.abs(stored.astype(int) - alone.values).max() <= 2


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_what_a_killed_run_leaves_out_is_made_the_same_later(make, tmp_path, monkeypatch, after):
    make()
    wanted = files(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    write = module.write
    left = iter(range(after))

    def until_killed(*arguments):
        if next(left, None) is None:
            raise Killed
        write(*arguments)

    monkeypatch.setattr(module, "write", until_killed)
    with pytest.raises(Killed):
        make()
    assert len(list((tmp_path / "out").glob("*/*/*/*.png"))) == 5 + after
    assert not (tmp_path / "out/manifest.jsonl").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/depth/*/*")}
    monkeypatch.setattr(module, "write", write)
    make()
    assert files(tmp_path / "out") == wanted
    assert all(path.stat().st_mtime_ns == before for path, before in kept.items())


class Counting:
    """Labels every image by the number of images in its batch, and dies where it is told to."""

    def __init__(self, alive):
        self.files = LabelFiles(classes=9)
        self.alive = alive

    def prepare(self, image):
        return {"pixel_values": torch.zeros(1, *image.shape[2:], 4, 4)}

    def predict(self, inputs, sizes):
        if self.alive == 0:
            raise Killed
        self.alive -= 1
        return [Stored(np.full(size, len(inputs), np.uint8), {}) for size in sizes]

    def describe(self):
        return {}


@pytest.mark.parametrize("batch_size", [2, 3])
def test_a_batch_that_was_begun_is_the_same_batch_later(data, tmp_path, batch_size):
    # The rounding of a network's products depends on the number of images it is given.
    label(data, tmp_path / "a", [Counting(9)], batch_size=batch_size, stages=silent())
    wanted = files(tmp_path / "a")
    with pytest.raises(Killed):
        label(data, tmp_path / "b", [Counting(1)], batch_size=batch_size, stages=silent())
    next(iter((tmp_path / "b").glob("*/semseg/*/*.png"))).unlink()
    label(data, tmp_path / "b", [Counting(9)], batch_size=batch_size, stages=silent())
    assert files(tmp_path / "b") == wanted


def test_a_finished_run_predicts_nothing_again(make, monkeypatch, tmp_path):
    first = make()
    before = files(tmp_path / "out")
    text = first.path.read_text()
    monkeypatch.setattr(module, "_predicted", lambda *a: pytest.fail("predicted again"))
    assert make().path.read_text() == text
    assert files(tmp_path / "out") == before


def test_only_new_and_changed_images_are_labelled(make, data, tmp_path):
    make()
    before = files(tmp_path / "out")
    Image.fromarray(picture((40, 56), 8)).save(data / "train/rgb/c0/0.png")
    Image.fromarray(picture((33, 33), 9)).save(data / "train/rgb/c0/9.png")
    make()
    after = files(tmp_path / "out")
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {f"train/{n}/c0/{i}.png" for n in ("depth", "semseg") for i in (0, 9)}


def test_one_kind_of_label_can_be_added_later(data, tmp_path, depth, semantics):
    first = label(data, tmp_path / "out", [semantics], stages=silent())
    assert first.header.names == ("rgb", "semseg")
    second = label(data, tmp_path / "out", [depth], stages=silent())
    assert second.header.names == ("rgb", "semseg", "depth")


def test_images_of_a_manifest_are_labelled_where_they_are_listed(data, tmp_path, depth):
    manifest = build_manifest(data, [RgbFiles()], stages=silent(), provenance={"author": "me"})
    found = label(manifest.path, tmp_path / "b", [depth], stages=silent())
    assert found.header.provenance["rgb author"] == "me"
    assert [(each.split, each.stem) for each in found] == [
        (each.split, each.stem) for each in manifest
    ]


def test_labels_can_go_beside_the_images_themselves(data, depth):
    before = {path: path.read_bytes() for path in data.rglob("*.png")}
    found = label(data, data, [depth], stages=silent())
    assert found[0].files == {"rgb": "train/rgb/c0/0.png", "depth": "train/depth/c0/0.png"}
    assert all(path.read_bytes() == bytes_ for path, bytes_ in before.items())


def test_copies_do_not_need_the_originals(make, data, tmp_path):
    make(copy=True)
    shutil.rmtree(data)
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    found = build_manifest(tmp_path / "elsewhere", [RgbFiles()], stages=silent())
    assert found.header.splits == {"train": 4, "val": 1}


def test_turned_pixels_are_labelled_as_they_are_read_for_training(data, tmp_path, depth):
    path = data / "train/rgb/c0/0.png"
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown rotated
    Image.fromarray(picture((40, 56))).save(path, exif=turned)
    label(data, tmp_path / "out", [depth], stages=silent())
    with Image.open(tmp_path / "out/train/depth/c0/0.png") as image:
        assert image.size == (56, 40)


def test_labels_of_another_model_are_not_mixed_in(make, data, tmp_path, models, depth):
    make()
    before = files(tmp_path / "out")
    other = load_semantics(models["segformer"], device=CPU)
    with pytest.raises(ConfigurationError, match=r"should be of the same model.*`digest`"):
        label(data, tmp_path / "out", [depth, other], stages=silent())
    unit = load_depth(models["dpt"], kind="relative", device=CPU)
    with pytest.raises(ConfigurationError, match=r"found `unit` 'inverse', and now 'relative'"):
        label(data, tmp_path / "out", [unit], stages=silent())
    assert files(tmp_path / "out") == before


def test_the_same_model_may_have_moved(make, data, tmp_path, models):
    make()
    before = files(tmp_path / "out")
    moved = shutil.copytree(models["dpt"], tmp_path / "moved")
    label(
        data,
        tmp_path / "out",
        [load_depth(str(moved), kind="inverse", device=CPU)],
        stages=silent(),
    )
    assert files(tmp_path / "out") == before


def test_labels_of_unknown_origin_are_not_touched(data, depth):
    shutil.copytree(data / "train/rgb", data / "train/depth")
    with pytest.raises(ConfigurationError, match=r"train/depth: should not be there.*labels\.json"):
        label(data, data, [depth], stages=silent())


def test_a_damaged_record_is_refused(make, tmp_path):
    make()
    path = tmp_path / "out/labels.json"
    for text in ("{", "[]", '{"modalities": {"depth": {"identity": {}, "files": {}}}}'):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=r"labels\.json: should tell the models"):
            make()


def test_an_image_that_cannot_be_read_is_named_before_anything_is_written(make, data, tmp_path):
    path = data / "val/rgb/c0/4.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConfigurationError, match=r"val/rgb/c0/4\.png"):
        make()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["damaged", "missing", "resized"])
def test_an_image_of_a_manifest_is_checked_too(data, tmp_path, depth, what):
    manifest = build_manifest(data, [RgbFiles()], stages=silent())
    path = data / "val/rgb/c0/4.png"
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:-30])
    elif what == "missing":
        path.unlink()
    else:
        Image.fromarray(picture((20, 20))).save(path)
    with pytest.raises(ConfigurationError, match=r"val/rgb/c0/4\.png"):
        label(manifest.path, tmp_path / "out", [depth], stages=silent())
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_colour_is_refused(make, tmp_path, depth):
    found = make()
    only = build_manifest(
        tmp_path / "out",
        [found.header.modalities[1]],
        tmp_path / "depth.jsonl",
        stages=silent(),
    )
    with pytest.raises(ConfigurationError, match=r"kind rgb; found depth"):
        label(only.path, tmp_path / "b", [depth], stages=silent())


def test_another_image_in_the_place_of_one_is_refused(make, tmp_path):
    out = tmp_path / "out/train/rgb/c0"
    out.mkdir(parents=True)
    Image.fromarray(picture((9, 9))).save(out / "0.png")
    with pytest.raises(ConfigurationError, match=r"c0/0\.png: should be the image .*data"):
        make()


def test_a_prediction_that_is_impossible_names_the_images_of_the_batch(data, tmp_path, models):
    broken = load_depth(models["dpt"], kind="inverse", device=CPU)
    broken.model.network.head.head[4].bias.fill_(np.nan)
    with pytest.raises(ConfigurationError, match=r"depth of one of .*3\.png.*finite"):
        label(data, tmp_path / "out", [broken], batch_size=1, stages=silent())


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"threads": 0}])
def test_sizes_of_nothing_are_refused(make, wrong):
    with pytest.raises(ConfigurationError, match=r"should be positive"):
        make(**wrong)


def test_depth_of_more_than_one_tiny_model_differs(data, tmp_path, depth):
    # Else the tests above could not tell one model's labels from another's.
    label(data, tmp_path / "a", [depth], stages=silent())
    folder = tiny.depth_anything(tmp_path / "m")
    label(data, tmp_path / "b", [load_depth(folder, device=CPU)], stages=silent())
    assert not set(files(tmp_path / "a").values()) & set(files(tmp_path / "b").values())
