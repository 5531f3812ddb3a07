from dataclasses import replace

import pytest
import torch

from experiments.mae.configuration import DEPTH, RGB, SEMSEG, ModelSize
from experiments.mae.model.embeddings import embedding
from tests.experiments.mae import samples


def of(modality, size=samples.SIZE):
    return embedding(modality, size).double()


@pytest.mark.parametrize(
    ("modality", "count"), [(RGB, 590_592), (DEPTH, 197_376), (SEMSEG, 795_712)]
)
def test_the_paper_s_embeddings_have_the_documented_numbers_of_parameters(modality, count):
    with torch.device("meta"):
        made = embedding(modality, ModelSize())
    assert sum(p.numel() for p in made.parameters()) == count


def test_a_token_of_an_image_is_a_linear_map_of_its_patch_and_its_position():
    made = of(RGB)
    image = samples.images()["rgb"]
    weight = made.patches.proj.weight.flatten(1)
    tokens = made(image)
    assert tokens.shape == (4, 6, 16)
    for row in range(3):
        for column in range(2):
            patch = image[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten(1)
            place = 2 * row + column
            expected = patch @ weight.T + made.patches.proj.bias + made.positions()[place]
            torch.testing.assert_close(tokens[:, place], expected, rtol=1e-12, atol=1e-12)


def test_a_token_of_labels_is_a_linear_map_of_the_classes_of_its_patch_and_its_position():
    made = of(samples.SEMSEG)
    labels = samples.images()["semseg"]
    assert labels.shape == (4, 6, 4)
    tokens = made(labels)
    for sample in range(4):
        for row in range(3):
            for column in range(2):
                place = 2 * row + column
                expected = made.patches.bias + made.positions()[place]
                for y in range(2):
                    for x in range(2):
                        label = labels[sample, 2 * row + y, 2 * column + x]
                        expected = (
                            expected + made.patches.weight[:, :, y, x] @ made.classes.weight[label]
                        )
                torch.testing.assert_close(tokens[sample, place], expected, rtol=1e-12, atol=1e-12)


def test_void_labels_are_embedded_as_zero_and_learn_nothing():
    made = of(replace(samples.SEMSEG, void=True))
    made.init_classes()
    assert made.classes.weight.shape == (samples.CLASSES + 1, 6)
    tokens = made(torch.full((1, 6, 4), samples.CLASSES))
    torch.testing.assert_close(tokens[0], made.patches.bias + made.positions())
    tokens.square().sum().backward()
    assert (made.classes.weight.grad == 0).all()
    assert (made.classes.weight[:-1].abs().sum(1) > 0).all()


def test_positions_of_images_are_resized_bicubically_and_those_of_labels_bilinearly():
    for modality, interpolation in ((RGB, "bicubic"), (DEPTH, "bicubic"), (SEMSEG, "bilinear")):
        assert (
            embedding(modality, ModelSize(width=8, heads=1)).positions.interpolation
            == interpolation
        )
    made = of(RGB)
    image = samples.images(scale=2)["rgb"]
    tokens = made(image)
    assert tokens.shape == (4, 24, 16)
    with torch.no_grad():
        made.positions.table.zero_()
    plain = made(image)
    fresh = of(RGB)
    torch.testing.assert_close(tokens - plain, fresh.positions((6, 4)).expand(4, -1, -1))
