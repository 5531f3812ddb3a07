import dataclasses
import math

import numpy as np
import pytest

from figures import data, sample_complexity
from figures.sample_complexity import BOUNDS
from tests.figures.helpers import drawn, table
from theory.sampling import exact


@pytest.fixture(scope="module")
def measured(saved):
    return data.load("sample_complexity", saved)


def altered(rows, column, change, mask):
    assert np.any(mask)
    values = {**rows.values, column: np.where(mask, change(rows[column]), rows[column])}
    return dataclasses.replace(rows, values=values)


def curve(rows, panel, x, y):
    """Points of a panel from the CSV rows, in order."""
    return {float(row[x]): float(row[y]) for row in rows if row["panel"] == panel}


def test_every_measured_number_keeps_every_bound(measured):
    assert np.all(measured["lower"] <= measured["upper"])
    for name in BOUNDS:
        assert np.all(measured["lower"] <= measured[name])
    assert np.all(measured["upper"] <= measured["theorem"])


def test_bound_13_is_the_printed_one(measured):
    # unit curvature, signs of norm 1, E = 1: with R = sqrt 2 the losses lie in [0, (1 + R)^2 / 2]
    # and their gradients within 1 + R
    for row in range(len(measured)):
        if measured["family"][row] != "shifted" or measured["dim"][row] != 1:
            continue
        radius, epsilon = math.sqrt(2), measured["epsilon"][row]
        spread, slope = (1 + radius) ** 2 / 2, 1 + radius
        bracket = math.log(1 + 16 * slope / epsilon * radius) + math.log(2 / 0.05)
        expected = math.ceil(8 * spread**2 / epsilon**2 * bracket)
        assert measured["theorem"][row] == pytest.approx(expected, rel=1e-9)


def test_exact_points_are_binomial_sums(measured):
    rows = measured.where(panel="other", family="shifted", epsilon=0.1)
    assert rows["lower"][0] == rows["upper"][0]
    # by hand: |2J - n| >= n sqrt(2 eps) with probability above delta at N - 1, not at N
    count = int(rows["upper"][0])

    def failing(samples):
        hits = (j for j in range(samples + 1) if 5 * (2 * j - samples) ** 2 >= samples**2)
        return sum(math.comb(samples, j) for j in hits) / 2**samples

    assert failing(count - 1) > 0.05
    assert all(failing(samples) <= 0.05 for samples in range(count, 4 * count))
    assert exact.sign_noise_failure(1, exact.Fraction(1, 10), count) == pytest.approx(
        failing(count)
    )


def test_start_is_a_step(measured):
    rows = measured.where(panel="start")
    at, epsilon, condition = rows["start_risk"], rows["epsilon"][0], rows["condition"][0]
    assert condition == pytest.approx(10)
    assert np.all(rows["upper"][at < epsilon / condition] == 0)
    above = at >= epsilon
    assert np.sum(above) >= 4
    assert np.max(rows["lower"][above]) <= np.min(rows["upper"][above])
    assert np.all(rows["lower"][above] > 0)
    # (13) with frozen constants keeps growing instead
    assert np.all(np.diff(rows["frozen"]) > 0)
    assert np.all(np.diff(rows["theorem"]) > 0)


def test_numbers_fall_with_the_dimension_while_the_theorem_grows(measured):
    rows = measured.where(panel="dimension")
    assert np.all(np.diff(rows["upper"]) < 0)
    assert np.all(np.diff(rows["theorem"]) > 0)


def test_limit_is_approached_where_the_sums_are_exact(measured):
    rows = measured.where(panel="other", family="shifted", epsilon=1e-4)
    assert rows["upper"][0] == pytest.approx(rows["asymptote"][0], rel=0.01)


def test_title_says_what_the_numbers_say(measured):
    title = sample_complexity.finding(measured)
    assert "(13) holds" in title
    assert "by a step, not by a log" in title
    start = measured["panel"] == "start"
    late = start & (measured["start_risk"] == 30.0)
    moved = altered(measured, "lower", lambda x: x + 500, late)
    assert "otherwise" in sample_complexity.finding(moved)
    early = start & (measured["start_risk"] == 0.001)
    moved = altered(measured, "upper", lambda x: x + 1, early)
    assert "otherwise" in sample_complexity.finding(moved)
    broken = altered(measured, "theorem", lambda x: 0 * x + 1, late)
    assert "is violated" in sample_complexity.finding(broken)


def test_drawn_numbers_are_the_saved_ones(measured, saved):
    figure = sample_complexity.draw(measured)
    rows = table(saved, "sample_complexity")
    *sweeps, ratios = figure.axes
    for axes, panel, x in zip(
        sweeps,
        ("accuracy", "dimension", "start"),
        ("epsilon", "dim", "start_risk"),
        strict=True,
    ):
        lines = drawn(axes)
        for column in (*BOUNDS, "asymptote"):
            assert curve(rows, panel, x, column) in lines
        for exactly in (True, False):
            chosen = [row for row in rows if (row["replicates"] == "0") == exactly]
            for end in ("lower", "upper"):
                assert curve(chosen, panel, x, end) in lines
    assert curve(rows, "start", "start_risk", "frozen") in drawn(sweeps[2])
    literal = [row for row in rows if row["panel"] == "accuracy"]
    ratio = {float(r["epsilon"]): float(r["theorem"]) / int(r["upper"]) for r in literal}
    least = {
        float(r["epsilon"]): min(float(r[c]) for c in BOUNDS[1:]) / int(r["upper"]) for r in literal
    }
    assert ratio in drawn(ratios)
    assert least in drawn(ratios)
