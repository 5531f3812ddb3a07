"""What the Trainer logs about the tasks: to its history, TensorBoard, the bar and the terminal."""

import logging
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from taskrobust.balancers.base import Weighting
from taskrobust.trainer.progress import WeightingLog, worst_task
from tests.taskrobust.trainer.models import NAMES, Examples, minimax, trained


def rows(trainer):
    """The training logs."""
    return [row for row in trainer.state.log_history if "loss" in row]


def weighting(risks, weights, present, scale=1.0, counts=None):
    return Weighting(
        torch.tensor(risks),
        torch.tensor(weights),
        torch.tensor(scale),
        torch.tensor(present),
        None if counts is None else torch.tensor(counts),
    )


def test_means_are_over_the_calls_that_had_the_task_and_weights_over_all():
    log = WeightingLog(("a", "b"))
    log.add(weighting([1.0, 4.0], [0.25, 0.75], [True, True], 2.0))
    log.add(None)
    log.add(weighting([3.0, 0.0], [1.0, 0.0], [True, False], 1.0))
    assert log.pop() == {
        "risk/a": 2.0,
        "risk/b": 4.0,
        "weight/a": 0.625,
        "weight/b": 0.375,
        "worst_risk": 4.0,
        "weight_scale": 1.5,
    }
    assert log.pop() == {}


def test_a_task_that_no_call_had_has_a_weight_of_zero_and_no_risk():
    log = WeightingLog(("a", "b"))
    log.add(weighting([-1.0, 0.0], [1.0, 0.0], [True, False]))
    assert log.pop() == {
        "risk/a": -1.0,
        "weight/a": 1.0,
        "weight/b": 0.0,
        "worst_risk": -1.0,
        "weight_scale": 1.0,
    }
    log.add(weighting([0.0, 0.0], [0.0, 0.0], [False, False]))
    assert log.pop() == {"weight/a": 0.0, "weight/b": 0.0, "weight_scale": 1.0}


def test_counts_are_means_over_all_calls_and_missing_if_one_was_not_told():
    log = WeightingLog(("a", "b"))
    log.add(weighting([1.0, 4.0], [0.5, 0.5], [True, True], counts=[7, 2]))
    log.add(weighting([1.0, 0.0], [1.0, 0.0], [True, False], counts=[4, 0]))
    found = log.pop()
    assert (found["count/a"], found["count/b"]) == (5.5, 1.0)
    log.add(weighting([1.0, 4.0], [0.5, 0.5], [True, True], counts=[7, 2]))
    log.add(weighting([1.0, 4.0], [0.5, 0.5], [True, True]))
    assert not any(key.startswith("count/") for key in log.pop())


def test_skipped_steps_are_told_once():
    log = WeightingLog(("a", "b"))
    log.skipped_steps += 2
    assert log.pop() == {"skipped_steps": 2}
    assert log.pop() == {}


