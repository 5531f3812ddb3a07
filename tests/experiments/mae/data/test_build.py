import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.data import build as module
from experiments.mae.data.declarations import DepthFiles, LabelFiles, RgbFiles
from experiments.mae.data.manifest import read_manifest
from experiments.progress import Stages
from tests.experiments.mae.data.folders import (
    DEPTH,
    MODALITIES,
    RGB,
    SEMSEG,
    build,
    pixels,
    replace,
    write,
)


def test_a_manifest_tells_what_the_folders_hold(tmp_path):
    root = write(tmp_path / "d", ("val", "train"), ("c0/a", "c1/a"))
    found = build(root, provenance={"source": "random numbers"})
    assert found.path == root / "manifest.jsonl"
    header = found.header
    assert header.modalities == MODALITIES
    assert header.splits == {"train": 2, "val": 2}
    assert header.classes == ("c0", "c1")
    assert header.smallest == header.largest == (12, 16)
    assert header.provenance["source"] == "random numbers"
    assert header.provenance["pillow version"]
    assert [(each.split, each.stem, each.label) for each in found] == [
        ("train", "c0/a", "c0"),
        ("train", "c1/a", "c1"),
        ("val", "c0/a", "c0"),
        ("val", "c1/a", "c1"),
    ]
    assert found[1].files == {name: f"train/{name}/c1/a.png" for name in header.names}
    assert all(each.size == (12, 16) for each in found)
    found.check_files()
    assert list(read_manifest(found.path)) == list(found)


def test_files_are_matched_by_stem_not_by_order_or_extension(tmp_path):
    root = write(tmp_path / "d", stems=("10", "9", "a.b"))
    rgb = root / "train/rgb"
    Image.open(rgb / "9.png").save(rgb / "9.JPEG")
    (rgb / "9.png").unlink()
    (rgb / "10.png").rename(rgb / "10.PNG")
    (rgb / ".hidden").touch()
    (root / "train/depth/model.json").write_text("{}")
    files = {each.stem: each.files for each in build(root)}
    assert files["9"]["rgb"] == "train/rgb/9.JPEG"
    assert files["10"]["rgb"] == "train/rgb/10.PNG"
    assert files["10"]["depth"] == "train/depth/10.png"
    assert files["a.b"]["semseg"] == "train/semseg/a.b.png"


def test_images_need_no_classes(tmp_path):
    found = build(write(tmp_path / "d"))
    assert found.header.classes == ()
    assert [each.label for each in found] == [None] * 3


def test_a_manifest_elsewhere_still_finds_its_files(tmp_path):
    root = write(tmp_path / "d")
    (tmp_path / "out").mkdir()
    found = build(root, out=tmp_path / "out" / "m.jsonl")
    assert found[0].files["rgb"] == "../d/train/rgb/a.png"
    found.check_files()


def test_links_lead_where_they_did(tmp_path, monkeypatch):
    write(tmp_path / "store" / "d")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "d")
    monkeypatch.chdir(tmp_path)
    found = build(Path("link"))
    assert found[0].files["rgb"] == "train/rgb/a.png"
    found.check_files()


def test_the_result_does_not_depend_on_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    root = write(tmp_path / "d", stems=tuple("abcdefgh"))
    texts = [build(root, threads=count).path.read_bytes() for count in (1, 2, 5)]
    assert texts[0] == texts[1] == texts[2]


def test_the_digest_changes_with_any_byte_of_any_file(tmp_path):
    root = write(tmp_path / "d")
    seen = {build(root).header.digest}
    for name in pixels():
        values = pixels(1)[name].copy()
        values[5, 5] = 300 if name == "depth" else 1 if (values[5, 5] == 0).all() else 0
        replace(root, name, values)
        seen.add(build(root).header.digest)
    assert len(seen) == 4


def test_sizes_may_differ_between_images_and_follow_the_stride(tmp_path):
    root = write(tmp_path / "d", stems=("a",))
    write(root, stems=("b",), size=(20, 8))
    for stem in ("a", "b"):
        path = root / f"train/semseg/{stem}.png"
        Image.fromarray(np.asarray(Image.open(path))[::4, ::4]).save(path)
    labels = LabelFiles(classes=5, ignored=(255,), stride=4)
    for order in ((RGB, DEPTH, labels), (labels, DEPTH, RGB)):
        found = build(root, order)
        assert [each.size for each in found] == [(12, 16), (20, 8)]
        assert (found.header.smallest, found.header.largest) == ((12, 8), (20, 16))


def remove(name):
    return lambda root: (root / name).unlink()


def cut(name, size):
    def apply(root):
        path = root / name
        path.write_bytes(path.read_bytes()[:size])

    return apply


def put(name, values):
    return lambda root: replace(root, name, values)


def changed(name, place, value):
    values = pixels(1)[name].copy()
    values[place] = value
    return put(name, values)


def made(*names):
    def apply(root):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".png":
                shutil.copy(root / "train/rgb/a.png", path)
            elif path.suffix:
                path.touch()
            else:
                path.mkdir()

    return apply


