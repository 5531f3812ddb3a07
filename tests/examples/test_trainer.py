"""TaskRobustTrainer: ranks and micro-batches change nothing, nor does stopping."""

import pytest
import torch

from tests.examples import trainer
from tests.examples.launch import assert_equal, balancer, counted, final_state, torchrun

BALANCERS = [balancer("minimax", tolerance=0.1, ema=0.9), balancer("uncertainty")]
QUIET = {"use_cpu": True, "disable_tqdm": True, "logging_steps": 1000}


def state_of(folder, **options):
    return final_state(trainer.main(folder, **QUIET, **options))


def test_ranks_and_micro_batches_train_as_one_process_on_the_whole_batch(tmp_path):
    exact = {"dtype": torch.float64, "dropout": 0.0, "num_train_epochs": 1}
    of_four = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    whole = {"per_device_train_batch_size": 32, "gradient_accumulation_steps": 1}
    runs = [
        {**QUIET, **exact, **of_four, "make_balancer": b, "folder": tmp_path / f"ranks-{i}"}
        for i, b in enumerate(BALANCERS)
    ]
    found = torchrun("trainer", runs, tmp_path)
    for i, ranks in enumerate(found):
        options = {**exact, **whole, "make_balancer": BALANCERS[i]}
        alone = state_of(tmp_path / f"alone-{i}", **options)
        for state in ranks:
            assert_equal(state, alone, tolerance=1e-12)


@pytest.mark.parametrize("make_balancer", BALANCERS, ids=["averaging", "learned"])
def test_stop_load_and_continue_is_never_stopped(make_balancer, tmp_path):
    make_balancer, calls = counted(make_balancer)
    options = {"make_balancer": make_balancer, "lr_scheduler_type": "constant"}
    state_of(tmp_path / "stopped", num_train_epochs=1, **options)
    in_one_epoch = len(calls)
    resumed = state_of(tmp_path / "stopped", num_train_epochs=2, **options)
    assert len(calls) == 2 * in_one_epoch
    never_stopped = state_of(tmp_path / "never stopped", num_train_epochs=2, **options)
    assert_equal(resumed, never_stopped)