class Remembering:
    """A balancer's calls, as they were made."""

    def __init__(self, balancer):
        self.calls = []
        balancer.register_forward_hook(lambda module, *_: self.calls.append(module.last))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 4},
        {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 4,
         "accumulation": "micro"},
    ],
    ids=["one batch", "exact", "micro"],
)  # fmt: skip
def test_logs_hold_the_means_since_the_last_log(tmp_path, options):
    balancer = minimax(scale=3.0)
    remembered = Remembering(balancer).calls
    trainer = trained(tmp_path, balancer=balancer, logging_steps=2, **options)
    per_log = len(remembered) // 3
    for i, row in enumerate(rows(trainer)):
        calls = remembered[i * per_log : (i + 1) * per_log]
        for t, name in enumerate(NAMES):
            risks = [float(c.risks[t]) for c in calls if c.present[t]]
            assert row[f"risk/{name}"] == pytest.approx(sum(risks) / len(risks), rel=1e-12)
            weights = [float(c.weights[t]) for c in calls]
            assert row[f"weight/{name}"] == pytest.approx(sum(weights) / len(calls), rel=1e-12)
            assert row[f"count/{name}"] == sum(float(c.counts[t]) for c in calls) / len(calls)
        assert row["worst_risk"] == max(row[f"risk/{name}"] for name in NAMES)
        assert row["weight_scale"] == 3.0
        losses = [3.0 * float(c.weights @ c.risks) for c in calls]
        assert row["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)
    assert [row["step"] for row in rows(trainer)] == [2, 4, 6]
    for t, name in enumerate(NAMES):  # an epoch: every example once
        seen = per_log * sum(row[f"count/{name}"] for row in rows(trainer))
        assert seen == int((trainer.train_dataset.g == t).sum())


def test_tensorboard_gets_every_number(tmp_path):
    warned = []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        trainer = trained(
            tmp_path,
            report_to="tensorboard",
            eval_dataset=Examples(60, seed=3),
            eval_strategy="steps",
            eval_steps=3,
        )
    finally:
        logger.removeHandler(handler)
    assert warned == []
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    names = [f"{kind}/{name}" for kind in ("risk", "weight", "count") for name in NAMES]
    for key in (*names, "worst_risk", "weight_scale", "loss"):
        found = {e.step: e.value for e in events.Scalars(f"train/{key}")}
        assert found == pytest.approx({row["step"]: row[key] for row in rows(trainer)}, rel=1e-6)
    measured = [row for row in trainer.state.log_history if "eval_loss" in row]
    for key in (*names[:3], "worst_risk", "loss"):
        found = {e.step: e.value for e in events.Scalars(f"eval/{key}")}
        assert found == pytest.approx({r["step"]: r[f"eval_{key}"] for r in measured}, rel=1e-6)


def test_the_bar_names_the_worst_task_and_the_lines_leave_the_tasks_out(tmp_path, capsys):
    trainer = trained(tmp_path, disable_tqdm=False)
    shown = capsys.readouterr()
    for row in rows(trainer):
        name = max(NAMES, key=lambda n: row[f"risk/{n}"])
        weight = f"(mean weight {row[f'weight/{name}']:.2f})"
        expected = f"worst: {name} {row[f'risk/{name}']:.4g} {weight}"
        assert expected in shown.err
    assert worst_task(rows(trainer)[-1]) == re.findall(r"worst: [^)]*\)", shown.err)[-1]
    lines = [line for line in shown.out.splitlines() if ": loss " in line]
    assert len(lines) == 2
    for line, row in zip(lines, rows(trainer), strict=True):
        assert line.startswith(f"step {row['step']}: loss {row['loss']:.4g}, ")
        assert f"worst risk {row['worst_risk']:.4g}" in line
        assert "risk/" not in line


def test_evaluation_has_its_bar_and_leaves_that_of_training_alone(tmp_path, capsys):
    options = {"eval_dataset": Examples(20), "eval_strategy": "steps", "eval_steps": 2}
    trainer = trained(tmp_path, disable_tqdm=False, **options)
    trainer.evaluate()
    shown = capsys.readouterr()
    (measured,) = [row for row in trainer.state.log_history if row.get("eval_risk/noun")][:1]
    line = f"step 2: evaluation: risk/noun {measured['eval_risk/noun']:.4g}, "
    assert line in shown.out
    assert f"worst risk {measured['eval_worst_risk']:.4g}" in shown.out


def test_without_a_bar_the_whole_log_is_printed(tmp_path, capsys):
    trained(tmp_path, disable_tqdm=True)
    shown = capsys.readouterr()
    assert "worst:" not in shown.err
    assert shown.out.count("'risk/noun'") == shown.out.count("'weight/rare'") == 2


def test_a_log_without_risks_has_no_worst_task():
    assert worst_task({"loss": 1.0, "eval_risk/noun": 3.0}) is None
    logs = {"risk/a": 1.0, "weight/a": 0.25, "risk/b": 2.0, "weight/b": 0.75}
    assert worst_task(logs) == "worst: b 2 (mean weight 0.75)"