BAD = {
    "a missing file": (
        remove("train/depth/b.png"), r"train/depth/b\.\*: is missing, though there is rgb .*rgb/b"
    ),
    "a missing first modality": (
        remove("train/rgb/c.png"), r"train/rgb/c\.\*: is missing, though there is depth .*depth/c"
    ),
    "a missing folder": (
        lambda root: shutil.rmtree(root / "train/semseg"), "train/semseg: is missing; split 'train'"
    ),
    "a truncated file": (cut("train/depth/b.png", 200), r"depth/b\.png: cannot be read to its end"),
    "a last byte": (cut("train/semseg/b.png", -1), r"semseg/b\.png: cannot be read to its end"),
    "an empty file": (cut("train/rgb/b.png", 0), r"rgb/b\.png: cannot be read to its end"),
    "a label": (
        changed("semseg", (2, 3), 133), r"semseg/b\.png: .* 0 to 4 .*found 133 in row 2, column 3"
    ),
    "8 bits": (put("depth", np.ones((12, 16), np.uint8)), r"depth/b\.png: should have 16 bits"),
    "far": (changed("depth", (2, 3), 60_001), r"depth/b\.png: .*to 60 metres; found 60.001"),
    "a size": (
        put("depth", pixels(1)["depth"][:, :-1]),
        r"depth/b\.png: should have the size 12×16 .* of .*rgb/b\.png; found 12×15; resize",
    ),
    "a stem twice": (made("train/rgb/b.jpg"), r"rgb/b\.png: has the stem of .*rgb/b\.jpg"),
    "another file": (made("train/rgb/b.npy"), r"rgb/b\.npy: should be an image"),
    "classes and none": (
        made("train/rgb/c0/a.png"), r"train/rgb: should have its images in class folders or direct"
    ),
    "an empty class": (
        lambda root: [shutil.rmtree(root), write(root, stems=("c0/a",)),
                      made("train/rgb/c1")(root)],
        r"rgb/c1: a class folder should hold images; found none; remove or fill it",
    ),
    "nested classes": (
        lambda root: [shutil.rmtree(root), write(root, stems=("c0/a",)),
                      made("train/rgb/c0/x")(root)],
        r"rgb/c0/x: should not be in a class folder",
    ),
    "an empty split": (made("val/rgb", "val/depth", "val/semseg"), "val/rgb: should hold images"),
    "no split": (shutil.rmtree, "should be a folder with train/rgb and depth and semseg"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_the_bad_file_is_named_before_anything_is_written(tmp_path, case):
    damage, message = BAD[case]
    root = write(tmp_path / "d")
    damage(root)
    with pytest.raises(ConfigurationError, match=message):
        build(root, out=tmp_path / "m.jsonl")
    assert [path.name for path in tmp_path.iterdir()] in (["d"], [])


def test_a_folder_without_splits_is_named(tmp_path):
    (tmp_path / "rgb").mkdir()
    with pytest.raises(ConfigurationError, match="should hold folders of splits, such as train"):
        build(tmp_path)


def test_of_many_bad_files_the_first_in_order_is_named(tmp_path):
    root = write(tmp_path / "d", ("train", "val"), stems=tuple("abcdef"))
    for split, stem in (("val", "a"), ("train", "e"), ("train", "c")):
        replace(root, "depth", np.ones((12, 16), np.uint8), stem, split)
    replace(root, "semseg", np.full((12, 16), 9, np.uint8), "c")
    for threads in (1, 6):
        with pytest.raises(ConfigurationError, match=r"train/depth/c\.png"):
            build(root, threads=threads)


def test_bytes_in_files_of_sixteen_bits_are_found_out(tmp_path):
    root = write(tmp_path / "d", stems=("a", "b"))
    for stem in ("a", "b"):
        replace(root, "depth", np.full((12, 16), 255, np.uint16), stem)
    with pytest.raises(ConfigurationError, match=r"depth/a\.png and all others .* none above 255"):
        build(root)
    replace(root, "depth", np.full((12, 16), 256, np.uint16))
    assert len(build(root)) == 2


def test_unknown_pixels_do_not_hide_bytes_in_files_of_sixteen_bits(tmp_path):
    root = write(tmp_path / "d", stems=("a",))
    values = np.full((12, 16), 255, np.uint16)
    values[0] = 65_535
    replace(root, "depth", values, "a")
    with pytest.raises(ConfigurationError, match="none above 255"):
        build(root, (RGB, DepthFiles(scale=1.0, void=65_535), SEMSEG))


def test_only_the_named_splits_are_read(tmp_path):
    root = write(tmp_path / "d", ("train", "val"))
    cut("val/rgb/a.png", 9)(root)
    assert build(root, splits=("train",)).header.splits == {"train": 3}
    with pytest.raises(ConfigurationError, match=r"d/test/rgb: is missing; split 'test'"):
        build(root, splits=("train", "test"))


def test_one_modality_is_enough_and_others_are_passed_over(tmp_path):
    root = write(tmp_path / "d")
    (root / "train/depth/b.png").unlink()
    assert list(build(root, (RgbFiles(),))[0].files) == ["rgb"]


def test_the_digests_are_those_of_the_files(tmp_path):
    root = write(tmp_path / "d", stems=("a",))
    expected = hashlib.sha256()
    digests = tuple(
        hashlib.sha256((root / f"train/{each.name}/a.png").read_bytes()).hexdigest()
        for each in MODALITIES
    )
    expected.update(repr(("train", "a", digests)).encode())
    assert build(root).header.digest == expected.hexdigest()


def test_progress_has_a_rate(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    build(write(tmp_path / "d"), stages=Stages(console))
    assert console.file.getvalue().startswith("check files: 3 images in ")
    assert "images/s" in console.file.getvalue()
