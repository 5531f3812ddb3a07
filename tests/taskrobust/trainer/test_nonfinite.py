"""A NaN or infinite risk stops training before anything changes, or leaves the step out."""

import pytest
import torch
from torch.utils.data import Subset

from taskrobust import NonFiniteRiskError
from tests.taskrobust.trainer.models import (
    TASKS,
    Examples,
    Net,
    assert_same,
    make_balancer,
    make_trainer,
    minimax,
    state,
    trained,
)

CONSTANT = {"lr_scheduler_type": "constant", "train_sampling_strategy": "sequential"}
SIZES = {
    "one batch": {},
    "exact": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
    "micro": {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "accumulation": "micro",
    },
}
REMEMBERING = ("minimax", "ema", "uncertainty", "steep", "mgda")
in_each_mode = pytest.mark.parametrize("mode", SIZES)


def poisoned(at, value=torch.nan):
    """Data of which one example has a loss that is not finite."""
    data = Examples(96, groups=[0, 1, 0, 2] * 24)
    data.y[at] = value
    return data


def without_step(data, step):
    """The same data without the 16 examples of one step."""
    return Subset(data, [i for i in range(len(data)) if i // 16 != step])


@in_each_mode
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_non_finite_risk_raises_before_the_step(tmp_path, mode, value):
    options = {**SIZES[mode], **CONSTANT}
    trainer = make_trainer(tmp_path, data=poisoned(16 * 3 + 5, value), **options)
    with pytest.raises(NonFiniteRiskError) as caught:
        trainer.train()
    calls = 3 if mode != "micro" else 3 * 4 + 1  # the example is in the second micro-batch
    assert f"at step {calls}: verb = {value}; nothing has been updated" in str(caught.value)
    assert trainer.state.global_step == 3
    before = state(trained(tmp_path, data=poisoned(95, 0.0), **options, max_steps=3))
    if mode == "micro":  # the first micro-batch's call was fine
        before["balancer._extra_state"][0] = calls
    assert_same(state(trainer), before)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *((mode, name) for mode in ("one batch", "exact") for name in REMEMBERING),
        # Others would remember the finite micro-batches of the step.
        ("micro", "minimax"),
        ("micro", "uncertainty"),
    ],
)
def test_a_skipped_step_might_as_well_not_be_there(tmp_path, mode, name):
    options = {**SIZES[mode], **CONSTANT, "weight_decay": 0.1}
    data = poisoned(16 * 2 + 7)

    def skipping():
        model = Net().double()
        balancer = make_balancer(name, model)
        balancer.nonfinite = "skip"
        return {"model": model, "balancer": balancer}

    trainer = trained(tmp_path, data=data, **skipping(), **options)
    shorter = trained(
        tmp_path, data=without_step(data, 2), **skipping(), **{**options, "max_steps": 5}
    )
    assert trainer.state.global_step == 6
    assert trainer.balancer.skipped == 1
    actual, expected = state(trainer), state(shorter)
    for found in (actual, expected):
        found.pop("balancer._extra_state")  # counts the skipped step
    assert_same(actual, expected)


def test_a_skipped_step_is_counted_in_the_log_and_its_loss_is_zero(tmp_path):
    data = poisoned(16 * 4)
    trainer = trained(tmp_path, data=data, balancer=minimax(nonfinite="skip"), **CONSTANT)
    first, second = (row for row in trainer.state.log_history if "loss" in row)
    assert "skipped_steps" not in first
    assert second["skipped_steps"] == 1
    assert "risk/noun" in second
    one_by_one = trained(
        tmp_path, data=data, balancer=minimax(nonfinite="skip"), logging_steps=1, **CONSTANT
    )
    rows = [row for row in one_by_one.state.log_history if "loss" in row]
    assert rows[4]["loss"] == 0
    assert rows[4]["skipped_steps"] == 1
    assert "worst_risk" not in rows[4]
    assert second["loss"] == pytest.approx(sum(row["loss"] for row in rows[3:]) / 3, rel=1e-6)


def test_a_skipped_auxiliary_loss_is_an_error_of_its_own(tmp_path):
    class Broken(Net):
        def forward(self, x, y, g):
            outputs = super().forward(x, y, g)
            return {**outputs, "auxiliary_values": outputs["task_values"][:1] / 0}

    with pytest.raises(NonFiniteRiskError, match=r"non-finite auxiliary risk at step 0: \[inf\]"):
        trained(tmp_path, model=Broken().double())


def test_an_ignored_non_finite_risk_goes_through(tmp_path):
    balancer = minimax(nonfinite="ignore")
    trainer = trained(tmp_path, data=poisoned(0), balancer=balancer, max_steps=1, **CONSTANT)
    assert balancer.step == 1
    assert all(p.isnan().any() for p in trainer.model.parameters())


def test_the_loss_scale_of_half_precision_changes_no_weight_and_no_step(tmp_path):
    plain = trained(tmp_path, **CONSTANT)
    scaled = make_trainer(tmp_path, **CONSTANT)
    scaled.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    scaled.train()
    assert_same(state(scaled), state(plain))
    assert scaled.accelerator.scaler.get_scale() == 2.0**10


def test_a_gradient_scaler_leaves_a_skipped_step_out_too(tmp_path):
    data = poisoned(16 * 2 + 7)
    trainer = make_trainer(tmp_path, data=data, balancer=minimax(nonfinite="skip"), **CONSTANT)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.accelerator.scaler = scaler
    trainer.train()
    shorter = trained(tmp_path, data=without_step(data, 2), **{**CONSTANT, "max_steps": 5})
    actual, expected = state(trainer), state(shorter)
    assert actual.pop("balancer._extra_state").tolist()[:2] == [5, 1]
    expected.pop("balancer._extra_state")
    assert_same(actual, expected)
    assert scaler.get_scale() == 2.0**9  # the scaler took it for an overflow
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert torch.tensor(losses).isfinite().all()


def test_a_task_without_an_example_is_not_a_risk_of_zero(tmp_path):
    data = Examples(96, groups=[0, 2] * 48)
    trainer = trained(tmp_path, data=data, logging_steps=1)
    for row in (row for row in trainer.state.log_history if "loss" in row):
        assert "risk/verb" not in row
        assert row["weight/verb"] == 0
        assert row["weight/noun"] + row["weight/rare"] == pytest.approx(1)
    assert trainer.balancer.last.present.tolist() == [True, False, True]
    assert len(trainer.balancer.last.weights) == TASKS
