import pytest
import torch

from experiments.mae.model.depth import standardise_depth
from experiments.mae.model.inputs import grid_of, prepare
from tests.experiments.mae import samples


def test_the_grid_follows_the_images_not_the_configuration():
    assert grid_of(samples.SIZE, samples.images()) == (3, 2)
    assert grid_of(samples.SIZE, samples.images(scale=2)) == (6, 4)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("rgb", (2, 1, 24, 16), r"`rgb` should have shape \[B, 3, H, W\].*found \(2, 1, 24, 16\)"),
        ("rgb", (2, 3, 24, 20), r"`rgb` .*multiples of 8; found \(2, 3, 24, 20\)"),
        ("depth", (2, 24, 16), r"`depth` should have shape \[B, 1, H, W\].*found \(2, 24, 16\)"),
        ("depth", (2, 1, 16, 16), r"same grid of patches; found .*'depth': \(2, 2\)"),
        ("semseg", (2, 1, 6, 4), r"`semseg` should have shape \[B, H, W\], .*multiples of 2"),
        ("semseg", (2, 24, 16), r"same grid of patches; found .*'semseg': \(12, 8\)"),
        ("semseg", (2, 0, 4), r"`semseg` should have shape"),
        ("normal", (2, 3, 24, 16), "some of rgb, depth, semseg; found normal"),
    ],
)
def test_what_cannot_be_cut_into_patches_is_refused_by_name(name, shape, message):
    with pytest.raises(ValueError, match=message):
        grid_of(samples.SIZE, {**samples.images(samples=2), name: torch.zeros(shape)})


def test_depth_is_standardised_and_nothing_else_is_touched():
    images = samples.images()
    valid = images["depth"] > -1
    found = prepare(samples.SIZE, images)
    assert list(found) == ["rgb", "depth", "semseg"]
    assert found["rgb"] is images["rgb"]
    assert found["semseg"] is images["semseg"]
    assert torch.equal(found["depth"], standardise_depth(images["depth"]))
    found = prepare(samples.SIZE, images, {"depth": valid})
    assert torch.equal(found["depth"], standardise_depth(images["depth"], valid))
    assert (found["depth"][~valid] == 0).all()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("semseg", (4, 1, 6, 4), "`valid` should name images of the batch; found 'semseg'"),
        ("normal", (4, 1, 24, 16), "`valid` should name images of the batch; found 'normal'"),
        ("depth", (4, 24, 16), r"`valid\.depth` .*\(4, 1, 24, 16\); found \(4, 24, 16\)"),
        ("rgb", (4, 3, 24, 16), r"`valid\.rgb` .*\(4, 1, 24, 16\); found \(4, 3, 24, 16\)"),
    ],
)
def test_valid_pixels_that_belong_to_no_image_are_refused(name, shape, message):
    with pytest.raises(ValueError, match=message):
        prepare(samples.SIZE, samples.images(), {name: torch.ones(shape, dtype=torch.bool)})
