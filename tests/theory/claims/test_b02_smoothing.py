from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory import bounds
from theory.claims import b02_smoothing as b02
from theory.judge import Verdict, judge
from theory.solvers import accelerated as solver


def test_everything_holds_as_corrected(context):
    assert set(verdicts(b02.CLAIM, context).values()) == {Verdict.CORRECTED}


@pytest.mark.parametrize("line", ["gradient", "antipodal"])
def test_doubled_sharpness_in_the_weights_fails(context, monkeypatch, line):
    right = b02.softmax_weights
    monkeypatch.setattr(b02, "softmax_weights", lambda f, alpha: right(f, 2 * alpha))
    assert verdicts(b02.CLAIM, context)[line] is Verdict.FAILS


def test_attached_weights_are_another_gradient(context, monkeypatch):
    right = b02.softmax_weights

    def attached(losses, alpha):
        weights = right(losses, alpha)
        return weights * (1 + alpha * (losses - np.sum(weights * losses, -1, keepdims=True)))

    monkeypatch.setattr(b02, "softmax_weights", attached)
    assert verdicts(b02.CLAIM, context)["gradient"] is Verdict.FAILS


def test_a_smoothing_error_of_the_sharp_constant_fails(context, monkeypatch):
    """c_T bounds the softmax average; the smooth maximum really needs log T."""
    monkeypatch.setattr(bounds, "smoothing", bounds.softmax_gap)
    assert verdicts(b02.CLAIM, context)["smoothing"] is Verdict.FAILS


def test_curvature_without_the_covariance_term_fails(context, monkeypatch):
    for case in context.cases.values():
        flat = replace(case.constants, lipschitz=1e-3 + 0 * case.radius)
        monkeypatch.setitem(vars(case), "constants", flat)
    assert judge(next(b02._curvature(context))).verdict is Verdict.FAILS


@pytest.mark.parametrize(
    ("line", "name"),
    [("last iterate", "smoothed_last_iterate"), ("accelerated", "accelerated")],
)
def test_a_bound_twenty_times_smaller_fails(context, monkeypatch, line, name):
    original = getattr(bounds, name)
    monkeypatch.setattr(bounds, name, lambda setting: 0.05 * original(setting))
    assert verdicts(b02.CLAIM, context)[line] is Verdict.FAILS


@pytest.mark.parametrize("line", ["accelerated", "linear rate"])
def test_acceleration_against_the_gradient_fails(context, monkeypatch, line):
    right = solver._gradient
    monkeypatch.setattr(solver, "_gradient", lambda p, alpha, theta: -right(p, alpha, theta))
    assert verdicts(b02.CLAIM, context)[line] is Verdict.FAILS
