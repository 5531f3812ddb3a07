from dataclasses import replace

import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import b05_fast_rates as b05
from theory.judge import Verdict


def test_the_rate_of_13_is_refuted_and_the_rest_holds(context):
    found = verdicts(b05.CLAIM, context)
    assert found.pop("rate of (13)") is Verdict.REFUTED
    assert len(found) == 9
    assert set(found.values()) == {Verdict.CORRECTED}


@pytest.mark.parametrize("line", ["(i)", "(ii) variance", "(ii) tails", "(ii) any start"])
def test_larger_complexities_fail(context, monkeypatch, line):
    rows = b05.looseness_table
    monkeypatch.setattr(
        b05, "looseness_table", lambda c: [replace(r, lower=10**9, upper=10**9) for r in rows(c)]
    )
    assert verdicts(b05.CLAIM, context)[line] is Verdict.FAILS


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("localised_samples", "(i)"),
        ("noise_moment_samples", "(ii) variance"),
        ("noise_tail_samples", "(ii) tails"),
        ("interpolating_samples", "(ii) any start"),
    ],
)
def test_bounds_far_below_fail(context, monkeypatch, name, line):
    bound = getattr(b05.sample_bounds, name)
    monkeypatch.setattr(b05.sample_bounds, name, lambda *a, **k: bound(*a, **k) / 1e6)
    assert verdicts(b05.CLAIM, context)[line] is Verdict.FAILS


def test_variance_without_the_floor_of_one_sample_fails_at_a_vertex(context, monkeypatch):
    """Chebyshev's bound is 0 there, but the risk of no samples has no single minimiser."""
    moment = b05.Row.moment
    monkeypatch.setattr(b05.Row, "moment", lambda r: moment(r) if r.noise else 0.0)
    assert verdicts(b05.CLAIM, context)["(ii) variance"] is Verdict.FAILS


def test_half_the_smoothness_does_not_bound_the_variance(context, monkeypatch):
    smoothness = b05._sample_smoothness
    monkeypatch.setattr(b05, "_sample_smoothness", lambda s: smoothness(s) / 20)
    assert verdicts(b05.CLAIM, context)["σ_λ²"] is Verdict.FAILS


def test_a_smaller_minimax_risk_is_exceeded(context, monkeypatch):
    certify = b05.certify

    def half(problem):
        best = certify(problem)
        return replace(best, upper=best.upper / 2)

    monkeypatch.setattr(b05, "certify", half)
    assert verdicts(b05.CLAIM, context)["f_λ* ≤ F*"] is Verdict.FAILS


@pytest.mark.parametrize("power", [0.5, 2])
def test_other_rates_fail(context, monkeypatch, power):
    monkeypatch.setattr(
        b05, "sign_noise_complexity", lambda d, epsilon, delta: round(60 * float(epsilon) ** -power)
    )
    found = verdicts(b05.CLAIM, context)
    assert found["rate"] is Verdict.FAILS
    assert found["(iii) above" if power == 2 else "(iii) below"] is Verdict.FAILS


def test_a_cubic_rate_would_not_refute(context, monkeypatch):
    monkeypatch.setattr(b05, "sign_noise_complexity", lambda d, epsilon, delta: int(epsilon**-3))
    assert verdicts(b05.CLAIM, context)["rate of (13)"] is Verdict.NOT_REFUTED


@pytest.mark.parametrize(("factor", "line"), [(1.15, "(iii) above"), (0.85, "(iii) below")])
def test_fifteen_percent_off_the_asymptote_fails(context, monkeypatch, factor, line):
    exact = b05.sign_noise_complexity
    monkeypatch.setattr(b05, "sign_noise_complexity", lambda *a: round(factor * exact(*a)))
    assert verdicts(b05.CLAIM, context)[line] is Verdict.FAILS
