"""Risks over a whole evaluation set, against a loop over its examples."""

import math

import numpy as np
import pytest
import torch

from taskrobust.risks import TaskSums
from taskrobust.trainer.evaluation import EvaluationSums
from tests.taskrobust.trainer.models import (
    NAMES,
    Examples,
    Net,
    make_trainer,
    risks_by_hand,
    state,
    trained,
)

EVALUATION = Examples(37, seed=5)


def by_name(risks):
    return {name: risk for name, risk in zip(NAMES, risks, strict=True) if risk is not None}


def measured(metrics, prefix="eval_"):
    """The risks among metrics, by task."""
    start = f"{prefix}risk/"
    return {k.removeprefix(start): v for k, v in metrics.items() if k.startswith(start)}


@pytest.mark.parametrize("size", [1, 8, 64])
def test_risks_are_means_over_the_whole_set_whatever_the_batch(tmp_path, size):
    trainer = trained(tmp_path, eval_dataset=EVALUATION, per_device_eval_batch_size=size)
    metrics = trainer.evaluate()
    expected = by_name(risks_by_hand(trainer.model, EVALUATION))
    assert measured(metrics) == pytest.approx(expected, rel=1e-12)
    assert metrics["eval_worst_risk"] == max(measured(metrics).values())
    assert metrics["eval_loss"] == pytest.approx(sum(expected.values()) / 3, rel=1e-12)
    assert "eval_auxiliary_risk" not in metrics


def test_evaluation_needs_no_training_and_changes_nothing(tmp_path):
    trainer = make_trainer(tmp_path, eval_dataset=EVALUATION, balancer="ema")
    before = [p.clone() for p in trainer.model.parameters()]
    metrics = trainer.evaluate()
    assert measured(metrics) == pytest.approx(by_name(risks_by_hand(Net().double(), EVALUATION)))
    assert trainer.balancer.step == 0
    assert trainer.balancer.last is None
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before, strict=True))


