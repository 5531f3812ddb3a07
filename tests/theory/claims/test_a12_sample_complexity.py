from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a12_sample_complexity as a12
from theory.judge import Verdict
from theory.sampling import table


def change_rows(monkeypatch, change):
    rows = a12.looseness_table
    monkeypatch.setattr(a12, "looseness_table", lambda c: tuple(change(r) for r in rows(c)))


def test_everything_holds_as_corrected(context):
    found = verdicts(a12.CLAIM, context)
    assert len(found) == 10
    assert set(found.values()) == {Verdict.CORRECTED}


def test_larger_complexities_falsify_the_theorem(context, monkeypatch):
    change_rows(monkeypatch, lambda r: replace(r, lower=10**12, upper=10**12))
    found = verdicts(a12.CLAIM, context)
    assert found["(13), exact"] is found["(13), sampled"] is Verdict.FAILS
    assert found["looseness"] is Verdict.FAILS


def test_only_the_lower_end_of_an_interval_falsifies(context, monkeypatch):
    change_rows(monkeypatch, lambda r: replace(r, upper=10**12))
    found = verdicts(a12.CLAIM, context)
    assert found["(13), sampled"] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("divisor", [1e4, 1e6])
def test_a_much_smaller_bound_fails(context, monkeypatch, divisor):
    theorem = table.sample_bounds.theorem_5_4
    monkeypatch.setattr(
        table.sample_bounds, "theorem_5_4", lambda *a, **k: theorem(*a, **k) / divisor
    )
    found = verdicts(a12.CLAIM, context)
    assert found["(13), exact"] is Verdict.FAILS
    assert found["looseness"] is Verdict.FAILS


def test_residuals_of_bad_minimisers_fail(context, monkeypatch):
    change_rows(monkeypatch, lambda r: replace(r, residual=1e-9))
    assert verdicts(a12.CLAIM, context)["residuals"] is Verdict.FAILS


def test_other_points_are_not_within_twice_the_deviation(context, monkeypatch):
    solve = a12.minimize_on_ball
    monkeypatch.setattr(a12, "minimize_on_ball", lambda h, q, r: solve(h, q + 100, r))
    assert verdicts(a12.CLAIM, context)["(18)–(20)"] is Verdict.FAILS


def test_half_the_deviation_is_too_little(context, monkeypatch):
    sup = a12.deviations
    monkeypatch.setattr(a12, "deviations", lambda *a: sup(*a) / 10)
    assert verdicts(a12.CLAIM, context)["(18)–(20)"] is Verdict.FAILS


def test_the_union_bound_needs_the_range(context, monkeypatch):
    constants = a12.SampledRisk.constants

    def smaller(self, radius):
        found = constants(self, radius)
        return replace(found, loss_range=found.loss_range / 40)

    monkeypatch.setattr(a12.SampledRisk, "constants", smaller)
    assert verdicts(a12.CLAIM, context)["(21)–(23)"] is Verdict.FAILS


def test_monotone_failures_need_no_for_all(context, monkeypatch):
    monkeypatch.setattr(a12, "line_failures", lambda e, n: np.minimum(1.0, 0.8 / n))
    monkeypatch.setattr(a12, "sign_noise_complexity", lambda *a: 8)
    assert verdicts(a12.CLAIM, context)["for all n"] is Verdict.FAILS


@pytest.mark.parametrize(("factor", "line"), [(1e-3, "|ℓ| ≤ B: not 8"), (10, "|ℓ| ≤ B: 32")])
def test_hoeffding_lines_can_fail(context, monkeypatch, factor, line):
    tail = a12.binom.sf
    monkeypatch.setattr(a12.binom, "sf", lambda *a: factor * tail(*a))
    assert verdicts(a12.CLAIM, context)[line] is Verdict.FAILS


def test_a_bound_linear_in_the_radius_gains_more(context, monkeypatch):
    def linear(dim, epsilon, _, *, loss_range, start_risk, **__):
        return 8 * dim * (loss_range / epsilon) ** 2 * start_risk / epsilon

    monkeypatch.setattr(a12.sample_bounds, "theorem_5_4", linear)
    assert verdicts(a12.CLAIM, context)["gain of θ_max"] is Verdict.FAILS


def test_deviations_are_the_maximum_over_a_fine_grid():
    risk = a12.TwoPoint((1.0, 0.5), (4.0, 3.0), (0.25, 0.4)).samples().mixture(np.array([0.3, 0.7]))
    counts = a12._all_counts(2, 5)
    found = a12.deviations(risk, 0.8, counts, 5)
    grid = np.linspace(-0.8, 0.8, 4_001)
    hessian, pull = risk.empirical(counts.astype(int), 5)
    level = counts / 5 @ risk.levels[1:] + risk.levels[0]
    empirical = 0.5 * hessian[:, :, 0] * grid**2 - pull * grid + level[:, None]
    exact = risk.minimum + risk.excess(grid[:, None])
    np.testing.assert_allclose(found, np.max(np.abs(empirical - exact), axis=-1), rtol=1e-5)
