from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory import bounds, stochastic, stochastic_bounds
from theory.claims import b03_minibatch as b03
from theory.claims import b03_moving_average as averaged
from theory.claims import finite_laws
from theory.judge import Verdict

REFUTED = {"not for F_α", "noise is free", "lag, without"}


def test_three_naive_readings_are_refuted_and_the_rest_holds_as_corrected(context):
    found = verdicts(b03.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == REFUTED
    assert {v for name, v in found.items() if name not in REFUTED} == {Verdict.CORRECTED}


@pytest.fixture
def few(monkeypatch):
    """For faults in lines that take no random draws."""
    monkeypatch.setattr(finite_laws, "_REPLICATES", 2)


def bad(context, *lines):
    found = verdicts(b03.CLAIM, context)
    return [found[line] for line in lines]


@pytest.mark.usefixtures("few")
def test_weights_from_the_risks_are_not_unbiased_for_the_surrogate(context, monkeypatch):
    def separate(law, theta, alpha, size):
        frequencies, chances = stochastic.batches(law.probabilities, size)
        weights = b03.softmax_weights(law.losses(theta), alpha)
        weights = np.broadcast_to(weights, (len(chances), weights.size))
        return chances @ law.batch_gradient(theta[None], frequencies, weights)

    monkeypatch.setattr(b03, "expected_gradient", separate)
    assert bad(context, "unbiased", "subgradient") == [Verdict.FAILS, Verdict.FAILS]


@pytest.mark.usefixtures("few")
def test_no_bias_leaves_nothing_to_refute(context, monkeypatch):
    """Batches that are all the law itself: the surrogate is the smooth maximum."""
    monkeypatch.setattr(b03, "batches", lambda p, size: (p[None], np.ones(1)))
    monkeypatch.setattr(stochastic, "batches", lambda p, size: (p[None], np.ones(1)))
    assert bad(context, "not for F_α") == [Verdict.NOT_REFUTED]


@pytest.mark.usefixtures("few")
def test_a_surrogate_of_smaller_batches_breaks_the_bias(context, monkeypatch):
    right = b03.expected_smooth_max
    monkeypatch.setattr(b03, "expected_smooth_max", lambda law, x, a, b: right(law, x, 6 * a, 1))
    assert Verdict.FAILS in bad(context, "sandwich", "batch bias")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    ("name", "factor", "lines"),
    [
        ("minibatch_bias", 0.4, ("batch bias", "bias reached", "best α")),
        ("minibatch_bias", 1.1, ("bias reached", "best α")),
        ("weight_bias", 0.3, ("weight bias",)),
        ("minibatch", 0.1, ("exact rate",)),
        ("inexact_softmax_gap", 0.99, ("inexact, sharp", "sharp attained")),
        ("inexact_softmax_gap", 1.01, ("sharp attained",)),
        ("moving_average_lag", 0.5, ("lag attained",)),
        ("moving_average_noise", 0.2, ("average noise",)),
    ],
)
def test_other_constants_fail(context, monkeypatch, name, factor, lines):
    right = getattr(stochastic_bounds, name)
    monkeypatch.setattr(stochastic_bounds, name, lambda *args: factor * right(*args))
    assert bad(context, *lines) == [Verdict.FAILS] * len(lines)


@pytest.mark.usefixtures("few")
def test_stale_losses_that_count_once_fail(context, monkeypatch):
    """The error enters twice: the maximum is misjudged, and so is the average."""
    monkeypatch.setattr(
        stochastic_bounds,
        "inexact_softmax_gap",
        lambda tasks, alpha, error: bounds.softmax_gap(tasks, alpha) + error,
    )
    assert bad(context, "inexact, sharp") == [Verdict.FAILS]


@pytest.mark.usefixtures("few")
def test_averaging_the_wrong_way_round_fails(context, monkeypatch):
    right = averaged.MovingAverage
    monkeypatch.setattr(
        averaged, "MovingAverage", lambda decay, *rest, **named: right(1 - decay, *rest, **named)
    )
    assert Verdict.FAILS in bad(context, "lag", "lag attained")


def test_ascent_leaves_the_rate(context, monkeypatch):
    right = b03.descend_minibatch

    def ascend(law, schedule, start, draw):
        return right(law, replace(schedule, step_size=-schedule.step_size), start, draw)

    monkeypatch.setattr(b03, "descend_minibatch", ascend)
    assert verdicts(b03.CLAIM, context)["rate"] is Verdict.FAILS


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_another_window_costs_more(context, monkeypatch, exponent):
    right = averaged.best_decay

    def other(*arguments):
        decay = right(*arguments)
        window = ((1 + decay) / (1 - decay)) ** (1.5 * exponent)
        return (window - 1) / (window + 1)

    monkeypatch.setattr(averaged, "best_decay", other)
    assert bad(context, "best decay") == [Verdict.FAILS]
