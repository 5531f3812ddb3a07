"""Sample laws against their own samples, drawn and enumerated one by one."""

from itertools import product

import numpy as np
import pytest

from theory.sampling import families
from theory.sampling.asymptote import asymptotic_quantile
from theory.sampling.laws import TaskSamples
from theory.sampling.mixtures import candidates, hardest_mixture, hardness
from theory.sampling.points import expected_tasks

RNG = np.random.default_rng(7)
CENTERS = RNG.standard_normal((2, 3))
LOW = np.stack([np.diag([0.5, 1.0, 2.0]), np.array([[1, 0.3, 0], [0.3, 1, 0], [0, 0, 2.0]])])
WEIGHTS = np.array([0.3, 0.7])


def shifted(theta, bits):
    noise = (2 * np.array(bits) - 1) / np.sqrt(3)
    return 0.5 * np.sum((theta - CENTERS - noise) ** 2, axis=-1)


def linear(theta, bits):
    noise = -(2 * np.array(bits) - 1) / np.sqrt(3)
    offset = theta - CENTERS
    return 0.5 * np.einsum("ti,tij,tj->t", offset, LOW, offset) + offset @ noise


def multiplicative(theta, bits):
    offset = theta - CENTERS
    scale = 1 + 3 * np.array(bits)
    return 0.5 * scale * np.einsum("ti,tij,tj->t", offset, LOW, offset)


FAMILIES = {
    "shifted": (families.shifted_additive(CENTERS), shifted),
    "linear": (families.linear_noise(LOW, CENTERS), linear),
    "multiplicative": (
        families.multiplicative(LOW, 4 * LOW, np.array([0.25, 0.1]), CENTERS),
        multiplicative,
    ),
}
every_family = pytest.mark.parametrize(("samples", "loss"), FAMILIES.values(), ids=list(FAMILIES))


def patterns(samples):
    """All bit patterns with their probabilities."""
    for bits in product((0, 1), repeat=len(samples.probabilities)):
        yield bits, np.prod(np.where(bits, samples.probabilities, 1 - samples.probabilities))


@every_family
def test_risks_are_the_means_of_the_samples(samples, loss):
    theta = np.array([0.3, -1.0, 0.5])
    mean = sum(p * loss(theta, bits) for bits, p in patterns(samples))
    np.testing.assert_allclose(samples.risks(theta), mean, rtol=1e-12)
    risk = samples.mixture(WEIGHTS)
    excess = risk.excess(theta - risk.minimizer)
    assert risk.minimum + excess == pytest.approx(WEIGHTS @ mean, rel=1e-12)
    assert excess > 0


@every_family
def test_empirical_risk_is_the_mean_over_the_drawn_samples(samples, loss):
    risk = samples.mixture(WEIGHTS)
    drawn = [bits for bits, _ in patterns(samples)][1:6]
    hessian, pull = risk.empirical(np.sum(drawn, axis=0)[None], len(drawn))

    def mean(offset):
        return np.mean([WEIGHTS @ loss(risk.minimizer + offset, bits) for bits in drawn])

    for offset in RNG.standard_normal((5, 3)):
        quadratic = 0.5 * offset @ hessian.reshape(3, 3) @ offset - pull[0] @ offset
        assert mean(offset) - mean(np.zeros(3)) == pytest.approx(quadratic, rel=1e-11)


@every_family
def test_gradient_noise_is_the_covariance_at_the_minimiser(samples, loss):
    risk = samples.mixture(WEIGHTS)
    covariance, steepest, step = np.zeros((3, 3)), 0.0, 1e-5
    for bits, p in patterns(samples):
        ends = [
            [WEIGHTS @ loss(risk.minimizer + s * step * e, bits) for s in (1, -1)]
            for e in np.eye(3)
        ]
        gradient = -np.diff(ends, axis=-1)[:, 0] / (2 * step)
        covariance += p * np.outer(gradient, gradient)
        steepest = max(steepest, np.linalg.norm(gradient))
    np.testing.assert_allclose(risk.gradient_noise, covariance, atol=1e-8)
    assert risk.steepest_at_minimizer() == pytest.approx(steepest, rel=1e-7)
    assert risk._longest_pull() >= steepest - 1e-7


