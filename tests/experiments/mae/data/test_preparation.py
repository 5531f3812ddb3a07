import hashlib
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.data import preparation as module
from experiments.mae.data.dataset import MultiModalImages
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.manifest import read_manifest
from experiments.mae.data.preparation import prepare
from experiments.mae.data.scenes.folders import MODALITIES as SCENE_MODALITIES
from experiments.mae.data.sources import Classes, Folders, ImageNetS, NYUv2, Scenes
from experiments.progress import Stages
from tests.experiments.mae.data.converters.official import write_official
from tests.experiments.mae.data.converters.test_classes import write_classes
from tests.experiments.mae.data.converters.test_imagenet_s import WNIDS, write_imagenet_s
from tests.experiments.mae.data.folders import MODALITIES, build, quiet, replace, write
from tests.experiments.mae.data.trees import tree

FOLDERS = Folders(modalities=MODALITIES)
SCENES = Scenes(splits={"train": 2, "val": 1}, size=(16, 24), seed=3)


def run(how, data, out):
    return prepare(how, data, out, stages=quiet())


def zipped(folder, archive, top=True):
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, path.relative_to(folder.parent if top else folder))
    return archive


def write_source(kind, tmp_path):
    """Data of each kind, and how it is prepared."""
    data = tmp_path / "store" / "data"
    if kind == "nyuv2":
        write_official(data)
        return NYUv2(), data
    if kind == "imagenet_s":
        write_imagenet_s(data)
        return ImageNetS(), data
    how = FOLDERS if kind.startswith("folders") else Classes()
    write(data, ("train", "val")) if how is FOLDERS else write_classes(data)
    return how, zipped(data, tmp_path / "store" / "data.zip") if kind.endswith("zip") else data


