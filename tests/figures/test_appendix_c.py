import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from figures import appendix_c
from tests.figures.helpers import curves, drawn, table


def worst(theta, steepness):
    """F by hand."""
    return max(steepness * (theta - 1) ** 2, theta**2)


def minimax(steepness):
    """F* by a search that shares nothing with the code under test."""
    options = {"xatol": 1e-12}
    found = minimize_scalar(
        worst, bounds=(0, 1), args=(steepness,), method="bounded", options=options
    )
    return found.x, found.fun


def point(data, series):
    row = data.where(panel="losses", series=series)
    return float(row["x"][0]), float(row["lower"][0]), float(row["upper"][0])


def test_the_three_points(appendix_data):
    theta, lower, upper = point(appendix_data, "minimax")
    assert theta == pytest.approx(minimax(9.0)[0], abs=1e-6)
    assert lower <= 9 / 16 <= upper
    assert upper - lower < 1e-8
    theta, lower, upper = point(appendix_data, "average")
    assert theta == pytest.approx(0.5, abs=1e-5)
    assert lower <= worst(0.5, 9.0) <= upper
    theta, lower, upper = point(appendix_data, "printed")
    assert (theta, lower, upper) == (1.5, worst(1.5, 9.0), worst(1.5, 9.0))


def test_losses_are_those_of_the_instance(appendix_data):
    rows = appendix_data.where(panel="losses")
    theta = rows.where(series="max")["x"]
    assert (theta[0], theta[-1]) == (0.0, 1.6)
    np.testing.assert_allclose(
        rows.where(series="steep task")["upper"], 9 * (theta - 1) ** 2, atol=1e-12
    )
    np.testing.assert_allclose(rows.where(series="flat task")["upper"], theta**2, atol=1e-12)
    np.testing.assert_allclose(
        rows.where(series="max")["upper"], [worst(x, 9.0) for x in theta], atol=1e-12
    )


def test_risks_contain_the_truth_and_tie_at_ten_tasks(appendix_data):
    rows = appendix_data.where(panel="risk")
    for tasks in np.unique(rows["x"]):
        at = {key: rows.where(series=key, x=tasks) for key in ("average", "minimax", "printed")}
        average, best, printed = (at[key] for key in at)
        assert average["lower"][0] <= worst(0.5, tasks - 1) <= average["upper"][0]
        assert best["upper"][0] == pytest.approx(minimax(tasks - 1)[1], rel=1e-6)
        difference = printed["upper"][0] - average["lower"][0]
        if tasks == 10:
            assert difference == pytest.approx(0, abs=1e-4)
        else:
            assert (difference > 0) == (tasks < 10)


def test_measured_ratios_contain_the_corrected_formulas(appendix_data):
    rows = appendix_data.where(panel="ratio")
    for series, formula in (
        ("A = T - 1", lambda t: (math.sqrt(t - 1) + 1) ** 2 / 4),
        ("best A", lambda t: (math.sqrt(t) + 1) ** 2 / 4),
        ("absolute", lambda t: 0.99 * (t - 1) + 1),
    ):
        measured = rows.where(series=series)
        for tasks, low, high in zip(
            measured["x"], measured["lower"], measured["upper"], strict=True
        ):
            assert low <= formula(tasks) <= high
            assert high - low < 1e-3 * high


def test_formulas_are_in_the_order_the_figure_claims(appendix_data):
    rows = appendix_data.where(panel="ratio")
    names = ("printed lower bound", "exact, A = T - 1", "exact, best A", "limit T")
    values = [rows.where(series=name)["upper"] for name in names]
    for smaller, larger in itertools.pairwise(values):
        assert np.all(smaller < larger)


def test_a_wrong_formula_is_seen_outside_the_measured_interval(appendix_data):
    rows = appendix_data.where(panel="ratio", series="A = T - 1")
    printed = np.array([appendix_c.FORMULAS["printed lower bound"](t) for t in rows["x"]])
    assert np.all(printed < rows["lower"])


def test_drawn_numbers_are_the_saved_ones(appendix_data, saved):
    figure = appendix_c.draw(appendix_data)
    rows = table(saved, "appendix_c")
    left, middle, right = figure.axes
    losses = curves(rows, "losses", "x", "upper")
    for series in losses:
        assert losses[series] in drawn(left)
    risks = curves(rows, "risk", "x", "upper")
    assert drawn(middle)[1:] == [risks[key] for key in ("average", "minimax", "printed")]
    ratios = curves(rows, "ratio", "x", "upper")
    assert len(ratios) == len(drawn(right)) == 7
    for series in ratios:
        assert ratios[series] in drawn(right)
