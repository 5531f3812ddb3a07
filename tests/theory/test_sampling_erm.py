"""Constrained empirical minimisers against cvxpy and against their optimality conditions."""

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.convex import solve
from theory.sampling import erm


def problems(seed, count, dim, shared, condition=10.0):
    rng = np.random.default_rng(seed)
    bases, _ = np.linalg.qr(rng.standard_normal((count, dim, dim)))
    eigenvalues = condition ** -rng.random((count, 1, dim))
    hessian = (bases * eigenvalues) @ np.swapaxes(bases, -1, -2)
    hessian = 0.5 * (hessian + np.swapaxes(hessian, -1, -2))
    return hessian[0] if shared else hessian, rng.standard_normal((count, dim))


def by_cvxpy(hessian, linear, radius):
    y = cp.Variable(len(linear))
    root = np.linalg.cholesky(hessian)
    objective = 0.5 * cp.sum_squares(root.T @ y) - linear @ y
    program = cp.Problem(cp.Minimize(objective), [cp.norm2(y) <= radius])
    solve(program, "the reference")
    return y.value


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("radius", [0.01, 0.7, 2.0, 100.0])
def test_minimisers_agree_with_cvxpy(shared, radius):
    hessian, linear = problems(3, 4, 3, shared)
    found = erm.minimize_on_ball(hessian, linear, radius)
    assert found.residual <= erm.RESIDUAL
    for i, q in enumerate(linear):
        reference = by_cvxpy(hessian if shared else hessian[i], q, radius)
        # the objective is flat at its minimum: points agree to the root of the solver's accuracy
        np.testing.assert_allclose(found.offset[i], reference, atol=2e-5 * max(radius, 1))


def test_isotropic_minimisers_are_clipped_radially():
    linear = np.array([[3.0, 4.0], [0.3, 0.4]])
    found = erm.minimize_on_ball(2 * np.eye(2), linear, 1.0)
    np.testing.assert_allclose(found.offset, [[0.6, 0.8], [0.15, 0.2]], rtol=1e-15)
    np.testing.assert_allclose(found.multiplier, [3.0, 0.0])


@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.booleans(),
    st.floats(1e-6, 1e6),
    st.floats(1, 1e6),
    st.floats(1e-6, 1e6),
)
def test_optimality_conditions_hold(seed, dim, shared, radius, condition, size):
    hessian, linear = problems(seed, 5, dim, shared, condition)
    found = erm.minimize_on_ball(hessian, size * linear, radius)
    y, nu = found.offset, found.multiplier
    assert np.all(np.linalg.norm(y, axis=-1) <= radius * (1 + 1e-10))
    assert np.all(nu >= 0)
    shifted = np.broadcast_to(hessian, (5, dim, dim)) + nu[:, None, None] * np.eye(dim)
    gradient = (shifted @ y[..., None])[..., 0] - size * linear
    assert np.max(np.linalg.norm(gradient, axis=-1)) <= 1e-9 * np.max(
        size * np.linalg.norm(linear, axis=-1)
    )
    inside = np.linalg.norm(y, axis=-1) < radius * (1 - 1e-9)
    assert np.all(nu[inside] == 0)


def test_no_constraint_gives_the_free_minimiser():
    hessian, linear = problems(0, 6, 3, shared=False)
    found = erm.minimize_on_ball(hessian, linear, np.inf)
    np.testing.assert_array_equal(found.offset, erm.free_minimizers(hessian, linear))
    np.testing.assert_allclose((hessian @ found.offset[..., None])[..., 0], linear, rtol=1e-10)


@pytest.mark.parametrize("factor", [1 + 1e-8, 0.99])
def test_a_wrong_minimiser_is_an_error(monkeypatch, factor):
    exact = erm._on_sphere

    def wrong(*args):
        offset, multiplier = exact(*args)
        return factor * offset, multiplier

    monkeypatch.setattr(erm, "_on_sphere", wrong)
    with pytest.raises(erm.ResidualError, match="violate the optimality conditions"):
        erm.minimize_on_ball(*problems(0, 6, 3, shared=False), 0.1)


def test_too_few_newton_steps_are_an_error(monkeypatch):
    monkeypatch.setattr(erm, "_NEWTON_STEPS", 2)
    with pytest.raises(erm.ResidualError):
        erm.minimize_on_ball(*problems(0, 6, 3, shared=False, condition=1e4), 0.1)
