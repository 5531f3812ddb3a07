import math
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.claims.helpers import verdicts
from theory.claims import a09_standing_assumptions as a09
from theory.judge import Verdict

MISPRINTS = {"note 4, L'", "note 4, B", "note 4, (13)", "Lipschitz, R^d", "bounded, R^d"}


def test_misprints_are_refuted_and_the_rest_holds(context):
    found = verdicts(a09.CLAIM, context)
    assert {name for name, v in found.items() if v is Verdict.REFUTED} == MISPRINTS
    assert found.pop("f_λ*, vertex") is Verdict.HOLDS
    assert {v for name, v in found.items() if name not in MISPRINTS} == {Verdict.CORRECTED}


def test_linear_noise_spoils_recovery_from_one_sample(context, monkeypatch):
    """Samples with mean-zero linear noise: the expectation is as before, no sample is."""
    rng, exact = np.random.default_rng(0), a09._empirical_minimizer

    def noisy(hessians, minimizers, mixture):
        found = exact(hessians, minimizers, mixture)
        noise = 1e-3 * rng.standard_normal(found.shape)
        total = np.einsum("t,...tij->...ij", mixture, np.mean(hessians, axis=-3))
        return found - np.linalg.solve(total, noise[..., None])[..., 0]

    monkeypatch.setattr(a09, "_empirical_minimizer", noisy)
    assert verdicts(a09.CLAIM, context)["vertex"] is Verdict.FAILS


def test_samples_without_noise_recover_mixtures_too(context, monkeypatch):
    monkeypatch.setattr(
        a09, "_sample_hessians", lambda _, n, d: np.broadcast_to(np.eye(d), (*n, d, d))
    )
    assert verdicts(a09.CLAIM, context)["interior λ"] is Verdict.FAILS


def test_a_common_sample_refutes_nothing(context, monkeypatch):
    monkeypatch.setattr(a09, "RARE", 0.5)
    assert verdicts(a09.CLAIM, context)["note 4, (13)"] is Verdict.NOT_REFUTED


def test_a_certain_sample_is_its_own_expectation(context, monkeypatch):
    monkeypatch.setattr(a09, "RARE", 1.0)
    found = verdicts(a09.CLAIM, context)
    for line in ("note 4, L'", "note 4, B", "note 4, (13)"):
        assert found[line] is Verdict.NOT_REFUTED


def test_a_bound_without_the_samples_constants_fails(context, monkeypatch):
    monkeypatch.setattr(a09.sample_bounds, "theorem_5_4", lambda *_, **__: 1_547)
    assert verdicts(a09.CLAIM, context)["sample B, L'"] is Verdict.FAILS


def test_a_larger_spread_is_not_below_the_minimum(context, monkeypatch):
    spread = a09._squared_distances
    monkeypatch.setattr(a09, "_squared_distances", lambda *a: 20 * spread(*a))
    assert verdicts(a09.CLAIM, context)["f_λ* > 0"] is Verdict.FAILS


@pytest.mark.parametrize("line", ["f_λ* > 0", "f_λ*, vertex", "radius of (11)"])
def test_negative_minima_fail(context, monkeypatch, line):
    certify = a09.certify

    def lower(problem, mixture):
        best = certify(problem, mixture)
        return replace(best, lower=best.lower - 10, upper=best.upper - 10)

    monkeypatch.setattr(a09, "certify", lower)
    assert verdicts(a09.CLAIM, context)[line] is Verdict.FAILS


def test_bounded_gradients_and_risks_would_refute_nothing(context, monkeypatch):
    monkeypatch.setattr(a09, "_largest", lambda p, x: (np.zeros(x.shape[:-1]),) * 2)
    found = verdicts(a09.CLAIM, context)
    assert found["Lipschitz, R^d"] is found["bounded, R^d"] is Verdict.NOT_REFUTED


def test_too_small_constants_fail_on_the_ball(context, monkeypatch):
    jacobian = a09.jacobian
    monkeypatch.setattr(a09, "jacobian", lambda p, x: 2 * jacobian(p, x))
    assert verdicts(a09.CLAIM, context)["on a ball"] is Verdict.FAILS


@pytest.mark.parametrize(("samples", "rare"), [(1, 0.3), (7, 0.3), (40, 0.1), (200, 0.05)])
def test_failure_probability_agrees_with_enumeration(samples, rare):
    total = 0.0
    for ones in range(samples + 1):
        ratio = ones / (samples * rare)
        if 0.5 * (ratio / (1 + ratio) - 0.5) ** 2 >= a09.EPSILON:
            total += math.comb(samples, ones) * rare**ones * (1 - rare) ** (samples - ones)
    assert a09._failure_probability(samples, rare) == pytest.approx(total, rel=1e-10)


def test_empirical_minimizer_has_no_gradient():
    rng = np.random.default_rng(0)
    hessians, targets = a09._sample_hessians(rng, (2, 3), 4), rng.standard_normal((2, 4))
    mixture = np.array([0.3, 0.7])
    found = a09._empirical_minimizer(hessians, targets, mixture)
    gradient = np.einsum("t,tnij,tj->i", mixture, hessians, found - targets)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_sampled_hessians_have_the_stated_eigenvalues_and_mean():
    hessians = a09._sample_hessians(np.random.default_rng(0), (20_000,), 3)
    values = np.linalg.eigvalsh(hessians)
    assert np.min(values) >= 0.2 - 1e-12
    assert np.max(values) <= 1 + 1e-12
    np.testing.assert_allclose(np.mean(hessians, axis=0), (0.2 + 0.8 / 3) * np.eye(3), atol=5e-3)


def test_the_witness_satisfies_every_assumption_in_expectation():
    constants = a09._witness(1.0).constants()
    assert constants.strong_convexity == constants.smoothness == 1
    assert constants.lipschitz == pytest.approx(1)
    assert constants.loss_bound == pytest.approx(0.5)
    mean = (1 - a09.RARE) * a09._witness(0.0).losses(np.array([0.3]))
    mean += a09.RARE * a09._witness(1 / a09.RARE).losses(np.array([0.3]))
    np.testing.assert_allclose(mean, a09._witness(1.0).losses(np.array([0.3])), rtol=1e-12)
