"""A process killed with SIGKILL at any moment loses nothing but the steps since its checkpoint."""

import gc
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from transformers import TrainerCallback, TrainerState

from taskrobust.trainer import last_complete_checkpoint
from tests.taskrobust.trainer.models import Examples, Net, assert_same, state, trained

STEPS = 40
WRITES = (
    "model.safetensors",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "balancer",
    "rng_state.pth",
    "trainer_state.json",
    "older checkpoint",
)
"""What saving a checkpoint writes, in this order, and in the end removes."""


def run(out, **options):
    """A run that saves at every other step and keeps the last checkpoint only."""
    return trained(
        out,
        balancer="ema",
        model=Net(dropout=0.3).double(),
        data=Examples(56),
        max_steps=STEPS,
        gradient_accumulation_steps=2,
        per_device_train_batch_size=8,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=1,
        **options,
    )


def start_quickly():
    """As the fixture of this folder does."""
    gc.freeze()
    torch.set_num_threads(1)


def train_slowly(out):
    """In a process of its own: some milliseconds a step."""

    class Slow(TrainerCallback):
        def on_step_end(self, *args, **kwargs):  # noqa: ARG002
            time.sleep(0.005)

    start_quickly()
    run(out, callbacks=[Slow()])


def train_until_writing(out, count):
    """In a process of its own: write half of file number `count` of the second checkpoint."""
    start_quickly()
    left = len(WRITES) - 1 + count  # the first checkpoint has no older one to remove

    def counted(function, place):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            path = Path(args[place])
            if left == 0 and path.is_dir():  # to be removed
                (path / "model.safetensors").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            function(*args, **kwargs)
            if left == 0:
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        return call

    safetensors.torch.save_file = counted(safetensors.torch.save_file, 1)
    torch.save = counted(torch.save, 1)
    TrainerState.save_to_json = counted(TrainerState.save_to_json, 1)
    shutil.rmtree = counted(shutil.rmtree, 0)
    run(out)


@pytest.fixture(scope="module")
def processes():
    """Starts processes that need not import anything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    return state(run(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("count", range(1, len(WRITES) + 1), ids=WRITES)
def test_killed_while_it_writes_a_checkpoint(tmp_path, processes, never_stopped, count):
    process = processes.Process(target=train_until_writing, args=(tmp_path, count))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    expected = "checkpoint-4" if WRITES[count - 1] == "older checkpoint" else "checkpoint-2"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-2", "checkpoint-4"}
    assert last_complete_checkpoint(tmp_path) == tmp_path / expected
    resumed = run(tmp_path, resume=True)
    assert_same(state(resumed), never_stopped)
    assert [path.name for path in tmp_path.iterdir()] == [f"checkpoint-{STEPS}"]


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.04, 0.1])
def test_killed_some_time_after_its_first_checkpoint(tmp_path, processes, never_stopped, wait):
    process = processes.Process(target=train_slowly, args=(tmp_path,))
    process.start()
    give_up = time.monotonic() + 60
    while last_complete_checkpoint(tmp_path) is None:
        assert time.monotonic() < give_up
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / f"checkpoint-{STEPS}").exists()
    assert_same(state(run(tmp_path, resume=True)), never_stopped)
