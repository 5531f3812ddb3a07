import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from experiments.bert.glue.metrics import METRICS, predictions, scores
from experiments.bert.glue.tasks import TASKS

pairs_of_classes = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*(arrays(float, n, elements=st.integers(0, 1).map(float)),) * 2)
)
pairs_of_scores = st.integers(3, 30).flatmap(
    lambda n: st.tuples(*(arrays(float, n, elements=st.integers(0, 10).map(lambda k: k / 2)),) * 2)
)


def counts(predicted, labels):
    """True positives, false positives, false negatives, true negatives."""
    cells = list(zip(predicted, labels, strict=True))
    return [cells.count(cell) for cell in ((1, 1), (1, 0), (0, 1), (0, 0))]


def pearson(x, y):
    a, b = x - x.mean(), y - y.mean()
    return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())


def ranks(values):
    """Mean rank among equals."""
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


@given(pairs_of_classes)
def test_classification_metrics_are_those_of_the_table_of_counts(drawn):
    predicted, labels = drawn
    tp, fp, fn, tn = counts(predicted, labels)
    assert METRICS["accuracy"](predicted, labels) == pytest.approx((tp + tn) / len(labels))
    f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0
    assert METRICS["f1"](predicted, labels) == pytest.approx(f1)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    matthews = (tp * tn - fp * fn) / math.sqrt(product) if product else 0
    assert METRICS["matthews"](predicted, labels) == pytest.approx(matthews, abs=1e-12)


@given(pairs_of_scores)
def test_correlations_are_those_of_the_definition(drawn):
    x, y = drawn
    assume(np.ptp(x) > 0 and np.ptp(y) > 0)
    assert METRICS["pearson"](x, y) == pytest.approx(pearson(x, y), abs=1e-9)
    assert METRICS["spearman"](x, y) == pytest.approx(pearson(ranks(x), ranks(y)), abs=1e-9)


@pytest.mark.parametrize("name", ["spearman", "pearson"])
def test_correlation_with_a_constant_is_zero(name):
    assert METRICS[name](np.full(4, 2.5), np.arange(4.0)) == 0.0
    assert METRICS[name](np.arange(4.0), np.full(4, 2.5)) == 0.0


def test_the_largest_output_is_the_class_and_a_score_is_taken_as_it_is():
    outputs = np.array([[0.1, 2.0, 1.0], [3.0, -1.0, 0.0], [0.0, 0.5, 0.6]], np.float32)
    assert predictions(TASKS["mnli"], outputs).tolist() == [1, 0, 2]
    found = predictions(TASKS["stsb"], np.array([[-1.0], [7.0]], np.float32))
    assert found.tolist() == [-1.0, 7.0]


def test_each_task_has_the_metric_of_table_1_first():
    expected = {
        "mnli": ["accuracy"],
        "qqp": ["f1", "accuracy"],
        "qnli": ["accuracy"],
        "sst2": ["accuracy"],
        "cola": ["matthews"],
        "stsb": ["spearman", "pearson"],
        "mrpc": ["f1", "accuracy"],
        "rte": ["accuracy"],
    }
    rng = np.random.default_rng(0)
    for name, task in TASKS.items():
        labels = rng.integers(0, len(task.labels) or 5, 50).astype(float)
        found = scores(task, rng.normal(size=(50, task.outputs)), labels)
        assert list(found) == expected[name]


def test_f1_is_that_of_the_paraphrases():
    # Three of four predicted right; the two classes have F1 0.8 and 2/3.
    outputs = np.array([[0, 1], [0, 1], [0, 1], [1, 0]], np.float32)
    labels = np.array([1, 1, 0, 0], float)
    assert scores(TASKS["mrpc"], outputs, labels)["f1"] == pytest.approx(0.8)
    assert scores(TASKS["mrpc"], 1 - outputs, 1 - labels)["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_no_predictions(value):
    outputs = np.array([[0.0, 1.0], [value, 0.0]])
    with pytest.raises(ValueError, match="should be finite; found 1"):
        scores(TASKS["rte"], outputs, np.array([0.0, 1.0]))
