import json
import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from experiments.bert import evaluation
from experiments.bert.configuration import ModelSize
from experiments.bert.evaluation import ClassSums, class_sums, differences, summarise
from experiments.bert.groupings import PosGroups
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.tags import CLASSES, NUM_TASKS, OTHER, TASKS
from tests.experiments.bert.instances import VOCABULARY, collator, instances

INTERJECTION = TASKS.index("interjection")
masked = collator(max_predictions=6, task_of_piece=PosGroups())


def measured(n=40, seed=0, pieces=4.0):
    """Sums of exponential losses whose means differ by class and by instance."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(pieces, size=(n, len(CLASSES))).astype(float)
    means = rng.gamma(2.0, 0.5, size=(n, 1)) * np.linspace(1, 4, len(CLASSES))
    return ClassSums(counts * means, counts, rng.exponential(0.7, size=n))


@pytest.mark.parametrize("mode", ["added", "task", "off"])
def test_sums_are_those_of_every_instance_and_class(mode):
    torch.manual_seed(0)
    size = ModelSize(layers=1, hidden=16, heads=2, positions=40)
    config = bert_config(size, VOCABULARY, next_sentence=mode, next_sentence_task=9)
    model = PosBertForPreTraining(config)
    rows = instances(11)
    batches = [masked(rows[:7]), masked(rows[7:])]
    found = class_sums(model, batches, "cpu")
    assert found.sums.shape == found.counts.shape == (11, 10)
    sums, counts, pairs = np.zeros((11, 10)), np.zeros((11, 10)), []
    model.eval()
    for row, instance in enumerate(rows):
        batch = masked([instance])
        names = ("input_ids", "attention_mask", "token_type_ids")
        hidden = model.bert(**{name: batch[name] for name in names})
        logs = model.cls.predictions(hidden[0])[0].log_softmax(-1)
        pair = model.cls.seq_relationship(hidden[1])[0].log_softmax(-1)
        pairs.append(-pair[batch["next_sentence_label"][0]].item())
        for position, label in zip(
            batch["masked_positions"][0], batch["mlm_labels"][0], strict=True
        ):
            if label != -100:
                sums[row, instance["pos"][position]] -= logs[position, label].item()
                counts[row, instance["pos"][position]] += 1
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.sums, sums, rtol=1e-5)
    expected = [] if mode == "off" else pairs
    np.testing.assert_allclose(found.next_sentence, expected, rtol=1e-5)


def test_dropout_is_off():
    torch.manual_seed(0)
    size = ModelSize(layers=1, hidden=16, heads=2, positions=40, dropout=0.5)
    model = PosBertForPreTraining(bert_config(size, VOCABULARY)).train()
    batches = [masked(instances(5))]
    first, second = (class_sums(model, batches, "cpu") for _ in range(2))
    np.testing.assert_array_equal(first.sums, second.sums)


def test_a_summary_holds_the_risks_that_loops_give():
    data = measured()
    data.sums[:, OTHER] *= 3  # the largest, and no task
    summary = summarise(data, resamples=10)
    risks = {}
    for c, name in enumerate(CLASSES):
        risks[name] = sum(data.sums[:, c]) / sum(data.counts[:, c])
        assert summary.risks[name].value == pytest.approx(risks[name], rel=1e-12)
        assert summary.counts[name] == sum(data.counts[:, c])
    tasks = [risks[name] for name in TASKS]
    common = [risks[name] for name in TASKS if name != "interjection"]
    token = data.sums[:, :NUM_TASKS].sum() / data.counts[:, :NUM_TASKS].sum()
    expected = {
        "worst": max(tasks),
        "worst_but_interjection": max(common),
        "mean": sum(tasks) / 9,
        "mean_but_interjection": sum(common) / 8,
        "token_mean": token,
    }
    for name, value in expected.items():
        assert getattr(summary, name).value == pytest.approx(value, rel=1e-12), name
    assert summary.worst.value > summary.worst_but_interjection.value  # the last has the largest
    assert summary.next_sentence == pytest.approx(data.next_sentence.mean())
    content = json.loads(json.dumps(summary.as_data()))
    assert content["risks"]["noun"]["value"] == summary.risks["noun"].value


def test_classes_without_a_piece_are_left_out_of_risks_means_and_maxima():
    data = measured()
    for empty in (INTERJECTION, OTHER):
        data.sums[:, empty] = data.counts[:, empty] = 0
    summary = summarise(data, resamples=50)
    assert list(summary.risks) == [c for c in CLASSES if c not in (CLASSES[OTHER], "interjection")]
    assert summary.counts["interjection"] == 0
    assert summary.worst == summary.worst_but_interjection
    assert summary.mean == summary.mean_but_interjection
    values = [summary.risks[name].value for name in summary.risks]
    assert summary.mean.value == pytest.approx(np.mean(values), rel=1e-12)
    assert summary.worst.value == max(values)


def test_a_class_in_one_instance_has_an_interval_without_gaps():
    data = measured()
    data.sums[1:, INTERJECTION] = data.counts[1:, INTERJECTION] = 0
    data.sums[0, INTERJECTION], data.counts[0, INTERJECTION] = 30.0, 5
    summary = summarise(data, resamples=200)
    rare = summary.risks["interjection"]
    # A third of the samples do not have the instance; the risk in the others is the same.
    assert (rare.lower, rare.value, rare.upper) == (6.0, 6.0, 6.0)
    assert math.isfinite(summary.worst.lower)
    assert summary.worst.lower < summary.worst.upper


def test_nothing_measured_of_next_sentences_is_no_number():
    data = measured()
    without = ClassSums(data.sums, data.counts, np.zeros(0))
    assert summarise(without, resamples=5).next_sentence is None


def test_intervals_depend_on_the_seed_only():
    data = measured()
    assert summarise(data) == summarise(data)
    assert summarise(data, seed=1).mean != summarise(data).mean
    assert summarise(data, seed=1).mean.value == summarise(data).mean.value
    wide, narrow = (summarise(data, level=level).mean for level in (0.99, 0.5))
    assert wide.lower < narrow.lower < narrow.value < narrow.upper < wide.upper


def test_intervals_cover_the_truth_as_often_as_they_say():
    # Losses within an instance share a factor: resampling pieces would cover about half as often.
    truth = 2.0
    covered = {"noun": 0, "token_mean": 0}
    experiments = 400
    for seed in range(experiments):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(6, size=(120, len(CLASSES))).astype(float)
        sums = counts * rng.gamma(8.0, truth / 8.0, size=(120, 1))
        summary = summarise(ClassSums(sums, counts, np.zeros(0)), resamples=200, seed=seed)
        for name, interval in (("noun", summary.risks["noun"]), ("token_mean", summary.token_mean)):
            covered[name] += interval.lower <= truth <= interval.upper
    for name, count in covered.items():
        # 95 %, of which percentiles of a skewed ratio and 200 resamples lose one or two.
        assert binomtest(count, experiments, 0.94).pvalue > 1e-3, (name, count)


def test_samples_drawn_in_parts_are_those_drawn_at_once(monkeypatch):
    data = measured()
    at_once = summarise(data, resamples=50)
    monkeypatch.setattr(evaluation, "_chunk", lambda _: 7)
    in_parts = summarise(data, resamples=50)
    for name, interval in at_once.risks.items():
        assert astuple(in_parts.risks[name]) == pytest.approx(astuple(interval), rel=1e-12)
    assert astuple(in_parts.worst) == pytest.approx(astuple(at_once.worst), rel=1e-12)


def test_differences_are_those_of_the_risks_and_their_intervals_are_paired():
    ours = measured(n=200)
    rng = np.random.default_rng(1)
    noise = rng.normal(0.3, 0.01, size=ours.counts.shape) * ours.counts
    reference = ClassSums(ours.sums + noise, ours.counts, ours.next_sentence)
    found = differences(ours, reference, resamples=300)
    first, second = summarise(ours, resamples=10), summarise(reference, resamples=10)
    assert found.keys() == {*CLASSES, *evaluation._AGGREGATES}
    for name in CLASSES:
        value = first.risks[name].value - second.risks[name].value
        assert found[name].value == pytest.approx(value, rel=1e-9)
        assert found[name].lower < value < found[name].upper
        apart = summarise(ours, resamples=300).risks[name]
        assert found[name].upper - found[name].lower < 0.1 * (apart.upper - apart.lower)
    for name in evaluation._AGGREGATES:
        value = getattr(first, name).value - getattr(second, name).value
        assert found[name].value == pytest.approx(value, rel=1e-9)


def test_a_paired_interval_is_the_percentiles_of_differences_resampled_by_hand():
    ours, theirs = measured(n=30), measured(n=30, seed=0)
    theirs = ClassSums(theirs.sums[::-1] * 1.1, theirs.counts, theirs.next_sentence)
    found = differences(ours, theirs, resamples=50, level=0.8, seed=3)["noun"]
    rng, noun, drawn = np.random.default_rng(3), CLASSES.index("noun"), []
    for times in rng.multinomial(30, np.full(30, 1 / 30), size=50):
        kept = np.repeat(np.arange(30), times)
        pieces = ours.counts[kept, noun].sum()
        drawn.append((ours.sums[kept, noun].sum() - theirs.sums[kept, noun].sum()) / pieces)
    np.testing.assert_allclose((found.lower, found.upper), np.percentile(drawn, [10, 90]))


def test_differences_of_other_masked_pieces_are_refused_and_empty_classes_left_out():
    ours = measured()
    with pytest.raises(ValueError, match="same masked pieces"):
        differences(ours, measured(seed=1))
    counts = ours.counts.copy()
    counts[:, INTERJECTION] = 0
    empty = ClassSums(ours.sums * (counts > 0), counts, ours.next_sentence)
    assert "interjection" not in differences(empty, empty, resamples=5)
