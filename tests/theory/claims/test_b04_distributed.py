import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory import stochastic_bounds
from theory.claims import b04_distributed as b04
from theory.judge import Verdict

REFUTED = {"not global", "one task each", "mean of means"}


def test_three_naive_readings_are_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(b04.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == REFUTED
    assert {v for name, v in found.items() if name not in REFUTED} == {Verdict.CORRECTED}


def bad(context, *lines):
    found = verdicts(b04.CLAIM, context)
    return [found[line] for line in lines]


def test_workers_that_share_their_losses_compute_the_global_softmax(context, monkeypatch):
    """With the remedy in place there is nothing left to refute, and (4) is not what comes out."""

    def shared(losses, alpha, _=None):
        weights = b04.softmax_weights(np.mean(losses, axis=0), alpha)
        return np.broadcast_to(weights, losses.shape)

    monkeypatch.setattr(b04, "local_weights", shared)
    found = bad(context, "local softmax", "not global", "becomes (4)", "one task each")
    wanted = [Verdict.FAILS, Verdict.NOT_REFUTED, Verdict.FAILS, Verdict.NOT_REFUTED]
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "factor", "lines"),
    [
        ("shard_difference", 0.2, ("difference", "flat limit", "sharp limit")),
        ("shard_difference", 1.01, ("flat limit", "sharp limit")),
        ("softmax_change", 0.1, ("gradients",)),
        ("minibatch_bias", 0.2, ("shard bias",)),
    ],
)
def test_other_constants_fail(context, monkeypatch, name, factor, lines):
    right = getattr(stochastic_bounds, name)
    monkeypatch.setattr(stochastic_bounds, name, lambda *args: factor * right(*args))
    assert bad(context, *lines) == [Verdict.FAILS] * len(lines)


def test_the_bias_of_the_global_batch_is_not_that_of_the_shards(context, monkeypatch):
    right = b04.expected_smooth_max
    monkeypatch.setattr(
        b04, "expected_smooth_max", lambda law, x, a, b: right(law, x, a, b if b == 1 else 1)
    )
    assert bad(context, "M times") == [Verdict.FAILS]


def test_a_smooth_maximum_of_the_wrong_sign_fails(context, monkeypatch):
    right = b04.smooth_max
    monkeypatch.setattr(b04, "smooth_max", lambda f, a: -right(-f, a))
    assert bad(context, "not below") == [Verdict.FAILS]


@pytest.mark.parametrize("fault", ["counts of workers", "absent as present"])
def test_a_careless_reduction_fails(context, monkeypatch, fault):
    right = b04.all_reduced

    def careless(sums, counts):
        if fault == "counts of workers":
            return np.sum(sums, axis=0) / len(sums), np.sum(counts, axis=0) > 0
        losses, present = right(sums, counts)
        return losses, np.ones_like(present)

    monkeypatch.setattr(b04, "all_reduced", careless)
    assert bad(context, "all-reduce") == [Verdict.FAILS]