def test_evaluating_while_training_changes_no_step(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": EVALUATION}
    watched, alone = trained(tmp_path, balancer="ema", **options), trained(tmp_path, balancer="ema")
    for key, value in state(watched).items():
        assert torch.equal(value, state(alone)[key])
    assert sum("eval_worst_risk" in row for row in watched.state.log_history) == 6


def test_a_task_without_an_example_is_left_out(tmp_path):
    data = Examples(11, groups=[0, -100, 2, 2, 0, 0, 2, -100, 0, 2, 0])
    metrics = make_trainer(tmp_path, eval_dataset=data).evaluate()
    assert measured(metrics).keys() == {"noun", "rare"}
    assert metrics["eval_loss"] == pytest.approx(sum(measured(metrics).values()) / 2)


def test_a_set_without_any_example_has_no_loss(tmp_path):
    data = Examples(3, groups=[-100] * 3)
    metrics = make_trainer(tmp_path, eval_dataset=data).evaluate()
    assert measured(metrics) == {}
    assert "eval_worst_risk" not in metrics
    assert math.isnan(metrics["eval_loss"])


def test_auxiliary_losses_are_measured_and_added(tmp_path):
    model = Net(auxiliary=True).double()
    metrics = make_trainer(tmp_path, model=model, eval_dataset=EVALUATION).evaluate()
    with torch.no_grad():
        outputs = model(EVALUATION.x, EVALUATION.y, EVALUATION.g)
    expected = float(outputs["auxiliary_values"].mean())
    assert metrics["eval_auxiliary_risk"] == pytest.approx(expected, rel=1e-12)
    tasks = sum(measured(metrics).values()) / 3
    assert metrics["eval_loss"] == pytest.approx(tasks + expected, rel=1e-12)


def test_several_sets_are_told_apart(tmp_path):
    sets = {"a": EVALUATION, "b": Examples(20, seed=6)}
    trainer = make_trainer(tmp_path, eval_dataset=sets)
    metrics = trainer.evaluate()
    for name, data in sets.items():
        expected = by_name(risks_by_hand(trainer.model, data))
        assert measured(metrics, f"eval_{name}_") == pytest.approx(expected, rel=1e-12)


def error_count(prediction):
    """A metric of predictions: how many squared errors exceed 1, and of how many."""
    values, groups = prediction.predictions
    return {"large": int(np.sum(values > 1)), "size": len(groups)}


def with_metrics(out, **options):
    return make_trainer(out, compute_metrics=error_count, label_names=["y"], **options)


def test_metrics_of_predictions_stand_beside_the_risks(tmp_path):
    trainer = with_metrics(tmp_path, eval_dataset=EVALUATION)
    metrics = trainer.evaluate()
    assert metrics["eval_size"] == 37
    with torch.no_grad():
        values = trainer.model(EVALUATION.x, EVALUATION.y, EVALUATION.g)["task_values"]
    assert metrics["eval_large"] == int((values > 1).sum()) > 0
    expected = by_name(risks_by_hand(trainer.model, EVALUATION))
    assert measured(metrics) == pytest.approx(expected, rel=1e-12)
    assert metrics["eval_loss"] == pytest.approx(sum(expected.values()) / 3, rel=1e-12)


def test_sets_are_told_apart_with_metrics_and_lasting_workers(tmp_path):
    sets = {"a": EVALUATION, "b": Examples(20, seed=6)}
    workers = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    trainer = with_metrics(tmp_path, eval_dataset=sets, **workers)
    for _ in range(2):
        metrics = trainer.evaluate()
        for name, data in sets.items():
            expected = by_name(risks_by_hand(trainer.model, data))
            assert measured(metrics, f"eval_{name}_") == pytest.approx(expected, rel=1e-12)
            assert metrics[f"eval_{name}_size"] == len(data)


@pytest.mark.parametrize("greater", [None, True])
def test_the_best_model_has_the_lowest_worst_risk(tmp_path, greater):
    trainer = trained(
        tmp_path,
        eval_dataset=EVALUATION,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_worst_risk",
        greater_is_better=greater,
        learning_rate=0.9,  # so large that the last step is not the best
        lr_scheduler_type="constant",
    )
    history = [r["eval_worst_risk"] for r in trainer.state.log_history if "eval_loss" in r]
    best = min(history)
    assert len(history) == 6
    assert best not in (history[-1], max(history))
    assert trainer.state.best_metric == best
    assert trainer.evaluate()["eval_worst_risk"] == best


@pytest.mark.parametrize(
    ("metric", "greater"),
    [
        ("worst_risk", False),
        ("eval_risk/noun", False),
        ("eval_dev_worst_risk", False),
        ("auxiliary_risk", False),
        ("loss", False),
        ("accuracy", True),
    ],
)
def test_less_is_better_for_risks_only(tmp_path, metric, greater):
    assert make_trainer(tmp_path, metric_for_best_model=metric).args.greater_is_better is greater


def test_predictions_are_the_trainers(tmp_path):
    trainer = make_trainer(tmp_path, label_names=["y"])
    output = trainer.predict(EVALUATION)
    values, groups = output.predictions
    with torch.no_grad():
        expected = trainer.model(EVALUATION.x, EVALUATION.y, EVALUATION.g)["task_values"]
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-12)
    assert groups.tolist() == EVALUATION.g.tolist()
    assert output.label_ids.tolist() == EVALUATION.y.tolist()
    assert "test_loss" in output.metrics


def test_a_rank_without_a_batch_agrees_with_others_on_shape_and_dtype():
    empty, full = (EvaluationSums(NAMES, torch.device("cpu")) for _ in range(2))
    full.add(TaskSums(torch.tensor([2.0, 6.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])))
    for field, other in zip(empty._total, full._total, strict=True):
        assert (field.shape, field.dtype) == (other.shape, other.dtype)
    assert full.metrics() == {"risk/noun": 2, "risk/verb": 3, "worst_risk": 3, "loss": 2.5}


def test_many_batches_are_added_up_in_double_precision():
    sums = EvaluationSums(("a",), torch.device("cpu"))
    sums.add(TaskSums(torch.tensor([2.0**24]), torch.tensor([1.0])))
    for _ in range(3):
        sums.add(TaskSums(torch.tensor([1.0]), torch.tensor([1.0])))
    assert sums.metrics()["risk/a"] == (2**24 + 3) / 4
