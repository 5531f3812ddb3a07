"""Accelerate: ranks and micro-batches change nothing, nor does stopping."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from taskrobust import Minimax, cross_entropy, grouped_risks
from tests.examples import accelerate_loop
from tests.examples.launch import assert_equal, balancer, counted, final_state, torchrun
from tests.examples.toy import Examples, network

BALANCERS = [balancer("minimax", tolerance=0.1, ema=0.9), balancer("uncertainty")]


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    yield
    AcceleratorState._reset_state()
    PartialState._reset_state()


def state_of(*arguments, **options):
    AcceleratorState._reset_state()
    PartialState._reset_state()
    return final_state(accelerate_loop.main(*arguments, **options))


def test_ranks_and_micro_batches_train_as_one_process_on_the_whole_batch(tmp_path):
    exact = {"dtype": torch.float64, "dropout": 0.0, "epochs": 1}
    cases = [
        {**exact, "make_balancer": b, "batch_size": 32 // n, "accumulate": n}
        for b in BALANCERS
        for n in (1, 4)
    ]
    stopped = [
        {"make_balancer": BALANCERS[0], "folder": tmp_path / "checkpoints", "epochs": 1},
        {"make_balancer": BALANCERS[0], "folder": tmp_path / "checkpoints", "epochs": 2},
        {"make_balancer": BALANCERS[0], "epochs": 2},
    ]
    *found, _, resumed, never_stopped = torchrun("accelerate_loop", [*cases, *stopped], tmp_path)
    for rank in range(2):
        assert_equal(resumed[rank], never_stopped[rank])
    for case, ranks in zip(cases, found, strict=True):
        alone = state_of(**{**case, "batch_size": 32, "accumulate": 1})
        for state in ranks:
            assert_equal(state, alone, tolerance=1e-12)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("make_balancer", BALANCERS, ids=["averaging", "learned"])
def test_stop_load_and_continue_is_never_stopped(make_balancer, precision, accumulate, tmp_path):
    make_balancer, calls = counted(make_balancer)
    options = {"make_balancer": make_balancer, "mixed_precision": precision}
    options |= {"accumulate": accumulate, "batch_size": 16}
    state_of(tmp_path, epochs=1, **options)
    in_one_epoch = len(calls)
    resumed = state_of(tmp_path, epochs=2, **options)
    assert len(calls) == 2 * in_one_epoch
    assert_equal(resumed, state_of(epochs=2, **options))


def test_a_folder_that_was_being_written_is_passed_over(tmp_path):
    state_of(tmp_path, epochs=1)
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "model.safetensors").write_bytes(b"half a model")
    assert_equal(state_of(tmp_path, epochs=2), state_of(epochs=2))


def test_accumulation_of_accelerate_weights_each_micro_batch_by_itself():
    def gradient(micro_batches):
        AcceleratorState._reset_state()
        PartialState._reset_state()
        accelerator = Accelerator(gradient_accumulation_steps=micro_batches)
        torch.manual_seed(0)
        model, minimax = network().double(), Minimax(3, tolerance=0.1)
        for indices in torch.arange(32).chunk(micro_batches):
            batch = Examples(dtype=torch.float64)[indices]
            with accelerator.accumulate(model):
                losses = cross_entropy(model(batch["features"]), batch["labels"])
                accelerator.backward(minimax(grouped_risks(losses, batch["tasks"], 3)))
        return model[0].weight.grad

    assert not torch.allclose(gradient(4), gradient(1), rtol=0.1, atol=0.01)
