"""Stop, load, continue equals never stopped, to the last bit, for every balancer."""

import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

from taskrobust import Average
from taskrobust.balancers import DynamicWeightAverage
from tests.taskrobust.trainer.models import (
    BALANCERS,
    NAMES,
    TASKS,
    Examples,
    Net,
    assert_same,
    distance,
    make_trainer,
    state,
    trained,
)

# 7 micro-batches an epoch in groups of 2, 2, 2 and 1: the epochs end after steps 4, 8 and 12.
RUN = {
    "data": Examples(56),
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 2,
    "max_steps": 11,
    "logging_steps": 1,
    "max_grad_norm": 1.0,
    "weight_decay": 0.1,
}
STOPS = (2, 4, 5, 8)
"""In an epoch, at its end, after the first step of the next, at the end of that."""


class SaveAt(TrainerCallback):
    """Saves after the steps of `STOPS`."""

    def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
        control.should_save |= state.global_step in STOPS


def run(out, **options):
    """A run of eleven steps, with dropout."""
    return trained(out, model=Net(dropout=0.3).double(), **{**RUN, **options})


def saved(out, **options):
    """A run that leaves checkpoints."""
    return run(out, callbacks=[SaveAt()], **options)


def rows(trainer):
    """The training logs."""
    return [row for row in trainer.state.log_history if "loss" in row]


def test_saving_changes_nothing(tmp_path):
    assert_same(state(saved(tmp_path, balancer="ema")), state(run(tmp_path, balancer="ema")))


@pytest.mark.parametrize("name", BALANCERS)
def test_a_resumed_run_ends_as_one_that_never_stopped(tmp_path, name):
    whole = saved(tmp_path, balancer=name)
    for stop in (5, 8):
        resumed = run(tmp_path, balancer=name, resume=tmp_path / f"checkpoint-{stop}")
        assert_same(state(resumed), state(whole))
        assert rows(resumed) == rows(whole)


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 1},
        {"accumulation": "micro"},
        {"gradient_accumulation_steps": 7},
        {"dataloader_num_workers": 2, "max_steps": 6},
        {"lr_scheduler_type": "cosine", "warmup_steps": 3},
        {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset": Examples(19, seed=2)},
    ],
    ids=lambda options: ",".join(options),
)
def test_a_resumed_run_is_exact_in_other_settings(tmp_path, options):
    whole = saved(tmp_path, balancer="ema", **options)
    for stop in (2, 4):
        resumed = run(tmp_path, balancer="ema", resume=f"{tmp_path}/checkpoint-{stop}", **options)
        assert_same(state(resumed), state(whole))


def test_a_balancer_that_starts_anew_ends_elsewhere(tmp_path, monkeypatch):
    whole = saved(tmp_path, balancer="ema")
    monkeypatch.setattr("taskrobust.trainer.trainer.load_balancer", lambda balancer, folder: 0)
    forgetful = run(tmp_path, balancer="ema", resume=f"{tmp_path}/checkpoint-4")
    assert distance(state(forgetful), state(whole)) > 1e-4


class Counting(Average):
    """Remembers before which call each epoch ended."""

    def __init__(self):
        super().__init__(TASKS)
        self.register_buffer("ends", torch.zeros(0))

    def end_epoch(self):
        self.ends = torch.cat([self.ends, torch.tensor([float(self.step)])])

    def _load_from_state_dict(self, state_dict, prefix, *args):
        self.ends = torch.zeros_like(state_dict[f"{prefix}ends"])
        super()._load_from_state_dict(state_dict, prefix, *args)


def test_every_epoch_ends_once_and_before_the_next_begins(tmp_path):
    whole = saved(tmp_path, balancer=Counting())
    assert whole.balancer.ends.tolist() == [4, 8]
    for stop in STOPS:
        resumed = run(tmp_path, balancer=Counting(), resume=f"{tmp_path}/checkpoint-{stop}")
        assert resumed.balancer.ends.tolist() == [4, 8]


class Stream(IterableDataset):
    """Examples without a length."""

    def __init__(self, size):
        self.examples = Examples(size)

    def __iter__(self):
        return iter(self.examples[i] for i in range(len(self.examples)))


def test_epochs_of_data_without_a_length_end_too(tmp_path):
    trainer = trained(tmp_path, balancer=Counting(), data=Stream(32), max_steps=7)
    assert trainer.balancer.ends.tolist() == [2, 4, 6]


def test_the_rest_of_a_pass_over_data_without_a_length_takes_no_step(tmp_path):
    trainer = trained(
        tmp_path,
        balancer=Counting(),
        data=Stream(40),  # a pass is 5 batches of 8: one step of 4, and a rest
        per_device_train_batch_size=8,
        gradient_accumulation_steps=4,
        max_steps=3,
    )
    assert trainer.balancer.step == trainer.state.global_step == 3


def test_a_checkpoint_continues_in_an_object_that_has_trained(tmp_path):
    whole = saved(tmp_path, balancer="uncertainty")
    expected = state(whole)
    whole.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert_same(state(whole), expected)


def test_the_newest_checkpoint_is_found(tmp_path):
    whole = run(tmp_path, save_strategy="steps", save_steps=1, save_total_limit=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-11"]
    resumed = make_trainer(
        tmp_path, model=Net(dropout=0.3).double(), **{**RUN, "max_steps": 14, "save_strategy": "no"}
    )
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 14
    assert resumed.state.log_history[:11] == whole.state.log_history[:11]


def test_nothing_to_resume_from_is_an_error(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    with pytest.raises(ValueError, match=r"no complete checkpoint in .*; train without"):
        trained(tmp_path, resume=True)


def test_training_twice_goes_on_with_model_optimiser_and_balancer(tmp_path):
    trainer = run(tmp_path, balancer=Counting())
    first = state(trainer)
    trainer.train()
    assert trainer.balancer.ends.tolist() == [4, 8, 11 + 4, 11 + 8]
    assert trainer.balancer.step == 22
    assert trainer.state.global_step == 11
    steps = [v for k, v in state(trainer).items() if k.endswith(".step")]
    assert {float(v) for v in steps} == {22.0}
    assert distance(state(trainer), first) > 1e-2


def test_training_twice_starts_the_logs_anew(tmp_path):
    trainer = run(tmp_path, logging_steps=8)  # steps 9 to 11 are not logged
    trainer.args.logging_steps = 1
    trainer.train()
    row = rows(trainer)[0]
    assert row["loss"] == pytest.approx(
        sum(row[f"weight/{name}"] * row[f"risk/{name}"] for name in NAMES), rel=1e-6
    )


def test_a_model_made_anew_gets_a_new_balancer(tmp_path):
    balancer = DynamicWeightAverage(TASKS, temperature=0.5).double()
    data = {**RUN, "model_init": lambda: Net(dropout=0.3).double(), "balancer": balancer}
    trainer = make_trainer(tmp_path, **data)
    trainer.train()
    first = state(trainer)
    trainer.train()
    assert_same(state(trainer), first)
