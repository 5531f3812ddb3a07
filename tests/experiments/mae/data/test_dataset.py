import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from experiments.configuration import ConfigurationError
from experiments.mae.batches import MaskingCollator
from experiments.mae.configuration import DEPTH, RGB, ImageModality, LabelModality, ModelSize
from experiments.mae.data.augmentation import CentralCrop, RandomCrop
from experiments.mae.data.dataset import MultiModalImages, label_strides
from experiments.mae.data.declarations import LabelFiles, RgbFiles
from experiments.mae.data.scenes.drawing import KINDS, LABELS
from experiments.mae.data.scenes.folders import write_scenes
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.masking import TokenMasking
from tests.experiments.mae.data import folders

SEMSEG = LabelModality(name="semseg", classes=len(LABELS), stride=4, class_width=4)
SIZE = ModelSize(
    modalities=(RGB, DEPTH, SEMSEG),
    image_size=(24, 16),
    patch_size=8,
    width=16,
    layers=1,
    heads=2,
    decoder_width=8,
    decoder_layers=1,
    decoder_heads=2,
)
NAMES = SIZE.names
MASKING = TokenMasking((6, 6, 6), 5, seed=1)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "out"
    return write_scenes(out, {"train": 8, "val": 3}, (20, 28), stages=folders.quiet())


@pytest.fixture
def images(manifest):
    crop = RandomCrop(size=SIZE.image_size, strides=label_strides(SIZE), seed=4)
    return MultiModalImages(manifest.split("train"), crop)


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def test_a_sample_has_what_the_collator_and_the_model_take(images):
    assert len(images) == 8
    sample = images.sample(2, 5)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in sample.items()
            if isinstance(value, torch.Tensor)} == {
        "rgb": (torch.float32, (3, 24, 16)),
        "depth": (torch.float32, (1, 24, 16)),
        "depth_valid": (torch.bool, (1, 24, 16)),
        "semseg": (torch.int64, (6, 4)),
    }  # fmt: skip
    record = images.manifest[5]
    expected = {"index": 5, "duplicate": 2, "label": KINDS.index(record.label)}
    assert {name: sample[name] for name in expected} == expected
    assert KINDS[sample["label"]] in record.files["rgb"]
    batch = MaskingCollator(NAMES, MASKING)([images.sample(1, index) for index in range(8)])
    assert torch.equal(batch["valid"]["depth"], batch["modalities"]["depth"] > 0)
    images.check_model(SIZE)
    found = MultiModalMaskMae(SIZE)(**batch)
    assert found.task_values.isfinite().all()


def test_a_sample_is_the_files_seen_through_the_transform(manifest):
    seen = MultiModalImages(manifest, lambda tensors, *_: dict(tensors))
    record, sample = manifest[3], seen[3]
    stored = {name: np.asarray(Image.open(manifest.file(record, name))) for name in NAMES}
    assert np.array_equal(sample["rgb"].permute(1, 2, 0).numpy(), stored["rgb"])
    assert np.allclose(sample["depth"][0].numpy(), stored["depth"] / 1000, rtol=1e-6)
    assert np.array_equal(sample["semseg"].numpy(), stored["semseg"])


def test_duplicates_are_other_windows_of_the_same_image(images):
    assert same(images.sample(0, 3), images[3])
    assert same(images.sample(1, 3), images.sample(1, 3))
    assert not torch.equal(images.sample(1, 3)["rgb"], images[3]["rgb"])
    assert images.sample(1, 3)["label"] == images[3]["label"]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_batches_do_not_depend_on_workers(images):
    collator = MaskingCollator(NAMES, MASKING)
    options = {"batch_size": 4, "collate_fn": collator}
    alone = list(DataLoader(images, **options))
    shared = list(DataLoader(images, num_workers=2, multiprocessing_context="fork", **options))
    for one, other in zip(alone, shared, strict=True):
        assert same(one["modalities"], other["modalities"])
        assert torch.equal(one["ids_keep"], other["ids_keep"])


