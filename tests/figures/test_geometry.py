import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from figures import data, geometry
from figures.geometry import SHARPNESS, START, STEPS
from tests.figures.helpers import drawn, table
from theory.claims import Context

SERIES = [f"alpha = {alpha:g}" for alpha in SHARPNESS]


@pytest.fixture(scope="module")
def measured(saved):
    return data.load("geometry", saved)


def path(rows, series):
    chosen = rows.where(panel="path", series=series)
    return np.stack([chosen["x"], chosen["y"]], axis=-1), chosen


def risks(theta):
    """The three risks by hand."""
    problem = geometry.plane()
    offset = theta - problem.minimizers
    return 0.5 * np.einsum("ti,tij,tj->t", offset, problem.hessians, offset)


def test_nothing_is_random(measured):
    again = geometry.compute(Context(seed=7))
    assert all(np.array_equal(again[k], measured[k], equal_nan=True) for k in ("x", "upper"))


def test_optimum_is_the_minimax_point(measured):
    optimum = measured.where(panel="optimum")
    point = np.array([optimum["x"][0], optimum["y"][0]])
    assert np.ptp(risks(point)) < 1e-6  # all three tasks are equally bad there
    found = minimize(
        lambda v: v[2],
        [*START, 20.0],
        constraints={"type": "ineq", "fun": lambda v: v[2] - risks(v[:2])},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    assert found.fun == pytest.approx(optimum["upper"][0], rel=1e-6)
    assert 0 <= optimum["upper"][0] - optimum["lower"][0] < 1e-6
    weights = [optimum[f"weight_{task}"][0] for task in (1, 2, 3)]
    assert sum(weights) == pytest.approx(1)
    slopes = np.einsum("tij,tj->ti", geometry.plane().hessians, point - geometry.plane().minimizers)
    assert np.linalg.norm(weights @ slopes) < 1e-3  # the certificate balances the gradients


def test_contours_are_the_worst_risk(measured):
    rows = measured.where(panel="contours")
    for index in range(0, len(rows), 997):
        worst = np.max(risks(np.array([rows["x"][index], rows["y"][index]])))
        assert rows["upper"][index] == pytest.approx(worst, rel=1e-12)


@pytest.mark.parametrize("alpha", SHARPNESS)
def test_paths_follow_algorithm_1(measured, alpha):
    points, rows = path(measured, f"alpha = {alpha:g}")
    assert rows["step"].tolist() == list(range(STEPS + 1))
    np.testing.assert_array_equal(points[0], START)
    problem = geometry.plane()
    optimum = measured.where(panel="optimum")
    radius = math.hypot(START[0] - optimum["x"][0], START[1] - optimum["y"][0])
    size = radius / (float(problem.constants().lipschitz) * math.sqrt(STEPS))
    weights = np.stack([rows[f"weight_{task}"] for task in (1, 2, 3)], axis=-1)
    assert np.all(np.isnan(weights[-1]))
    for k in (0, 10, STEPS - 1):
        losses = risks(points[k])
        hard = (losses == losses.max()).astype(float)
        expected = hard if math.isinf(alpha) else softmax(alpha * losses)
        np.testing.assert_allclose(weights[k], expected, atol=1e-9)
        slopes = np.einsum("tij,tj->ti", problem.hessians, points[k] - problem.minimizers)
        step = points[k] - size * weights[k] @ slopes
        np.testing.assert_allclose(points[k + 1], step, atol=1e-12)


def test_soft_weights_settle_within_the_constant_and_hard_ones_jump(measured):
    constant = measured.parameters["sharp_constant"]
    gaps = [geometry.gap(measured, series) for series in SERIES]
    assert gaps == sorted(gaps, reverse=True)
    for alpha, gap in zip(SHARPNESS[:-1], gaps[:-1], strict=True):
        assert gap <= constant / alpha
    jumps = []
    for series in SERIES:
        _, rows = path(measured, series)
        late = rows["weight_3"][STEPS // 2 : STEPS]
        jumps.append(np.max(np.abs(np.diff(late))))
    assert max(jumps[:-1]) < 0.05
    assert jumps[-1] == 1


def test_average_and_mgda_stop_elsewhere(measured):
    problem = geometry.plane()
    points, _ = path(measured, "average")
    pull = np.einsum("tij,tj->i", problem.hessians, points[-1] - problem.minimizers)
    assert np.linalg.norm(pull) < 1e-2
    assert geometry.gap(measured, "average") > 0.3
    points, _ = path(measured, "MGDA")
    each = np.array([risks(point) for point in points])
    assert np.all(np.diff(each, axis=0) <= 1e-12)  # no task ever rises
    assert geometry.gap(measured, "MGDA") > 1


def test_title_says_what_the_numbers_say(measured):
    assert geometry.finding(measured).startswith("Sharper weights lead nearer")
    last = (measured["panel"] == "path") & (measured["step"] == STEPS)
    worse = last & (measured["series"] == SERIES[2])
    moved = {**measured.values, "upper": np.where(worse, 9.0, measured["upper"])}
    title = geometry.finding(dataclasses.replace(measured, values=moved))
    assert title.startswith("Not all sharper")
    better = last & (measured["series"] == "MGDA")
    moved = {**measured.values, "upper": np.where(better, 0.9, measured["upper"])}
    assert "come as near" in geometry.finding(dataclasses.replace(measured, values=moved))


def test_drawn_numbers_are_the_saved_ones(measured, saved):
    figure = geometry.draw(measured)
    rows = [row for row in table(saved, "geometry") if row["panel"] == "path"]
    plane, *strips = figure.axes
    for series in (*SERIES, "average", "MGDA"):
        expected = {float(r["x"]): float(r["y"]) for r in rows if r["series"] == series}
        assert expected in drawn(plane)
        assert expected in drawn(plane.child_axes[0])
    for axes, series in zip(strips, SERIES, strict=True):
        steps = [r for r in rows if r["series"] == series and r["weight_1"]]
        below = np.zeros(STEPS)
        for task, area in zip((1, 2, 3), axes.collections, strict=True):
            below = below + [float(r[f"weight_{task}"]) for r in steps]
            heights = area.get_paths()[0].vertices[:, 1]
            assert set(below.tolist()) <= set(heights.tolist())
