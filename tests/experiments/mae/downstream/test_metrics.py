import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from experiments.mae.downstream.metrics import (
    PRIMARY,
    DepthMetrics,
    SegmentationMetrics,
    accuracies,
    task_metrics,
)

CLASSES = 4
seeds = st.integers(0, 10_000)


def segmentation(seed, images=3, classes=CLASSES, predicted=CLASSES):
    """Ids with void pixels; classes from `predicted` on occur nowhere."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, predicted, (images, 5, 6))
    guess = np.where(rng.random(labels.shape) < 0.5, labels, rng.integers(0, predicted, (5, 6)))
    labels[rng.random(labels.shape) < 0.2] = classes
    return guess, labels


def iou_by_hand(guess, labels, classes=CLASSES):
    known = labels != classes
    found = []
    for each in range(classes):
        one, other = (guess == each) & known, labels == each
        union = (one | other).sum()
        found.append((one & other).sum() / union if union else math.nan)
    return np.array(found)


def streamed(metric, *fields, parts=2):
    """All images, in parts."""
    for part in np.array_split(np.arange(len(fields[0])), parts):
        metric.update(*(torch.as_tensor(field[part]) for field in fields))
    return metric.compute()


@given(seeds, st.integers(2, CLASSES))
def test_intersection_over_union_is_that_of_sets_of_pixels(seed, predicted):
    guess, labels = segmentation(seed, predicted=predicted)
    found = streamed(SegmentationMetrics(CLASSES), guess, labels)
    expected = iou_by_hand(guess, labels)
    np.testing.assert_allclose(found["class_iou"], expected, rtol=1e-12)
    assert found["mean_iou"] == pytest.approx(np.nanmean(expected))
    known = labels != CLASSES
    assert found["pixel_accuracy"] == pytest.approx((guess == labels)[known].mean())
    recalls = [(guess == c)[labels == c].mean() for c in range(CLASSES) if (labels == c).any()]
    assert found["mean_accuracy"] == pytest.approx(np.mean(recalls))


@given(seeds, st.integers(2, CLASSES))
def test_mean_iou_is_that_of_torchmetrics(seed, predicted):
    guess, labels = segmentation(seed, predicted=predicted)
    other = MulticlassJaccardIndex(CLASSES, ignore_index=CLASSES)
    other.update(torch.as_tensor(guess), torch.as_tensor(labels))
    found = streamed(SegmentationMetrics(CLASSES), guess, labels)
    assert found["mean_iou"] == pytest.approx(float(other.compute()), rel=1e-6)


@given(seeds)
def test_unlabelled_pixels_are_irrelevant_and_a_perfect_prediction_is_one(seed):
    guess, labels = segmentation(seed)
    other = np.where(labels == CLASSES, (guess + 1) % CLASSES, guess)
    one, two = (streamed(SegmentationMetrics(CLASSES), each, labels) for each in (guess, other))
    np.testing.assert_array_equal(one["class_iou"], two["class_iou"])
    perfect = np.where(labels == CLASSES, 0, labels)
    found = streamed(SegmentationMetrics(CLASSES), perfect, labels)
    assert (found["mean_iou"], found["pixel_accuracy"], found["mean_accuracy"]) == (1, 1, 1)


def test_a_class_that_is_only_predicted_counts_as_zero_and_an_absent_one_not_at_all():
    labels = torch.tensor([[[0, 0, 1, 1]]])
    guess = torch.tensor([[[0, 0, 1, 2]]])
    metric = SegmentationMetrics(CLASSES)
    metric.update(guess, labels)
    found = metric.compute()
    assert found["class_iou"].tolist()[:3] == [1, 0.5, 0]
    assert found["class_iou"][3].isnan()
    assert found["mean_iou"] == pytest.approx(0.5)


def test_logits_count_as_the_class_of_the_largest_one():
    guess, labels = segmentation(1)
    logits = np.random.default_rng(2).random((3, CLASSES, 5, 6))
    np.put_along_axis(logits, guess[:, None], 2.0, axis=1)
    by_logits = streamed(SegmentationMetrics(CLASSES), logits, labels)
    by_ids = streamed(SegmentationMetrics(CLASSES), guess, labels)
    np.testing.assert_array_equal(by_logits["class_iou"], by_ids["class_iou"])


@pytest.mark.parametrize("wrong", [-1, CLASSES + 1, 255])
def test_labels_that_are_no_class_are_refused(wrong):
    labels = torch.tensor([[[0, wrong]]])
    with pytest.raises(ValueError, match=rf"`semseg` should be 0 to 4; found {wrong}"):
        SegmentationMetrics(CLASSES).update(torch.zeros(1, 1, 2, dtype=torch.long), labels)


def depths(seed, images=4):
    """Predictions, depth and what of it is known; the last image has nothing known."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 10, (images, 1, 4, 5))
    predicted = depth * np.exp(rng.normal(0, 0.4, depth.shape))
    known = rng.random(depth.shape) < rng.uniform(0.1, 1, (images, 1, 1, 1))
    known[:, :, 0, 0] = True
    known[-1] = False
    depth[~known] = 0
    return predicted, depth, known


