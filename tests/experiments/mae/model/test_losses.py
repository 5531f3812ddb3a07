import math

import numpy as np
import pytest
import torch

from experiments.mae.model.losses import image_risks, label_risks, masked_means

SAMPLES, PATCHES, PIXELS, CLASSES = 3, 4, 5, 6


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask():
    """A sample with all patches masked, one with none, one with two."""
    return torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]]).bool()


def image_case():
    return random(SAMPLES, PATCHES, PIXELS, 3), random(SAMPLES, PATCHES, PIXELS, 3, seed=1), mask()


def label_case():
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(CLASSES, (SAMPLES, PATCHES, PIXELS), generator=generator)
    return random(SAMPLES, PATCHES, PIXELS, CLASSES), labels, mask()


def loops(loss, scored):
    """Means over the scored pixels of each sample; NaN where there are none."""
    means = []
    for sample in range(SAMPLES):
        found = [
            loss(sample, patch, pixel)
            for patch in range(PATCHES)
            for pixel in range(PIXELS)
            if scored(sample, patch, pixel)
        ]
        means.append(sum(found) / len(found) if found else math.nan)
    return means


def compare(found, expected):
    absent = np.isnan(expected)
    assert absent.tolist() == [False, True, False]
    assert (~found.present).tolist() == absent.tolist()
    assert found.values[1] == 0
    np.testing.assert_allclose(found.values[[0, 2]], np.array(expected)[[0, 2]], rtol=1e-13)


@pytest.mark.parametrize("power", [1, 2])
def test_image_risks_are_means_over_masked_pixels_of_a_sample(power):
    predicted, target, masked = image_case()

    def loss(b, n, p):
        differences = [abs(float(predicted[b, n, p, c] - target[b, n, p, c])) for c in range(3)]
        return sum(each**power for each in differences) / 3

    found = image_risks(predicted, target, masked, {1: "absolute", 2: "squared"}[power])
    compare(found, loops(loss, lambda b, n, _: masked[b, n]))


def test_label_risks_are_mean_cross_entropies_over_masked_pixels_of_a_sample():
    logits, labels, masked = label_case()

    def loss(b, n, p):
        scores = logits[b, n, p].tolist()
        return math.log(sum(math.exp(s) for s in scores)) - scores[labels[b, n, p]]

    compare(label_risks(logits, labels, masked), loops(loss, lambda b, n, _: masked[b, n]))


def test_pixels_of_unknown_value_are_not_scored():
    predicted, target, masked = image_case()
    valid = random(SAMPLES, PATCHES, PIXELS, seed=2) > 0
    found = image_risks(predicted, target, masked, "squared", valid)
    expected = loops(
        lambda b, n, p: float((predicted[b, n, p] - target[b, n, p]).square().mean()),
        lambda b, n, p: masked[b, n] and valid[b, n, p],
    )
    compare(found, expected)
    predicted.requires_grad_()
    spoilt = torch.where(valid[..., None], target, torch.nan)
    again = image_risks(predicted, spoilt, masked, "squared", valid).values
    assert torch.equal(again, found.values)
    (gradient,) = torch.autograd.grad(again.sum(), predicted)
    scored = masked[..., None] & valid
    assert torch.equal(gradient.abs().sum(-1) != 0, scored)  # and is not NaN
    nothing = image_risks(predicted, target, masked, "squared", torch.zeros_like(valid))
    assert not nothing.present.any()


def test_void_labels_are_not_scored():
    logits, labels, masked = label_case()
    labels[0, :, 1:3] = CLASSES
    with_void = label_risks(logits, labels, masked, void=CLASSES)
    one = torch.nn.functional.cross_entropy
    expected = loops(
        lambda b, n, p: float(one(logits[b, n, p], labels[b, n, p])),
        lambda b, n, p: masked[b, n] and labels[b, n, p] != CLASSES,
    )
    compare(with_void, expected)


@pytest.mark.parametrize("case", ["squared", "absolute", "labels"])
def test_what_is_not_scored_has_no_gradient_and_nothing_is_nan(case):
    predicted, target, masked = label_case() if case == "labels" else image_case()
    predicted.requires_grad_()
    found = (
        label_risks(predicted, target, masked)
        if case == "labels"
        else image_risks(predicted, target, masked, case)
    )
    (gradient,) = torch.autograd.grad(found.values.sum(), predicted)
    assert found.values.isfinite().all()
    assert (gradient[~masked] == 0).all()
    assert (gradient[masked].abs().sum((1, 2)) > 0).all()


def test_samples_weigh_the_same_however_many_patches_are_masked():
    losses = torch.ones(SAMPLES, PATCHES, PIXELS, requires_grad=True)
    found = masked_means(losses, mask()[..., None].expand_as(losses))
    found.values.sum().backward()
    assert found.values.tolist() == [1, 0, 1]
    np.testing.assert_allclose(losses.grad.sum((1, 2)), [1, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_is_computed(half):
    predicted, target, masked = image_case()
    logits, labels, _ = label_case()
    image = image_risks(predicted.to(half), target.to(half), masked, "squared").values
    label = label_risks(logits.to(half), labels, masked).values
    assert image.dtype == label.dtype == torch.float32
    same = predicted.to(half).double(), target.to(half).double()
    expected = image_risks(*same, masked, "squared").values
    torch.testing.assert_close(image.double(), expected, rtol=1e-6, atol=0)
    expected = label_risks(logits.to(half).double(), labels, masked).values
    torch.testing.assert_close(label.double(), expected, rtol=1e-6, atol=0)
