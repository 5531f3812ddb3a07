import dataclasses
import math

import numpy as np
import pytest
from scipy.special import lambertw

from figures import data, smoothing
from figures.smoothing_measured import BATCHES, FAMILY, SHOWN
from tests.figures.conftest import TINY
from tests.figures.helpers import curves, drawn, table

STEPS = 100
INSTANCES = ("one opposed", "copies", FAMILY)


def constant(tasks):
    return float(lambertw((tasks - 1) / math.e).real)


@pytest.fixture(scope="module")
def measured(saved):
    return data.load("smoothing", saved)


def test_the_largest_number_of_steps_within_the_limit_is_taken(measured):
    assert measured.parameters["steps"] == STEPS


def test_gaps_with_exact_losses_keep_the_bound(measured):
    rows = measured.where(panel="exact")
    for series in (*INSTANCES, *SHOWN):
        chosen = rows.where(series=series)
        expected = 1 / math.sqrt(STEPS) + constant(TINY.tasks) / chosen["x"]  # by hand
        np.testing.assert_allclose(chosen["bound"], expected, rtol=1e-12)
        assert np.all(chosen["upper"] <= chosen["bound"] * (1 + 1e-9))
        assert np.all(chosen["lower"] <= chosen["upper"])


def test_both_terms_and_their_sum_are_attained(measured):
    rows = measured.where(panel="exact")
    copies = rows.where(series="copies")
    np.testing.assert_allclose(copies["upper"], 1 / math.sqrt(STEPS), rtol=1e-9)
    opposed = rows.where(series="one opposed")
    small = opposed["x"] < 0.1 * math.sqrt(STEPS)
    share = opposed["upper"][small] / (constant(TINY.tasks) / opposed["x"][small])
    assert np.max(share) > 0.9
    angled = rows.where(series="angled")
    assert angled["x"][0] == pytest.approx(math.sqrt(STEPS) * constant(9))
    assert angled["bound"][0] == pytest.approx(2 / math.sqrt(STEPS))
    assert 0.9 < angled["upper"][0] / angled["bound"][0] <= 1


def test_sharpness_of_the_schedules(measured):
    rows = measured.where(panel="schedules")
    k = rows.where(series="sharpened")["x"]
    tasks = TINY.tasks
    for series, expected in (
        ("sharpened", 2 * np.sqrt(k) * constant(tasks)),
        ("log T", 2 * np.sqrt(k) * math.log(tasks)),
        ("constant", np.full(k.size, math.sqrt(STEPS) * constant(tasks))),
    ):
        np.testing.assert_allclose(rows.where(series=series)["upper"], expected, rtol=1e-12)
    unit = rows.where(series="alpha = 1")["upper"]
    assert np.ptp(unit) == 0
    means = measured.where(panel="exact", series="sharpened")["x"]
    harmonic = 2 * constant(tasks) / np.mean(1 / np.sqrt(np.arange(1, STEPS + 1)))
    np.testing.assert_allclose(means, harmonic, rtol=1e-12)


def test_minibatches_keep_their_bound_and_leave_a_floor(measured):
    rows = measured.where(panel="minibatch", series="measured")
    assert np.all(rows["upper"] <= rows["bound"])
    exact = 1 / math.sqrt(STEPS)  # descent part, R0 L' = 1
    for size in BATCHES:
        chosen = rows.where(batch=size)
        alpha = chosen["x"]
        noise = np.minimum(alpha / (2 * size), math.sqrt(2 * math.log(2) / size))
        np.testing.assert_allclose(chosen["bound"], exact + math.log(2) / alpha + noise, rtol=1e-6)
    single = rows.where(batch=1)
    assert np.min(single["lower"]) > 2 * exact
    assert np.min(rows.where(batch=BATCHES[-1])["upper"]) < np.min(single["lower"]) / 3


def test_a_finite_sharpness_loses_nothing(measured):
    for size in BATCHES:
        rows = measured.where(panel="minibatch", batch=size)
        best, bound = rows.where(series="best"), rows.where(series="bound")
        assert best["x"][0] == pytest.approx(math.sqrt(2 * size * math.log(2)))
        assert np.isinf(bound["x"][-1])
        assert best["upper"][0] == pytest.approx(bound["upper"][-1], rel=1e-9)
        assert np.all(bound["upper"] >= best["upper"][0] * (1 - 1e-9))
    single = measured.where(panel="minibatch", batch=1, series="measured")
    sharpest = single["lower"][np.isinf(single["x"])][0]
    assert np.min(single["upper"]) < sharpest  # here it even gains


def test_title_says_what_the_numbers_say(measured):
    title = smoothing.finding(measured)
    assert "costs nothing" in title
    floor = np.min(measured.where(panel="minibatch", batch=1, series="measured")["lower"])
    assert f"{floor:.2f} loss units" in title
    shifted = {**measured.values, "lower": measured["lower"] + 9, "upper": measured["upper"] + 9}
    assert "costs something" in smoothing.finding(dataclasses.replace(measured, values=shifted))


def test_drawn_numbers_are_the_saved_ones(measured, saved):
    figure = smoothing.draw(measured)
    rows = table(saved, "smoothing")
    left, middle, right = figure.axes
    schedules = curves(rows, "schedules", "x", "upper")
    assert drawn(left) == [schedules[series] for series in SHOWN]
    exact, lines = curves(rows, "exact", "x", "upper"), drawn(middle)
    for series in ("bound", "descent", "softmax", "angled", *INSTANCES):
        assert exact[series] in lines
    for series in SHOWN:
        worst = max(exact[series], key=exact[series].get)
        assert {worst: exact[series][worst]} in lines
    lines = drawn(right)
    for size in map(str, BATCHES):
        chosen = [row for row in rows if row["batch"] == size]
        for end in ("lower", "upper"):
            expected = curves(chosen, "minibatch", "x", end)["measured"]
            placed = {smoothing.INFINITE if math.isinf(x) else x: y for x, y in expected.items()}
            assert placed in lines
