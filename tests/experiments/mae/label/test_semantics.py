import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SegformerForSemanticSegmentation,
)

from experiments.configuration import ConfigurationError
from experiments.mae.data.declarations import LabelFiles
from experiments.mae.label.semantics import load_semantics
from tests.experiments.mae.label import tiny
from tests.experiments.mae.label.conftest import CPU, SIZES, picture

CLASSES = {
    "mask2former": Mask2FormerForUniversalSegmentation,
    "segformer": SegformerForSemanticSegmentation,
}


@torch.no_grad()
def scores_alone(name, folder, image):
    """Scores ``[classes, H, W]`` of one image, by transformers' own classes."""
    processor = AutoImageProcessor.from_pretrained(folder)
    network = CLASSES[name].from_pretrained(folder).eval()
    outputs = network(**processor(images=Image.fromarray(image), return_tensors="pt"))
    (found,) = processor.post_process_semantic_segmentation(
        outputs, target_sizes=[image.shape[:2]], return_segmentation_scores=True
    )
    return found.segmentation_scores.numpy()


def same_up_to_ties(ids, scores):
    """Whether each id has the best score, or one as good."""
    chosen = np.take_along_axis(scores, ids[None].astype(int), 0)[0]
    return (chosen >= scores.max(0) - 1e-5).all()


@pytest.mark.parametrize(("name", "seeds"), [("mask2former", (1, 2, 3)), ("segformer", (0, 1, 2))])
def test_labels_of_a_batch_are_those_of_transformers_one_by_one(models, name, seeds):
    found = load_semantics(models[name], device=CPU)
    images = [picture((40, 56), seed) for seed in seeds]
    labels = found.predict([found.prepare(image) for image in images], [(40, 56)] * 3)
    for image, stored in zip(images, labels, strict=True):
        scores = scores_alone(name, models[name], image)
        assert stored.values.dtype == np.uint8
        assert len(np.unique(stored.values)) > 1
        assert same_up_to_ties(stored.values, scores)
        assert not same_up_to_ties(np.roll(stored.values, 5, 1), scores)


@pytest.mark.parametrize("size", [*dict.fromkeys(SIZES), (3, 3)])
def test_labels_have_the_size_of_the_image(semantics, size):
    (stored,) = semantics.predict([semantics.prepare(picture(size))], [size])
    assert stored.values.shape == size
    assert stored.values.max() < tiny.CLASSES


def test_names_of_classes_are_those_of_the_model_in_the_order_of_its_ids(models):
    found = load_semantics(models["mask2former"], device=CPU)
    names = tuple(f"class {number}" for number in range(tiny.CLASSES))
    assert found.files == LabelFiles(classes=tiny.CLASSES, class_names=names)


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_more_than_256_classes_take_sixteen_bits(tmp_path, classes, dtype):
    names = {number: str(number) for number in range(classes)}
    found = load_semantics(tiny.segformer(tmp_path / "m", names), device=CPU)
    last = found._stored(torch.tensor([[0, classes - 1]])).values
    assert last.dtype == dtype
    assert last.tolist() == [[0, classes - 1]]


@pytest.mark.parametrize("wrong", [-1, tiny.CLASSES])
def test_an_id_that_is_no_class_is_refused(semantics, wrong):
    with pytest.raises(ValueError, match=f"0 to 6; found .*{wrong}"):
        semantics._stored(torch.tensor([[0, wrong]]))


def test_an_image_processor_that_pads_is_refused(tmp_path, models):
    folder = shutil.copytree(models["mask2former"], tmp_path / "m")
    size = {"shortest_edge": 64, "longest_edge": 96}
    pad = {"height": 96, "width": 96}
    Mask2FormerImageProcessor(size=size, pad_size=pad).save_pretrained(folder)
    with pytest.raises(ConfigurationError, match=r"--semseg .* pads.* do not lie over the image"):
        load_semantics(str(folder), device=CPU)


def test_narrow_products_change_few_labels(models, semantics):
    narrow = load_semantics(models["mask2former"], device=CPU, precision=torch.bfloat16)
    image = picture((40, 56), 4)
    ours, theirs = (
        each.predict([each.prepare(image)], [(40, 56)])[0].values for each in (semantics, narrow)
    )
    assert 0.8 < (ours == theirs).mean() < 1
    assert narrow.describe()["precision"] == "bfloat16"


def test_classes_with_gaps_are_refused(tmp_path, models):
    folder = shutil.copytree(models["segformer"], tmp_path / "m")
    config = Path(folder) / "config.json"
    content = json.loads(config.read_text())
    content["id2label"] = {"0": "a", "2": "b"}
    content["label2id"] = {"a": 0, "b": 2}
    config.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="`id2label` should name the classes from 0 on"):
        load_semantics(str(folder), device=CPU)


def test_a_model_of_another_kind_is_refused(models):
    with pytest.raises(ConfigurationError, match=r"--semseg .* segmentation.* depth_anything"):
        load_semantics(models["depth_anything"], device=CPU)


def test_a_model_without_a_head_for_semantics_is_refused(models):
    # DPT is known for both; the head of this one is of depth.
    with pytest.raises(ConfigurationError, match=r"head\.head\..* of DPTForSemantic"):
        load_semantics(models["dpt"], device=CPU)
