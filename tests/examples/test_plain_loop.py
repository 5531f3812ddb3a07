"""The plain loop: ranks and micro-batches change nothing, nor does stopping or killing it."""

import signal

import numpy as np
import pytest
import torch

from taskrobust import Minimax, list_balancers
from tests.examples import plain_loop
from tests.examples.launch import assert_equal, balancer, counted, final_state, python, torchrun

WITH_STATE = balancer("minimax", tolerance=0.1, ema=0.9)
LEARNED = balancer("uncertainty")


def state_of(*arguments, **options):
    return final_state(plain_loop.main(*arguments, **options))


def test_ranks_and_micro_batches_train_as_one_process_on_the_whole_batch(tmp_path):
    exact = {"dtype": torch.float64, "dropout": 0.0, "steps": 20}
    cases = [
        {**exact, "make_balancer": balancer(name), "accumulate": n}
        for name in list_balancers()
        for n in (1, 4)
    ]
    sharp = {**exact, "make_balancer": balancer("minimax", tolerance=0.1)}
    stopped = [
        {"checkpoint": tmp_path / "checkpoint.pt", "make_balancer": LEARNED, "steps": 23},
        {"checkpoint": tmp_path / "checkpoint.pt", "make_balancer": LEARNED, "steps": 30},
        {"make_balancer": LEARNED, "steps": 30},
    ]
    runs = [*cases, sharp, {**sharp, "per_rank": True}, *stopped]
    *found, together, by_rank, _, resumed, never_stopped = torchrun("plain_loop", runs, tmp_path)
    for rank in range(2):
        assert_equal(resumed[rank], never_stopped[rank])
    for case, ranks in zip([*cases, sharp], [*found, together], strict=True):
        alone = state_of(**{**case, "accumulate": 1})
        for state in ranks:
            assert_equal(state, alone, tolerance=1e-12)
    with pytest.raises(AssertionError, match="not close"):
        assert_equal(by_rank[0], together[0], tolerance=1e-3)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("name", list_balancers())
def test_stop_load_and_continue_is_never_stopped(name, accumulate, tmp_path):
    make_balancer, calls = counted(balancer(name))
    options = {"make_balancer": make_balancer, "accumulate": accumulate}
    state_of(tmp_path / "checkpoint.pt", steps=23, **options)
    resumed = state_of(tmp_path / "checkpoint.pt", steps=30, **options)
    assert len(calls) == 23 + (30 - 20)
    assert_equal(resumed, state_of(steps=30, **options))


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("make_balancer", [WITH_STATE, LEARNED], ids=["averaging", "learned"])
def test_so_it_is_in_half_precision(make_balancer, autocast, tmp_path):
    options = {"make_balancer": make_balancer, "autocast": autocast, "accumulate": 2}
    state_of(tmp_path / "checkpoint.pt", steps=23, **options)
    resumed = state_of(tmp_path / "checkpoint.pt", steps=30, **options)
    assert_equal(resumed, state_of(steps=30, **options))


KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from tests.examples import plain_loop

def save(state, path, save=torch.save):
    save(state, path)
    if state["step"] == 40:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
torch.save = save
plain_loop.main(Path(sys.argv[1]))
"""


def test_a_run_killed_while_it_saves_continues_from_the_checkpoint_before(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    python("-c", KILLED_WHILE_SAVING, str(checkpoint), status=-signal.SIGKILL)
    assert torch.load(checkpoint, weights_only=True)["step"] == 20
    assert_equal(state_of(checkpoint), state_of())


def weightings(**options):
    """The default balancer's risks and weights ``[2, steps, T]``."""
    minimax, found = Minimax(3, tolerance=0.1), []
    minimax.register_forward_hook(
        lambda *_: found.append(torch.stack([minimax.last.risks, minimax.last.weights]))
    )
    plain_loop.main(make_balancer=lambda model: minimax, **options)
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_loss_scaling_does_not_change_weights(accumulate, monkeypatch):
    scalers, make = [], torch.amp.GradScaler

    def scaled_by(scale):
        def scaler(*arguments, **options):
            scalers.append(make(*arguments, init_scale=scale, **options))
            return scalers[-1]

        with monkeypatch.context() as patch:
            patch.setattr(torch.amp, "GradScaler", scaler)
            return weightings(autocast=torch.float16, accumulate=accumulate, steps=20)

    small, large = scaled_by(2.0**4), scaled_by(2.0**10)
    assert [scaler.get_scale() for scaler in scalers] == [2.0**4, 2.0**10]
    assert torch.equal(small[:, 0], large[:, 0])  # same parameters
    # Later parameters differ by the fp16 gradients that fall below the smallest number.
    torch.testing.assert_close(small, large, rtol=1e-2, atol=1e-3)


def weights_in_float64(logits, labels, tasks, alpha):
    logits = logits.double().numpy()
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    powers = [np.exp(alpha * losses[tasks == t].mean()) if t in tasks else 0.0 for t in range(3)]
    return torch.tensor(powers / np.sum(powers))


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16], ids=str)
def test_weights_lose_nothing_but_what_half_precision_logits_have_lost(autocast, monkeypatch):
    seen = []

    def cross_entropy(logits, labels, compute=plain_loop.cross_entropy):
        assert logits.dtype == autocast
        seen.append([logits.detach(), labels])
        return compute(logits, labels)

    def grouped_risks(losses, tasks, num_tasks, compute=plain_loop.grouped_risks):
        assert losses.dtype == torch.float32
        seen[-1].append(tasks)
        return compute(losses, tasks, num_tasks)

    monkeypatch.setattr(plain_loop, "cross_entropy", cross_entropy)
    monkeypatch.setattr(plain_loop, "grouped_risks", grouped_risks)
    _, weights = weightings(autocast=autocast, steps=10)
    alpha = Minimax(3, tolerance=0.1).alpha()
    expected = torch.stack([weights_in_float64(*batch, alpha) for batch in seen])
    torch.testing.assert_close(weights.double(), expected, rtol=0, atol=1e-6)
    assert any(len(set(tasks.tolist())) < 3 for _, _, tasks in seen)  # a task was absent
