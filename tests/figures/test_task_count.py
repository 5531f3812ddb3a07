import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.special import lambertw

from figures import data, task_count
from figures.task_count import SHARPNESS
from tests.figures.conftest import TINY
from tests.figures.helpers import curves, drawn, table

LOSSES = ("one opposed", "evenly spaced", "heavy-tailed", "normal", "uniform")


@pytest.fixture(scope="module")
def measured(saved):
    return data.load("task_count", saved)


def constants(tasks):
    return np.real(lambertw((np.asarray(tasks) - 1) / math.e))


def test_counts_go_to_ten_times_those_of_the_effort(measured):
    counts = measured.parameters["counts"]
    assert counts == [t for t in task_count.COUNTS if t <= 10 * TINY.max_tasks]
    assert task_count.COUNTS[0] == 2
    assert task_count.COUNTS[-1] == 10_000
    for panel in ("losses", "minimisers", "descent"):
        rows = measured.where(panel=panel)
        for series in np.unique(rows["series"]):
            assert rows.where(series=series)["tasks"].tolist() == counts


def test_no_losses_exceed_the_sharp_constant_and_the_opposed_attain_it(measured):
    rows = measured.where(panel="losses")
    constant = rows.where(series="c_T")
    np.testing.assert_allclose(constant["upper"], constants(constant["tasks"]), rtol=1e-12)
    for series in LOSSES:
        assert np.all(rows.where(series=series)["upper"] <= constant["upper"] * (1 + 1e-12))
    attained = rows.where(series="one opposed")["upper"]
    np.testing.assert_allclose(attained, constant["upper"], rtol=1e-12)
    assert np.all(constant["upper"] < rows.where(series="log T")["upper"])
    even = rows.where(series="evenly spaced")["upper"]
    assert np.all(even <= 1 + 1e-12)
    assert np.all(np.diff(even) > 0)


def test_random_losses_are_the_worst_of_the_draws(measured):
    """T = 2 by hand: with enough draws the worst sharpness finds nearly the whole constant."""
    rows = measured.where(panel="losses", tasks=2)
    worst = max(x / (1 + math.exp(x)) for x in np.linspace(0, 5, 5_001))
    assert rows.where(series="c_T")["upper"][0] == pytest.approx(worst, rel=1e-6)
    for series in ("heavy-tailed", "normal", "uniform"):
        assert 0.99 * worst < rows.where(series=series)["upper"][0] <= worst * (1 + 1e-6)


def test_minimisers_keep_the_bound_and_the_opposed_attain_it(measured):
    for alpha in SHARPNESS:
        opposed = measured.where(panel="minimisers", series=f"one opposed, {alpha:g}")
        np.testing.assert_allclose(opposed["upper"], constants(opposed["tasks"]), rtol=1e-8)
        random = measured.where(panel="minimisers", series=f"random linear, {alpha:g}")
        assert np.all(random["lower"] <= random["upper"])
        assert np.all(random["lower"] > 0)
        assert np.all(random["upper"] <= constants(random["tasks"]) + random["slack"])
        assert np.all(random["slack"] < 0.02)


def test_algorithm_1_keeps_its_guarantee_only_if_the_sharpness_knows_the_number(measured):
    rows = measured.where(panel="descent")
    for kind in ("one opposed", "random linear"):
        assert np.all(rows.where(series=f"{kind}, T known")["upper"] <= 1)
    blind = rows.where(series="one opposed, T = 2")
    assert np.all(blind["lower"][blind["tasks"] >= 5] > 1)
    two = rows.where(tasks=2)
    for kind in ("one opposed", "random linear"):
        known, other = (two.where(series=f"{kind}, {name}") for name in ("T known", "T = 2"))
        assert known["upper"][0] == other["upper"][0]


def test_a_smaller_constant_is_seen_below_the_attained_error(measured):
    opposed = measured.where(panel="losses", series="one opposed")
    assert np.all(opposed["upper"] > 0.99 * constants(opposed["tasks"]))


def test_title_says_what_the_numbers_say(measured):
    title = task_count.finding(measured)
    counts = measured.parameters["counts"]
    growth = constants(counts[-1]) / constants(2)
    assert f"From 2 to {counts[-1]:,} tasks the worst error grows {growth:.0f}-fold" in title
    below = float(title.split("below ")[1].split("/")[0])
    for alpha in SHARPNESS:
        rows = measured.where(panel="minimisers", series=f"random linear, {alpha:g}")
        assert np.all(rows["upper"] <= below)
    smaller = {**measured.values, "upper": 0.9 * measured["upper"]}
    mask = measured["series"] == "c_T"
    smaller["upper"] = np.where(mask, measured["upper"], smaller["upper"])
    assert "found" in task_count.finding(dataclasses.replace(measured, values=smaller))


def test_drawn_numbers_are_the_saved_ones(measured, saved):
    figure = task_count.draw(measured)
    rows = table(saved, "task_count")
    for axes, panel in zip(figure.axes, ("losses", "minimisers", "descent"), strict=True):
        expected = curves(rows, panel, "tasks", "upper")
        assert len(expected) == {"losses": 7}.get(panel, 4)
        assert all(curve in drawn(axes) for curve in expected.values())
    worst = curves(rows, "losses", "tasks", "upper")["c_T"]
    assert worst in drawn(figure.axes[1])
    for first, second in itertools.pairwise(figure.axes):
        assert first.get_xlabel() == second.get_xlabel() == "number of tasks T"
