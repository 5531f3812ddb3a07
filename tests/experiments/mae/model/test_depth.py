import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from experiments.mae.model.depth import FEW, standardise_depth


def depth(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) ** 3


def slow(values):
    """Of the known values of one image."""
    ranked = sorted(values.tolist())
    kept = ranked[int(0.1 * len(ranked)) : int(0.9 * len(ranked))]
    return (values - np.mean(kept)) / np.sqrt(np.var(kept, ddof=1) + 1e-6)


def test_each_image_is_standardised_by_the_middle_of_its_own_values():
    images = depth(3, 1, 11, 7) * torch.tensor([1.0, 9.0, 0.1]).view(3, 1, 1, 1)
    found = standardise_depth(images)
    for image, result in zip(images, found, strict=True):
        np.testing.assert_allclose(result.flatten(), slow(image.flatten().numpy()), rtol=1e-12)


def test_of_the_paper_s_images_40_141_values_have_mean_0_and_variance_1():
    found = standardise_depth(depth(1, 1, 224, 224)).flatten().sort().values
    assert len(found) == 50_176
    kept = found[5_017:45_158]
    assert kept.mean().abs() < 1e-12
    assert kept.square().sum() / (len(kept) - 1) == pytest.approx(1, abs=1e-4)
    assert found[0] < kept[0] < -0.9  # outliers are standardised too
    assert found[-1] > 2.5


@given(st.floats(0.1, 1e4), st.floats(-1e3, 1e3), st.integers(0, 2**32))
def test_unit_and_offset_make_no_difference(scale, offset, seed):
    images = 10 * depth(2, 1, 6, 5, seed=seed)
    found = standardise_depth(scale * images + offset)
    torch.testing.assert_close(found, standardise_depth(images), rtol=0, atol=1e-3)


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_unknown_values_take_no_part_and_become_0(seed, unknown):
    images = depth(2, 1, 6, 10, seed=seed)
    order = torch.rand(2, 60, generator=torch.Generator().manual_seed(seed)).argsort(1)
    valid = (order >= unknown).view(2, 1, 6, 10)
    spoilt = torch.where(valid, images, torch.tensor([float("nan"), 1e9])[seed % 2])
    found = standardise_depth(spoilt, valid)
    assert (found[~valid] == 0).all()
    if unknown <= 60 - FEW:
        for image, result, known in zip(images, found, valid, strict=True):
            np.testing.assert_allclose(result[known], slow(image[known].numpy()), rtol=1e-9)
    assert found.isfinite().all()


@pytest.mark.parametrize("count", [1, 2, 5, FEW - 1])
def test_of_few_values_all_are_taken(count):
    images = 5 + depth(1, 1, 6, 10)
    valid = torch.zeros(1, 1, 6, 10, dtype=torch.bool)
    valid.view(-1)[:count] = True
    found = standardise_depth(images, valid)[valid]
    values = images[valid]
    deviation = values.var() if count > 1 else torch.tensor(0.0)
    torch.testing.assert_close(found, (values - values.mean()) / (deviation + 1e-6).sqrt())


def test_constant_depth_becomes_0_and_half_precision_is_widened():
    found = standardise_depth(torch.full((1, 1, 8, 8), 3.0, dtype=torch.float16))
    assert found.dtype == torch.float32
    assert (found == 0).all()
