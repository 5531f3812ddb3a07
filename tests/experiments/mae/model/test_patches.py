import torch

from experiments.mae.model.patches import patch_statistics, patchify, unpatchify


def image(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_patches_are_cut_row_by_row():
    whole = image(2, 3, 6, 8)
    found = patchify(whole, 2)
    assert found.shape == (2, 12, 4, 3)
    for row in range(3):
        for column in range(4):
            for pixel in range(4):
                y, x = 2 * row + pixel // 2, 2 * column + pixel % 2
                assert torch.equal(found[:, 4 * row + column, pixel], whole[:, :, y, x])


def test_patches_are_put_together_again():
    whole = image(2, 3, 6, 8)
    assert torch.equal(unpatchify(patchify(whole, 2), (3, 4)), whole)
    patches = image(2, 12, 4, 5)
    assert torch.equal(patchify(unpatchify(patches, (3, 4)), 2), patches)


def test_normalised_patches_have_mean_0_and_unbiased_variance_1_over_channels_jointly():
    patches = patchify(5 + 3 * image(2, 3, 32, 32), 16)
    found = patch_statistics(patches).normalise(patches)
    for patch in found.flatten(0, 1):
        values = patch.flatten()
        assert values.mean().abs() < 1e-12
        variance = values.square().sum() / (len(values) - 1)
        assert 1 - 1e-6 < variance < 1
    assert found[0, 0, :, 0].mean().abs() > 1e-3  # a channel for itself has another mean


def test_normalised_patches_do_not_change_with_brightness_and_contrast_of_a_patch():
    patches = patchify(image(2, 3, 32, 32), 16)
    factor = 0.5 + torch.arange(8.0, dtype=torch.float64).view(2, 4, 1, 1)
    changed = factor * patches + 10 * factor.sqrt()
    found = patch_statistics(changed).normalise(changed)
    expected = patch_statistics(patches).normalise(patches)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_patch_without_contrast_becomes_0():
    patches = torch.full((1, 2, 4, 3), 7.0)
    assert (patch_statistics(patches).normalise(patches) == 0).all()


def test_normalising_is_undone():
    patches = patchify(image(2, 3, 32, 32), 16)
    statistics = patch_statistics(patches)
    torch.testing.assert_close(statistics.restore(statistics.normalise(patches)), patches)