def test_some_modalities_are_enough(manifest):
    images = MultiModalImages(manifest, CentralCrop(size=(8, 8)), names=("semseg", "rgb"))
    assert set(images[0]) == {"semseg", "rgb", "index", "duplicate", "label"}
    with pytest.raises(ConfigurationError, match=r"no modality 'thermal'; found rgb, depth, sem"):
        MultiModalImages(manifest, CentralCrop(size=(8, 8)), names=("rgb", "thermal"))


def test_indices_are_those_of_the_manifest(images, manifest):
    for index in (-1, 8):
        with pytest.raises(IndexError, match=f"should be 0 to 7; found {index}"):
            images[index]
    with pytest.raises(ConfigurationError, match="should have records; found none"):
        MultiModalImages(manifest[:0], images.transform)


def small(tmp_path, modalities=folders.MODALITIES):
    manifest = folders.build(folders.write(tmp_path / "d"), modalities)
    return MultiModalImages(manifest, CentralCrop(size=(12, 16)))


def test_unlabelled_pixels_become_the_models_unlabelled_id_and_images_need_no_class(tmp_path):
    sample = small(tmp_path)[0]
    assert "label" not in sample
    stored = torch.from_numpy(folders.pixels(0)["semseg"]).long()
    expected = torch.where(stored == 255, folders.CLASSES, stored)
    assert torch.equal(sample["semseg"], expected)
    assert (expected == folders.CLASSES).any()


def test_labels_of_a_stride_lie_where_their_pixels_are(tmp_path):
    root = folders.write(tmp_path / "d")
    coarse = np.arange(12, dtype=np.uint8).reshape(3, 4) % folders.CLASSES
    for stem in "abc":
        folders.replace(root, "semseg", coarse, stem)
    files = (RgbFiles(), LabelFiles(classes=folders.CLASSES, stride=4))
    manifest = folders.build(root, files)
    whole = MultiModalImages(manifest, CentralCrop(size=(12, 16)))[0]["semseg"]
    assert np.array_equal(whole.numpy(), np.kron(coarse, np.ones((4, 4), int)))
    cells = MultiModalImages(manifest, CentralCrop(size=(12, 16), strides={"semseg": 4}))[0]
    assert np.array_equal(cells["semseg"].numpy(), coarse)


def test_files_that_are_gone_are_named_at_once_and_changed_ones_when_read(tmp_path):
    images = small(tmp_path)
    root = tmp_path / "d"
    folders.replace(root, "semseg", np.full((12, 16), 7, np.uint8))
    with pytest.raises(ConfigurationError, match=r"semseg/b\.png: .* found 7 in row 0, column 0"):
        images[1]
    folders.replace(root, "semseg", np.zeros((12, 15), np.uint8))
    with pytest.raises(ConfigurationError, match=r"semseg/b\.png: .*\(12, 16\) .*found \(12, 15\)"):
        images[1]
    (root / "train/depth/c.png").unlink()
    with pytest.raises(ConfigurationError, match=r"depth/c\.png: is missing"):
        images[2]
    with pytest.raises(ConfigurationError, match=r"depth/c\.png: is missing"):
        MultiModalImages(images.manifest, images.transform)


LABEL = {"name": "semseg", "classes": folders.CLASSES, "void": True}


@pytest.mark.parametrize(
    ("modality", "message"),
    [
        (LabelModality(**LABEL | {"classes": 133}), r"semseg.classes` should be 5, .* found 133"),
        (LabelModality(**LABEL | {"void": False}), r"semseg.void` should be true"),
        (LabelModality(**LABEL | {"name": "depth"}), r"depth.kind` should be image"),
        (LabelModality(**LABEL | {"name": "other"}), r"be among rgb, depth, semseg; found 'other'"),
        (
            ImageModality(name="rgb", channels=1, loss="squared"),
            "should have 3, .*found 1 channels",
        ),
        (ImageModality(name="depth", channels=3, loss="squared"), "should have 1, .* 3 channels"),
        (ImageModality(name="semseg", channels=1, loss="squared"), "have labels, .*found image"),
    ],
)
def test_a_model_of_other_modalities_is_refused(tmp_path, modality, message):
    images = small(tmp_path)
    images.check_model(ModelSize(modalities=(RGB, DEPTH, LabelModality(**LABEL))))
    with pytest.raises(ConfigurationError, match=message):
        images.check_model(ModelSize(modalities=(modality,)))
