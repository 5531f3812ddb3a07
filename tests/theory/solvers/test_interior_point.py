import dataclasses
import itertools

import numpy as np
import pytest

from tests.theory.instances import RANDOM, points, simplex, single
from theory.problems import FAMILIES, Ball, DiagonalQuadratic, MaxLinear, jacobian
from theory.solvers import interior_point as module
from theory.solvers.interior_point import BOLD, CAUTIOUS, interior_point
from theory.solvers.second_order import BLOCK, blocks, magnitudes, second_order, task_gradients

SMOOTH = [name for name in RANDOM if name != "absolute"]
WITH_HESSIAN = ["Huber", "logistic", "quadratic", "duplicates"]


def instance(family, seed, tasks, dim):
    return FAMILIES[family](np.random.default_rng(seed), 1, tasks, dim)[0]


def iterates(problem, pace=BOLD):
    return interior_point(second_order(problem), problem.domain, problem.num_tasks, pace)


def until(gap, problem, pace=BOLD):
    """All iterates up to and including the first that claims this gap."""
    seen = []
    for each in iterates(problem, pace):
        seen.append(each)
        if each.gap <= gap:
            return seen
    pytest.fail(f"the last iterate claims a gap of {seen[-1].gap:.3g}")


def dense(model, theta, weights):
    found = model.curvature(theta, weights)
    assert found.ndim == (1 if model.diagonal else 2)
    return np.diag(found) if model.diagonal else found


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_those_of_the_problem(name):
    problem = single(name)
    model = second_order(problem)
    for theta in points(problem.domain, 4):
        rows = jacobian(problem, theta)
        np.testing.assert_allclose(model.losses(theta), problem.losses(theta), rtol=1e-13)
        np.testing.assert_allclose(model.gradients(theta, slice(1, 3)), rows[1:3], atol=1e-13)
        np.testing.assert_allclose(task_gradients(problem, theta), rows, atol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
def test_curvature_is_the_derivative_of_the_gradient(name):
    problem = single(name)
    theta = points(problem.domain, 4)[3]
    for weights in simplex(6, problem.num_tasks):
        steps = 1e-6 * np.eye(theta.size)
        rows = np.broadcast_to(weights, (theta.size, weights.size))
        ahead = problem.weighted_gradient(theta + steps, rows)
        behind = problem.weighted_gradient(theta - steps, rows)
        numeric = (ahead - behind) / 2e-6
        found = dense(second_order(problem), theta, weights)
        np.testing.assert_allclose(found, numeric, atol=1e-8 * max(1, np.abs(found).max()))


@pytest.mark.parametrize("name", WITH_HESSIAN)
def test_weighted_hessians_of_a_batch_are_those_of_its_instances(name):
    problem = FAMILIES[name](np.random.default_rng(3), 3, 4, 5)
    theta = np.random.default_rng(4).standard_normal((3, 5))
    weights = np.random.default_rng(5).dirichlet(np.ones(4), 3)
    together = problem.weighted_hessian(theta, weights)
    each = [problem[i].weighted_hessian(theta[i], weights[i]) for i in range(3)]
    assert together.shape == (3, 5, 5)
    np.testing.assert_allclose(together, each, rtol=1e-12, atol=1e-15)
    many = problem[0].weighted_hessian(theta, weights)  # one instance at several points
    one_by_one = [problem[0].weighted_hessian(theta[i], weights[i]) for i in range(3)]
    np.testing.assert_allclose(many, one_by_one, rtol=1e-12, atol=1e-15)


def test_a_cached_jacobian_follows_the_point():
    problem = single("logistic")
    model = second_order(problem)
    here, there = points(problem.domain, 4)[2:]
    for theta in (here, there, here):
        expected = jacobian(problem, theta)
        np.testing.assert_allclose(model.gradients(theta, slice(0, 4)), expected, atol=1e-14)


def test_problems_without_second_derivatives_have_no_model():
    assert second_order(single("absolute")) is None
    assert second_order(single("Drori-Teboulle")) is None


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_cover_every_task_once(count):
    covered = [n for block in blocks(count) for n in range(count)[block]]
    assert covered == list(range(count))
    assert all(block.stop <= count for block in blocks(count))


@pytest.mark.parametrize("name", [*RANDOM, "appendix C", "two slopes", "Drori-Teboulle"])
def test_magnitudes_bound_the_losses_on_the_ball(name):
    problem = single(name)
    assert magnitudes(problem).shape == (problem.num_tasks,)
    losses = problem.losses(points(problem.domain, 200))
    assert np.all(np.abs(losses) <= magnitudes(problem) * (1 + 1e-12))


def test_magnitudes_of_linear_tasks_see_terms_that_cancel():
    problem = MaxLinear(Ball.of([1e6], 1.0), np.ones((1, 1)), np.array([-1e6]))
    assert np.max(np.abs(problem.losses(problem.domain.center))) == 0
    assert magnitudes(problem)[0] == pytest.approx(2e6, rel=1e-5)


@pytest.mark.parametrize("pace", [BOLD, CAUTIOUS], ids=["bold", "cautious"])
@pytest.mark.parametrize("family", ["max-linear", "quadratic", "logistic", "ill-conditioned"])
def test_iterates_stay_inside_and_their_gap_falls(family, pace):
    problem = instance(family, 1, 12, 5)
    seen = until(1e-7, problem, pace)
    assert 4 < len(seen) < (25 if pace is BOLD else 80)
    for each in seen:
        offset = np.linalg.norm(each.point - problem.domain.center)
        assert offset < problem.domain.radius
        assert np.all(each.weights > 0)
        assert np.sum(each.weights) == pytest.approx(1.0, rel=1e-14)
    assert seen[0].gap > 0.1


def test_the_optimum_satisfies_the_first_order_conditions():
    problem = instance("ill-conditioned", 5, 9, 4)
    last = until(1e-9, problem)[-1]
    losses = problem.losses(last.point)
    slope = problem.weighted_gradient(last.point, last.weights)
    offset = last.point - problem.domain.center
    active = last.weights > 1e-4
    np.testing.assert_allclose(losses[active], np.max(losses), atol=1e-6)
    tangential = slope - offset * (slope @ offset) / (offset @ offset)
    assert np.linalg.norm(tangential) < 1e-6


def test_the_newton_direction_solves_the_whole_system():
    problem = instance("quadratic", 2, 6, 4)
    unit = module._UnitBall(second_order(problem), problem.domain, 6)
    state = module._start(unit)
    for _ in range(2):
        state = module._advance(unit, state, BOLD)
    state = dataclasses.replace(state, multipliers=1.1 * state.multipliers)  # no longer of sum 1
    target, bend = np.linspace(1e-3, 2e-3, 7), np.linspace(0, 1e-3, 7)
    step = module._newton(unit, state, BOLD).direction(target, bend)
    theta, z, y = unit.theta(state.x), state.slacks, state.multipliers
    rows = unit.slope_unit * jacobian(problem, theta)
    hessian = problem.weighted_hessian(theta, y[:-1]) * unit.radius * unit.slope_unit
    stationarity = rows.T @ y[:-1] + y[-1] * state.x
    change = (hessian + y[-1] * np.eye(4)) @ step.x + rows.T @ step.multipliers[:-1]
    np.testing.assert_allclose(change + state.x * step.multipliers[-1], -stationarity, atol=1e-11)
    assert np.sum(y[:-1] + step.multipliers[:-1]) == pytest.approx(1, abs=1e-11)
    np.testing.assert_allclose(step.slacks[:-1], step.level - rows @ step.x - bend[:-1], atol=1e-12)
    assert step.slacks[-1] == pytest.approx(-state.x @ step.x - bend[-1], abs=1e-13)
    np.testing.assert_allclose(y * z + z * step.multipliers + y * step.slacks, target, atol=1e-12)


def test_slacks_are_those_of_the_constraints_after_every_step():
    problem = instance("logistic", 3, 5, 3)
    unit = module._UnitBall(second_order(problem), problem.domain, 5)
    state = module._start(unit)
    for _ in range(4):
        levels = state.level * unit.unit - problem.losses(unit.theta(state.x))
        np.testing.assert_allclose(unit.unit * state.slacks[:-1], levels, rtol=1e-10)
        ball = problem.domain.radius**2 - np.sum((unit.theta(state.x) - problem.domain.center) ** 2)
        assert state.slacks[-1] == pytest.approx(ball / (2 * problem.domain.radius**2), rel=1e-10)
        assert np.sum(state.multipliers[:-1]) == pytest.approx(1, abs=1e-12)
        state = module._advance(unit, state, BOLD)


def test_a_failed_factorisation_ends_the_iterates(monkeypatch):
    monkeypatch.setattr(module, "factorise", lambda *_: None)
    assert len(list(iterates(single("max-linear")))) == 1


def test_a_problem_that_is_flat_at_the_centre_starts_all_the_same():
    zeros = np.zeros((2, 3))
    problem = DiagonalQuadratic(Ball.of(np.zeros(3), 1.0), zeros + 1.0, zeros)
    seen = list(itertools.islice(iterates(problem), 12))
    assert seen[-1].gap < 1e-6
    assert np.all(np.isfinite(seen[-1].point))