def errors_by_hand(predicted, depth):
    ratio = np.maximum(predicted / depth, depth / predicted)
    return {
        "delta_1": np.mean(ratio < 1.25),
        "delta_2": np.mean(ratio < 1.25**2),
        "delta_3": np.mean(ratio < 1.25**3),
        "abs_rel": np.mean(np.abs(predicted - depth) / depth),
        "log10": np.mean(np.abs(np.log10(predicted) - np.log10(depth))),
        "rmse": np.sqrt(np.mean((predicted - depth) ** 2)),
        "rmse_log": np.sqrt(np.mean((np.log(predicted) - np.log(depth)) ** 2)),
    }


@given(seeds, st.integers(1, 4))
def test_depth_errors_are_those_of_all_known_pixels_together(seed, parts):
    predicted, depth, known = depths(seed)
    found = streamed(DepthMetrics(), predicted, depth, known, parts=parts)
    expected = errors_by_hand(predicted[known], depth[known])
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-12)


@given(seeds, st.integers(1, 4))
def test_depth_errors_by_image_are_means_over_images_with_known_pixels(seed, parts):
    predicted, depth, known = depths(seed)
    found = streamed(DepthMetrics("images"), predicted, depth, known, parts=parts)
    each = [errors_by_hand(p[k], d[k]) for p, d, k in zip(predicted, depth, known, strict=True)
            if k.any()]  # fmt: skip
    expected = {name: np.mean([one[name] for one in each]) for name in each[0]}
    assert {k: float(v) for k, v in found.items()} == pytest.approx(expected, rel=1e-12)


@given(seeds, st.floats(0.01, 100))
def test_delta_does_not_change_with_the_unit(seed, scale):
    predicted, depth, known = depths(seed)
    one = streamed(DepthMetrics(least=1e-9), predicted, depth, known)
    other = streamed(DepthMetrics(least=1e-9), scale * predicted, scale * depth, known)
    for name in ("delta_1", "delta_2", "delta_3"):
        assert one[name] == other[name]
    assert other["rmse"] == pytest.approx(scale * float(one["rmse"]))


@pytest.mark.parametrize(
    ("factor", "share"), [(1.0, 1), (1.24, 1), (1.26, 0), (1 / 1.24, 1), (1 / 1.26, 0)]
)
def test_delta_1_ends_at_a_quarter_more_or_less(factor, share):
    depth = torch.linspace(0.5, 10, 12).view(2, 1, 2, 3)
    metric = DepthMetrics()
    metric.update(factor * depth, depth)
    assert metric.compute()["delta_1"] == share
    assert metric.compute()["delta_2"] == 1


@pytest.mark.parametrize("predicted", [-3.0, 0.0])
def test_depth_that_is_not_positive_is_wrong_and_finite(predicted):
    metric = DepthMetrics()
    metric.update(torch.full((1, 1, 2, 2), predicted), torch.full((1, 1, 2, 2), 3.0))
    found = metric.compute()
    assert (found["delta_1"], found["delta_3"]) == (0, 0)
    assert all(value.isfinite() for value in found.values())


def test_nothing_known_is_no_number():
    metric = DepthMetrics()
    metric.update(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2).bool())
    assert all(value.isnan() for value in metric.compute().values())


def test_depth_of_another_shape_or_sign_is_refused():
    metric = DepthMetrics()
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 2\) of `predictions`; found \(1, 2, 2\)"):
        metric.update(torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2))
    with pytest.raises(ValueError, match=r"positive where it is known; found -1"):
        metric.update(torch.ones(1, 1, 1, 2), torch.tensor([[[[2.0, -1.0]]]]))


@given(seeds, st.sampled_from([6, 9]))
@settings(max_examples=30)
def test_accuracy_counts_images_whose_class_is_first_or_among_five(seed, classes):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(11, classes)), rng.integers(0, classes, 11)
    found = streamed(accuracies(classes), logits, labels, parts=3)
    order = np.argsort(-logits, axis=1)
    assert found["accuracy"] == pytest.approx(np.mean(order[:, 0] == labels))
    among = [label in row[:5] for row, label in zip(order, labels, strict=True)]
    assert found["top_5_accuracy"] == pytest.approx(np.mean(among))


def test_accuracies_that_agree_on_the_first_batch_are_still_two():
    metric = accuracies(6)
    right = torch.eye(6)
    metric.update(right, torch.arange(6))
    metric.update(right, torch.tensor([1, 2, 3, 4, 5, 0]))
    metric.update(torch.arange(6.0).expand(6, 6), torch.tensor([4, 4, 4, 4, 4, 0]))
    found = metric.compute()
    assert found["accuracy"] == pytest.approx(6 / 18)
    assert found["top_5_accuracy"] > found["accuracy"]
    assert found.keys() == {"accuracy", "top_5_accuracy"}
    assert accuracies(5).keys() == {"accuracy"}


@pytest.mark.parametrize("task", PRIMARY)
def test_every_task_has_its_primary_metric_and_reset_forgets(task):
    metric = task_metrics(task, 3)
    fields = {
        "cls": (torch.eye(3), torch.arange(3)),
        "semseg": (torch.zeros(2, 3, 2, 2), torch.zeros(2, 2, 2, dtype=torch.long)),
        "depth": (torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2)),
    }[task]
    metric.update(*fields)
    first = metric.compute()
    assert first[PRIMARY[task]] == 1
    metric.reset()
    wrong = (fields[0].roll(1, 1) - 5 * (task == "depth"), *fields[1:])
    if task == "semseg":
        wrong = (torch.ones(2, 2, 2, dtype=torch.long), fields[1])
    metric.update(*wrong)
    assert metric.compute()[PRIMARY[task]] == 0
