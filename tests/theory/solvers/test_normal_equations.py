import numpy as np
import pytest

from theory.solvers import normal_equations as module
from theory.solvers.normal_equations import factorise


def system(rows, dim, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 2.0, dim), rng.standard_normal((rows, dim)), rng.standard_normal(dim)


@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (1, 9), (4, 9), (5, 9), (9, 9), (30, 4)])
@pytest.mark.parametrize("matrix", [False, True], ids=["diagonal", "matrix"])
def test_solves_the_system(rows, dim, matrix):
    curvature, scaled, right = system(rows, dim)
    whole = np.diag(curvature) + scaled.T @ scaled
    given = np.diag(curvature).copy() if matrix else curvature.copy()
    blocks = [scaled[:2].copy(), scaled[2:].copy()]
    factors = factorise(given, (block for block in blocks if len(block)), rows, 1.0)
    assert isinstance(factors, module._Woodbury) == (not matrix and 2 * rows <= dim)
    np.testing.assert_allclose(factors.solve(right), np.linalg.solve(whole, right), rtol=1e-11)


def test_few_rows_keep_their_accuracy_where_they_outweigh_the_curvature():
    curvature, scaled, right = system(3, 12)
    heavy = scaled * np.array([[1e5], [1.0], [1e-3]])
    whole = np.diag(1e-3 * curvature) + heavy.T @ heavy
    found = factorise(1e-3 * curvature, iter([heavy.copy()]), 3, 1.0).solve(right)
    # along the heavy row the solution is 1e13 times smaller than across it
    small = np.abs(heavy[0] @ found)
    assert small < 1e-4 * np.linalg.norm(heavy[0]) * np.linalg.norm(found)
    residual = np.linalg.norm(whole @ found - right)
    assert residual < 1e-15 * np.linalg.norm(whole, 2) * np.linalg.norm(found)


def test_one_buffer_may_serve_all_blocks():
    curvature, scaled, right = system(6, 3)
    buffer = np.empty((2, 3))

    def rows():
        for start in (0, 2, 4):
            buffer[:] = scaled[start : start + 2]
            yield buffer

    expected = np.linalg.solve(np.diag(curvature) + scaled.T @ scaled, right)
    np.testing.assert_allclose(factorise(curvature, rows(), 6, 1.0).solve(right), expected)


@pytest.mark.parametrize("curvature", [-np.ones(3), np.zeros(3), np.array([1.0, np.nan, 1.0])])
def test_a_matrix_that_is_not_positive_definite_has_no_factorisation(curvature):
    assert factorise(curvature, iter([np.zeros((1, 3))]), 1, 1.0) is None
    assert factorise(np.diag(curvature).copy(), iter([np.zeros((1, 3))]), 1, 1.0) is None


def test_a_flat_diagonal_with_few_rows_is_not_inverted():
    curvature = np.array([1.0, 1.0, 1.0, 0.0])  # Woodbury's formula would divide by the zero
    row = np.array([[0.0, 0.0, 0.0, 2.0]])
    found = factorise(curvature, iter([row]), 1, 1.0).solve(np.arange(1.0, 5.0))
    np.testing.assert_allclose(found, [1, 2, 3, 1], rtol=1e-12)