@every_family
@pytest.mark.parametrize("radius", [0.05, 1.0, 4.0])
def test_constants_hold_and_are_attained_on_the_ball(samples, loss, radius):
    risk = samples.mixture(WEIGHTS)
    constants = risk.constants(radius)
    offsets = RNG.standard_normal((6_000, 3))
    offsets /= np.linalg.norm(offsets, axis=-1, keepdims=True)
    offsets *= radius * RNG.choice([1.0, 1.0, 0.5, 0.1, 0.0], (len(offsets), 1))
    values, slopes = [], []
    for bits, _ in patterns(samples):
        z = np.concatenate([[1.0], bits])
        hessian, pull = np.tensordot(z, risk.hessian, 1), z @ risk.pulls
        level = WEIGHTS @ loss(risk.minimizer, bits)
        values.append(level + 0.5 * np.sum((offsets @ hessian) * offsets, -1) - offsets @ pull)
        slopes.append(np.linalg.norm(offsets @ hessian - pull, axis=-1))
    spread = np.max(values) - np.min(values)
    assert 0.95 * constants.loss_range <= spread <= constants.loss_range * (1 + 1e-12)
    steepest = np.max(slopes)
    assert 0.97 * constants.lipschitz <= steepest <= constants.lipschitz * (1 + 1e-12)
    assert np.max(values) <= constants.loss_bound * (1 + 1e-12)


def test_many_bits_are_bounded_rather_than_enumerated():
    risk = families.shifted_additive(np.zeros((1, 12))).mixture(np.ones(1))
    few = families.shifted_additive(np.zeros((1, 2))).mixture(np.ones(1))
    for radius in (0.3, 2.0):
        bounded, exact = risk.constants(radius), few.constants(radius)
        assert bounded.lipschitz == pytest.approx(exact.lipschitz)  # both R + 1
        assert bounded.loss_range == pytest.approx(exact.loss_range)
        same = few._bounded_constants(radius)
        assert same.loss_range >= exact.loss_range * (1 - 1e-12)
    wide = families.random_multiplicative(np.random.default_rng(0), 11, 2)
    with pytest.raises(ValueError, match="at most 10 bits; found 11"):
        wide.mixture(np.full(11, 1 / 11)).constants(1.0)


def test_vertices_of_multiplicative_samples_have_no_noise():
    samples = families.random_multiplicative(np.random.default_rng(1), 3, 4)
    risk = samples.mixture(np.eye(3)[1])
    assert not np.any(risk.gradient_noise)
    assert risk.minimum == pytest.approx(0, abs=1e-12)
    assert asymptotic_quantile(risk, 0.05, np.random.default_rng(0)) == 0
    mean = samples.mixture(np.array([0.2, 0.3, 0.5]))
    theta = RNG.standard_normal(4)
    expected = expected_tasks(samples).losses(theta)
    np.testing.assert_allclose(samples.risks(theta), expected, rtol=1e-10)
    assert samples.modulus <= mean.sample_modulus() <= mean.smoothness


def test_asymptotic_quantile_of_unequal_weights():
    risk = families.linear_noise(np.diag([0.2, 1.0])[None], np.zeros((1, 2))).mixture(np.ones(1))
    found = asymptotic_quantile(risk, 0.05, np.random.default_rng(0))
    draws = np.random.default_rng(1).standard_normal((400_000, 2)) ** 2 @ [1.25, 0.25]
    assert np.mean(draws >= found) == pytest.approx(0.05, abs=0.003)
    same = families.shifted_additive(np.zeros((1, 2))).mixture(np.ones(1))
    assert asymptotic_quantile(same, 0.05, None) == pytest.approx(-np.log(0.05) / 2)


def test_candidates_are_on_the_simplex_and_the_hardest_is_no_easier():
    samples = families.random_multiplicative(np.random.default_rng(2), 3, 3)
    family = candidates(np.random.default_rng(0), 3)
    assert np.all(family >= 0)
    np.testing.assert_allclose(np.sum(family, axis=-1), 1)
    for row in [*np.eye(3), [0.5, 0.5, 0], np.full(3, 1 / 3)]:
        assert np.any(np.all(np.isclose(family, row), axis=-1))
    found = hardest_mixture(samples, np.random.default_rng(0), 50)
    grid = np.random.default_rng(3).dirichlet(np.ones(3), 300)
    best = max(hardness(samples.mixture(w)) for w in grid)
    assert hardness(samples.mixture(found)) >= 0.99 * best


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.array([1.0])}, r"inside \(0, 1\)"),
        ({"modulus": 0.0}, "should be positive"),
    ],
)
def test_degenerate_laws_are_rejected(change, message):
    good = {
        "name": "x",
        "probabilities": np.array([0.5]),
        "hessian": np.ones((1, 2, 1, 1)),
        "linear": np.zeros((1, 2, 1)),
        "constant": np.zeros((1, 2)),
        "modulus": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        TaskSamples(**{**good, **change})
