import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.configuration import ConfigurationError
from experiments.mae.data.converters import imagenet_s as module
from experiments.mae.data.converters.imagenet_s import convert_imagenet_s, decode_mask
from experiments.mae.data.files import decode
from tests.experiments.mae.data.folders import quiet
from tests.experiments.mae.data.trees import tree

WNIDS = ("n01443537", "n01491361", "n02104029")
SIZE = (7, 10)


def write_mask(path, ids):
    """The ids, digit by digit of 256."""
    ids = np.asarray(ids)
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.stack([ids % 256, ids // 256, np.zeros_like(ids)], -1).astype(np.uint8)
    Image.fromarray(colours).save(path)


def write_image(path, seed=0, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(values).save(path, "jpeg")


def write_imagenet_s(root, images="train"):
    """Two masks a class to train, one to validate; returns the ids by split and stem."""
    rng = np.random.default_rng(3)
    found = {}
    for number, wnid in enumerate(reversed(WNIDS)):
        for each in range(4):
            write_image(root / "train" / wnid / f"{wnid}_{each}.JPEG", seed=10 * number + each)
        for split, folder, stems in (
            ("train", "train-semi-segmentation", (f"{wnid}_1", f"{wnid}_3")),
            ("val", "validation-segmentation", (f"ILSVRC2012_val_0000000{number}",)),
        ):
            for stem in stems:
                ids = rng.choice([0, 1, 2, 3, 1000], SIZE)
                ids[0, :5] = (0, 1, 2, 3, 1000)
                write_mask(root / folder / wnid / f"{stem}.png", ids)
                found[split, f"{wnid}/{stem}"] = ids
        write_image(root / "validation" / wnid / f"{stem}.JPEG", seed=100 + number)
    if images == "train-semi":
        for split, stem in found:
            if split == "train":
                path = root / "train-semi" / f"{stem}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / "train" / f"{stem}.JPEG", path)
        shutil.rmtree(root / "train")
    return found


@pytest.mark.parametrize("images", ["train", "train-semi"])
def test_images_with_masks_are_copied_and_masks_become_labels(tmp_path, images):
    truth = write_imagenet_s(tmp_path / "data", images)
    convert_imagenet_s(tmp_path / "data", tmp_path / "out", False, quiet())
    written = tree(tmp_path / "out")
    assert len(written) == 2 * len(truth) == 18
    folders = {"train": images, "val": "validation"}
    for (split, stem), ids in truth.items():
        with Image.open(tmp_path / "out" / split / "semseg" / f"{stem}.png") as image:
            assert image.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(image), ids)
        original = (tmp_path / "data" / folders[split] / f"{stem}.JPEG").read_bytes()
        assert written[f"{split}/rgb/{stem}.JPEG"] == original


@pytest.mark.parametrize("other", [False, True])
def test_pixels_of_no_class_are_ignored_or_a_class_of_their_own(tmp_path, other):
    truth = write_imagenet_s(tmp_path / "data")
    _, labels = convert_imagenet_s(tmp_path / "data", tmp_path / "out", other, quiet())
    names = labels.class_names
    assert names == (("other", *WNIDS) if other else WNIDS)
    meaning = dict(enumerate(("other", *WNIDS))) | {1000: "nothing"}
    for (split, stem), ids in truth.items():
        found = decode(tmp_path / "out" / split / "semseg" / f"{stem}.png", labels)["semseg"]
        for pixel, raw in zip(found.flatten().tolist(), ids.flatten().tolist(), strict=True):
            if raw == 1000 or (raw == 0 and not other):
                assert pixel == len(names)
            else:
                assert names[pixel] == meaning[raw]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 919) | st.just(1000), min_size=1, max_size=12))
def test_all_ids_of_919_classes_are_decoded(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    write_mask(path, [ids])
    assert decode_mask(path, 919).tolist() == [ids]


def test_interrupted_work_goes_on_where_it_was(tmp_path, monkeypatch):
    write_imagenet_s(tmp_path / "data")
    convert_imagenet_s(tmp_path / "data", tmp_path / "whole", False, quiet())
    decoded, original = [], module.decode_mask

    def stopping(path, classes):
        if len(decoded) == 4:
            raise InterruptedError
        decoded.append(path)
        return original(path, classes)

    monkeypatch.setattr(module, "decode_mask", stopping)
    with pytest.raises(InterruptedError):
        convert_imagenet_s(tmp_path / "data", tmp_path / "out", False, quiet())
    first = set(decoded)
    decoded.clear()
    monkeypatch.setattr(
        module, "decode_mask", lambda path, n: decoded.append(path) or original(path, n)
    )
    convert_imagenet_s(tmp_path / "data", tmp_path / "out", False, quiet())
    assert len(first) == 4
    assert len(decoded) == 5
    assert not first & set(decoded)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


MASK = f"train-semi-segmentation/{WNIDS[1]}/{WNIDS[1]}_3.png"


def masked(ids):
    return lambda data: write_mask(data / MASK, ids)


def changed(place, value):
    ids = np.ones(SIZE, int)
    ids[place] = value
    return masked(ids)


def blue(data):
    Image.fromarray(np.full((*SIZE, 3), 1, np.uint8)).save(data / MASK)


def grey(data):
    Image.fromarray(np.ones(SIZE, np.uint8)).save(data / MASK)


def cut(data):
    (data / MASK).write_bytes((data / MASK).read_bytes()[:-20])


def unlabelled(data):
    write_image(data / "validation" / WNIDS[0] / "more.JPEG")


NAME = r"n01491361_3\.png: "
BAD = {
    "an id beyond the classes": (
        changed((2, 5), 4), NAME + "ids should be 0 to 3, or 1000; found 4 in row 2, column 5; fet"
    ),
    "an id of two digits": (changed((6, 9), 999), NAME + "ids should be .* found 999 in row 6, co"),
    "a size": (
        masked(np.ones((10, 7), int)), NAME + r"should have the size 7×10 .* of .*JPEG; found 10×7"
    ),
    "blue": (blue, NAME + r"should be an RGB image of the ids R \+ 256·G, .* RGB with blue; fetch"),
    "grey": (grey, NAME + "should be an RGB image .* found mode L; fetch"),
    "the end of a mask": (cut, NAME + "cannot be read to its end"),
    "an image that is no image": (
        lambda data: (data / f"train/{WNIDS[1]}/{WNIDS[1]}_3.JPEG").write_bytes(b"text"),
        r"_3\.JPEG: cannot be read as an image",
    ),
    "a missing image": (
        lambda data: (data / f"train/{WNIDS[1]}/{WNIDS[1]}_3.JPEG").unlink(),
        r"train/n01491361/n01491361_3\.\*: is missing, though there is a mask .*png; add",
    ),
    "an image to validate without a mask": (unlabelled, r"more\.JPEG: has no mask .*more\.png"),
    "no masks": (
        lambda data: shutil.rmtree(data / "validation-segmentation"),
        "validation-segmentation: is missing; .* should be a folder of ImageNet-S, such as ImageN",
    ),
    "no images": (lambda data: shutil.rmtree(data / "train"), "data/train-semi: is missing"),
    "a class in one split": (
        lambda data: shutil.rmtree(data / "validation-segmentation" / WNIDS[2]),
        "should have folders of the same classes; found n02104029 in one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_named_with_value_and_remedy(tmp_path, case):
    damage, message = BAD[case]
    write_imagenet_s(tmp_path / "data")
    damage(tmp_path / "data")
    with pytest.raises(ConfigurationError, match=message):
        convert_imagenet_s(tmp_path / "data", tmp_path / "out", False, quiet())