SPLITS = {
    "folders": {"train": 3, "val": 3},
    "folders zip": {"train": 3, "val": 3},
    "classes": {"train": 6, "val": 6},
    "classes zip": {"train": 6, "val": 6},
    "nyuv2": {"train": 3, "test": 2},
    "imagenet_s": {"train": 6, "val": 3},
}
KINDS = tuple(SPLITS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_source_becomes_a_folder_whose_images_can_be_read(tmp_path, kind):
    how, data = write_source(kind, tmp_path)
    before = tree(tmp_path / "store")
    found = run(how, data, tmp_path / "out")
    assert found.path == tmp_path / "out" / "manifest.jsonl"
    assert found.header.splits == SPLITS[kind]
    images = MultiModalImages(found, lambda tensors, duplicate, index: dict(tensors))
    for index in range(len(images)):
        assert images[index]["rgb"].shape[1:] == found[index].size
    assert tree(tmp_path / "store") == before
    assert [path.name for path in tmp_path.iterdir()].count("out") == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_preparation_is_read_back(tmp_path, kind, monkeypatch):
    how, data = write_source(kind, tmp_path)
    first = run(how, data, tmp_path / "out")
    text, stamp = first.path.read_bytes(), first.path.stat().st_mtime_ns
    monkeypatch.setattr(module, "_make", None)
    for given in (data, None):
        again = run(how, given, tmp_path / "out")
        assert again.header == first.header
        assert list(again) == list(first)
    assert (first.path.read_bytes(), first.path.stat().st_mtime_ns) == (text, stamp)


def test_scenes_are_rendered_and_read_back(tmp_path):
    found = run(SCENES, None, tmp_path / "out")
    assert found.header.splits == {"train": 2, "val": 1}
    assert found.header.modalities == SCENE_MODALITIES
    assert found.header.smallest == found.header.largest == (16, 24)
    assert list(run(SCENES, None, tmp_path / "out")) == list(found)
    with pytest.raises(ConfigurationError, match="should be empty or hold the same scenes"):
        run(Scenes(splits={"train": 2, "val": 1}, size=(16, 24), seed=4), None, tmp_path / "out")
    with pytest.raises(ConfigurationError, match="--data should be left out for `source` scenes"):
        run(SCENES, tmp_path, tmp_path / "other")


def other_data(data):
    if data.is_file():
        data.write_bytes(data.read_bytes() + b"more")
        return data
    if (data / "splits.mat").exists():
        (data / "splits.mat").write_bytes(b"other")
        return data
    return Path(shutil.copytree(data, data.with_name("elsewhere")))


@pytest.mark.parametrize("kind", KINDS)
def test_other_data_are_refused(tmp_path, kind):
    how, data = write_source(kind, tmp_path)
    run(how, data, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"out should be of .*; choose another folder, or"):
        run(how, other_data(data), tmp_path / "out")
    assert tree(tmp_path / "out") == before


OTHER = {
    "folders": Folders(modalities=(*MODALITIES[:2], LabelFiles(classes=9, ignored=(255,)))),
    "classes": Classes(splits=("train",)),
    "nyuv2": NYUv2(classes=13),
    "imagenet_s": ImageNetS(other="class"),
}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize("given", [True, False])
def test_another_configuration_is_refused(tmp_path, kind, given):
    how, data = write_source(kind, tmp_path)
    run(how, data, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"should be of preparation .*; found .*; choo"):
        run(OTHER[kind], data if given else None, tmp_path / "out")


def test_files_of_an_older_version_are_refused(tmp_path, monkeypatch):
    how, data = write_source("nyuv2", tmp_path)
    run(how, data, tmp_path / "out")
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    with pytest.raises(ConfigurationError, match="should be of files version 2; found version 1"):
        run(how, data, tmp_path / "out")


def test_a_finished_preparation_that_lost_a_file_is_told(tmp_path):
    how, data = write_source("classes", tmp_path)
    run(how, data, tmp_path / "out")
    (data / "train/c0/c0_0.JPEG").unlink()
    with pytest.raises(ConfigurationError, match=r"c0_0\.JPEG: is missing, though"):
        run(how, None, tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_tells_where_the_images_come_from(tmp_path, kind):
    how, data = write_source(kind, tmp_path)
    found = run(how, data, tmp_path / "out").header.provenance
    assert json.loads(found["preparation"])["source"] == how.source
    assert found["source"] == ("../store/data" if kind in ("folders", "classes") else data.name)
    digests = {name: value for name, value in found.items() if name.endswith("SHA-256")}
    files = [data] if data.is_file() else sorted(data.glob("*.mat"))
    files = [path for path in files if path.name != "class13Mapping.mat"]
    assert digests == {
        f"{path.name} SHA-256": hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    assert str(tmp_path) not in json.dumps(found)
    assert found["pillow version"]
    assert ("h5py version" in found) == (kind == "nyuv2")


@pytest.mark.parametrize("block", [1, 7, 1 << 24])
def test_large_files_are_hashed_in_parts_with_progress(tmp_path, monkeypatch, block):
    how, data = write_source("folders zip", tmp_path)
    wanted = hashlib.sha256(data.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "_SHOWN", 0)
    monkeypatch.setattr(module, "_BLOCK", block)
    console = Console(file=io.StringIO(), width=200)
    found = prepare(how, data, tmp_path / "out", stages=Stages(console)).header.provenance
    assert found["data.zip SHA-256"] == wanted
    assert console.file.getvalue().startswith("hash data.zip: ")


@pytest.mark.parametrize("kind", ["folders", "classes"])
def test_images_in_a_folder_are_not_copied_and_move_with_the_manifest(tmp_path, kind):
    how, data = write_source(kind, tmp_path / "here")
    run(how, data, tmp_path / "here" / "out")
    assert list(tree(tmp_path / "here" / "out")) == ["manifest.jsonl"]
    (tmp_path / "here").rename(tmp_path / "there")
    read_manifest(tmp_path / "there" / "out" / "manifest.jsonl").check_files()


@pytest.mark.parametrize("kind", ["folders", "classes"])
@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("splits", [("train", "val"), ("train",)])
@pytest.mark.parametrize("named", [True, False])
def test_an_archive_and_a_folder_give_the_same_with_a_top_folder_and_without(
    tmp_path, kind, top, splits, named
):
    data = tmp_path / "store" / "data"
    write(data, splits) if kind == "folders" else write_classes(data, splits)
    chosen = splits if named else None
    how = (
        Folders(modalities=MODALITIES, splits=chosen)
        if kind == "folders"
        else Classes(splits=chosen)
    )
    archive = zipped(data, tmp_path / "data.zip", top)
    one = run(how, archive, tmp_path / "one")
    two = run(how, data.parent if top else data, tmp_path / "two")
    assert one.header.splits == two.header.splits == dict.fromkeys(splits, len(one) // len(splits))
    assert one.header.digest == two.header.digest
    assert one.header.classes == two.header.classes
    assert [each.stem for each in one] == [each.stem for each in two]
    prefix = "data/train/" if top else "train/"
    assert one[0].files["rgb"].startswith(prefix)


class Writing:
    """Counts the files that are written, and stops after some."""

    def __init__(self, monkeypatch, stop_after):
        self.paths, self.stop_after = [], stop_after
        for name in ("archives", "converters.imagenet_s", "converters.images"):
            place = f"experiments.mae.data.{name}.write_atomically"
            monkeypatch.setattr(place, self.write)

    def write(self, path, content):
        if len(self.paths) >= self.stop_after:
            raise KeyboardInterrupt
        path.write_bytes(content)
        self.paths.append(path)


# Four frames are written side by side, and the fifth after them.
@pytest.mark.parametrize(
    ("kind", "stop_after", "kept"),
    [("folders zip", 8, 8), ("classes zip", 8, 8), ("nyuv2", 13, 12), ("imagenet_s", 8, 8)],
)
def test_interrupted_work_does_not_count_as_done_and_goes_on(
    tmp_path, kind, stop_after, kept, monkeypatch
):
    how, data = write_source(kind, tmp_path)
    run(how, data, tmp_path / "whole")
    with monkeypatch.context() as context:
        Writing(context, stop_after)
        with pytest.raises(KeyboardInterrupt):
            run(how, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError, match=r"--data should be given .* no finished prepar"):
        run(how, None, tmp_path / "out")
    with monkeypatch.context() as context:
        rest = Writing(context, 10**9)
        run(how, data, tmp_path / "out")
    everything = tree(tmp_path / "whole")
    assert tree(tmp_path / "out") == everything
    assert len(rest.paths) == len(everything) - 1 - kept  # one is the manifest
    assert {path.name for path in tmp_path.iterdir()} == {"store", "whole", "out"}


def test_interrupted_work_of_another_configuration_is_not_gone_on_with(tmp_path, monkeypatch):
    how, data = write_source("nyuv2", tmp_path)
    with monkeypatch.context() as context:
        Writing(context, 8)
        with pytest.raises(KeyboardInterrupt):
            run(how, data, tmp_path / "out")
    run(NYUv2(classes=13), data, tmp_path / "out")
    run(NYUv2(classes=13), data, tmp_path / "other")
    assert tree(tmp_path / "out") == tree(tmp_path / "other")


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("kind", ["folders", "folders zip"])
def test_a_bad_file_leaves_the_folder_as_it_was_and_can_be_replaced(tmp_path, kind, existing):
    data = write(tmp_path / "store" / "data")
    path = replace(data, "semseg", np.full((12, 16), 77, np.uint8))
    archive = zipped(data, tmp_path / "store" / "data.zip")
    given = archive if kind.endswith("zip") else data
    if existing:
        (tmp_path / "out").mkdir()
    with pytest.raises(ConfigurationError, match=r"semseg/b\.png: .* found 77 in row 0, column 0"):
        run(FOLDERS, given, tmp_path / "out")
    assert (tmp_path / "out").exists() == existing
    assert tree(tmp_path / "out") == {}
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(path)
    zipped(data, archive)
    found = run(FOLDERS, given, tmp_path / "out")
    assert found.header.digest == build(data, out=tmp_path / "m.jsonl").header.digest


def test_depth_of_bytes_is_refused_where_sixteen_bits_are_declared(tmp_path):
    data = write(tmp_path / "data")
    replace(data, "depth", np.ones((12, 16), np.uint8))
    with pytest.raises(ConfigurationError, match=r"depth/b\.png: should have 16 bits a pixel"):
        run(FOLDERS, data, tmp_path / "out")


BAD = {
    "the data themselves": (
        FOLDERS, "data", "data", "--out should not be in --data .*data; found .*data"
    ),
    "a folder within the data": (FOLDERS, "data", "data/prepared", "--out should not be in --data"),
    "a folder that is not empty": (
        FOLDERS, "data", "full", "--out: .*full holds something else; choose another folder"
    ),
    "a file": (FOLDERS, "data", "full/note", "--out: .*note holds something else"),
    "no data": (FOLDERS, None, "out", "--data should be given for `source` folders; found none"),
    "data that are not there": (FOLDERS, "nowhere", "out", "--data: .*nowhere is missing; give"),
    "no archive": (FOLDERS, "full/note", "out", "note: cannot be unpacked"),
    "one file of NYUv2": (NYUv2(), "full/note", "out", "--data should be a folder for `source` ny"),
    "an archive of ImageNet-S": (ImageNetS(), "full/note", "out", "folder for `source` imagenet_s"),
    "no file of NYUv2": (
        NYUv2(classes=13), "full", "out",
        r"full/nyu_depth_v2_labeled\.mat: is missing; .* splits\.mat, classMapping40\.mat, class13",
    ),
    "no ImageNet-S": (ImageNetS(), "full", "out", "full/train-semi-segmentation: is missing"),
    "a place that cannot be written to": (FOLDERS, "data", "full/note/out", "cannot write beside"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_prepared_is_told_before_anything_is_written(tmp_path, case):
    how, data, out, message = BAD[case]
    write(tmp_path / "data")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        run(how, None if data is None else tmp_path / data, tmp_path / out)
    assert tree(tmp_path) == before


def test_links_lead_where_they_did(tmp_path, monkeypatch):
    write(tmp_path / "store" / "deep" / "data")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "deep" / "data")
    (tmp_path / "place").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "place")
    monkeypatch.chdir(tmp_path)
    found = run(FOLDERS, Path("link"), Path("out"))
    found.check_files()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "place" / "manifest.jsonl").is_file()


def test_classes_and_labels_of_imagenet_s_are_in_the_order_of_their_ids(tmp_path):
    how, data = write_source("imagenet_s", tmp_path)
    header = run(how, data, tmp_path / "out").header
    assert header.classes == WNIDS
    assert header.modalities[1].class_names == WNIDS


REAL = Path(os.environ.get("TASKROBUST_DATA", "nowhere")) / "vision"
real = pytest.mark.skipif(not REAL.is_dir(), reason="TASKROBUST_DATA names no folder with vision/")


@real
def test_real_frames_of_nyuv2_have_depths_and_labels_in_range(tmp_path):
    how = Folders(
        modalities=(
            RgbFiles(),
            DepthFiles(bits=8, scale=1 / 25.5, limits=(0.5, 10.0)),
            LabelFiles(classes=39, ignored=(255,)),
        )
    )
    found = run(how, REAL / "nyuv2_192x144.zip", tmp_path / "out")
    assert found.header.splits == {"train": 795, "test": 654}
    assert found.header.smallest == found.header.largest == (144, 192)
    numbers = sorted(int(each.stem) for each in found)
    assert numbers == list(range(1, 1450))
    images = MultiModalImages(found, lambda tensors, duplicate, index: dict(tensors))
    samples = [images[index] for index in range(0, 1449, 23)]
    depths = np.concatenate([each["depth"].numpy().ravel() for each in samples])
    labels = np.concatenate([each["semseg"].numpy().ravel() for each in samples])
    assert 0.5 < depths.min() < 1.5
    assert 8 < depths.max() <= 10
    assert 2 < depths.mean() < 4
    assert set(np.unique(labels)) <= set(range(40))
    assert 0.1 < (labels == 39).mean() < 0.3


@real
def test_real_images_of_fifty_classes_are_counted(tmp_path):
    found = run(Classes(), REAL / "tiny_imagenet50.zip", tmp_path / "out")
    assert found.header.splits == {"train": 5000, "val": 1500}
    assert found.header.smallest == found.header.largest == (64, 64)
    assert len(found.header.classes) == 50
    assert all(name.startswith("n") for name in found.header.classes)
    assert list(found.header.classes) == sorted(found.header.classes)
    counts = {split: np.zeros(50, int) for split in found.header.splits}
    ids = {name: number for number, name in enumerate(found.header.classes)}
    for each in found:
        counts[each.split][ids[each.label]] += 1
    assert (counts["train"] == 100).all()
    assert (counts["val"] == 30).all()
