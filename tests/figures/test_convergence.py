import math

import numpy as np
import pytest
from scipy.optimize import brentq

from figures import convergence
from figures.convergence import FAMILIES, GUARANTEED, SMOOTHING, TIGHT, WITHOUT_GUARANTEE
from tests.figures.conftest import TINY
from tests.figures.helpers import curves, drawn, table
from theory.claims import Context
from theory.schedules import SCHEDULES, Schedule, unit


def altered(data, column, change, **where):
    """The data with a column changed in the given rows."""
    mask = np.ones(len(data), dtype=bool)
    for key, value in where.items():
        mask &= data[key] == value
    values = dict(data.values)
    values[column] = np.where(mask, change(values[column]), values[column])
    return type(data)(data.name, data.columns, values, data.parameters, data.provenance)


def test_every_family_schedule_and_length_is_measured(convergence_data):
    for family in FAMILIES:
        instances = 1 if family == "digits (real)" else TINY.instances
        for series in (*GUARANTEED, WITHOUT_GUARANTEE):
            rows = convergence_data.where(panel=family, series=series)
            assert rows["steps"].tolist() == [k for k in TINY.steps for _ in range(instances)]


def test_certified_gaps_of_guaranteed_schedules_are_below_bound_8(convergence_data):
    for family in FAMILIES:
        for series in GUARANTEED:
            rows = convergence_data.where(panel=family, series=series)
            # bound (8) in units of R0 L', by hand
            np.testing.assert_allclose(rows["bound"], 2 / np.sqrt(rows["steps"]), rtol=1e-14)
            assert np.all(rows["gap_upper"] <= rows["bound"])


def test_gaps_are_certified_intervals(convergence_data):
    assert np.all(convergence_data["gap_lower"] <= convergence_data["gap_upper"])
    assert np.all(convergence_data["gap_upper"] > 0)
    width = convergence_data["gap_upper"] - convergence_data["gap_lower"]
    assert np.max(width) < 1e-6


def test_no_bound_is_claimed_for_alpha_1(convergence_data):
    assert np.all(np.isnan(convergence_data.where(series=WITHOUT_GUARANTEE)["bound"]))


def test_smoothing_obeys_its_guarantees(convergence_data):
    rows = convergence_data.where(panel=SMOOTHING)
    assert set(rows["series"]) == {"last iterate", "accelerated"}
    assert np.all(rows["gap_upper"] <= rows["bound"])
    tasks = TINY.tasks
    accelerated = rows.where(series="accelerated")
    expected = 2 * math.sqrt(2 * math.log(tasks)) / (accelerated["steps"] + 1)  # L = 0
    np.testing.assert_allclose(accelerated["bound"], expected, rtol=1e-12)


def test_tight_instances_attain_what_they_should(convergence_data):
    rows = convergence_data.where(panel=TIGHT)
    one = rows.where(series="one task")
    np.testing.assert_allclose(one["gap_upper"] * np.sqrt(one["steps"]), 1.0, rtol=1e-12)
    for series in ("constant", "sharpened"):
        ratio = rows.where(series=series)
        ratio = ratio["gap_upper"] / ratio["bound"]
        assert np.all(np.diff(ratio) > 0)
        assert np.all((ratio > 0.75) & (ratio <= 1))


def test_longest_hard_run_is_limited(monkeypatch):
    monkeypatch.setattr(convergence, "FAMILIES", ())
    monkeypatch.setattr(convergence, "_smoothing", lambda context: iter(()))
    effort = type(TINY)(**{**vars(TINY), "hard_steps": 30})
    assert set(convergence.compute(Context(effort))["steps"]) == {10, 30}


def test_too_small_a_sharpness_is_seen_above_the_bound(monkeypatch):
    def flat(setting):
        schedule = unit(setting)
        return Schedule(0 * schedule.alpha, schedule.step_size, schedule.averaging)

    monkeypatch.setattr(convergence, "FAMILIES", ("max-linear",))
    monkeypatch.setattr(convergence, "_tight", lambda context: iter(()))
    monkeypatch.setattr(convergence, "_smoothing", lambda context: iter(()))
    monkeypatch.setitem(SCHEDULES, "constant", flat)
    rows = convergence.compute(Context(TINY))
    broken = rows.where(series="constant", steps=100)
    assert np.any(broken["gap_lower"] > broken["bound"])
    assert "does not keep" in convergence.finding(rows)


def test_title_says_what_the_numbers_say(convergence_data):
    assert "schedule keeps the guarantee" in convergence.finding(convergence_data)
    bad = altered(
        convergence_data, "gap_upper", lambda x: x + 9, panel="logistic", series="paper", steps=30
    )
    assert "does not keep" in convergence.finding(bad)
    for shift, families in ((-9, 0), (9, 6)):
        moved = altered(
            convergence_data, "gap_lower", lambda x, s=shift: x + s, series=WITHOUT_GUARANTEE
        )
        assert f"leaves it in {families} of 6" in convergence.finding(moved)


def test_drawn_numbers_are_the_saved_ones(convergence_data, saved):
    figure = convergence.draw(convergence_data)
    rows = table(saved, "convergence")
    *families, tight, smoothing = figure.axes
    assert len(families) == len(FAMILIES)
    for axes, family in zip(families, FAMILIES, strict=True):
        gaps = curves(rows, family, "steps", "gap_upper")
        bounds = curves(rows, family, "steps", "bound")
        bound, descent, *lines = drawn(axes)
        assert bound == bounds["sharpened"]
        assert descent == {k: value / 2 for k, value in bound.items()}
        assert lines == [gaps[series] for series in (*GUARANTEED, WITHOUT_GUARANTEE)]
    gaps, bounds = (curves(rows, TIGHT, "steps", key) for key in ("gap_upper", "bound"))
    for line, series in zip(drawn(tight)[1:], ("constant", "sharpened", "one task"), strict=True):
        expected = {k: 2 * gap / bounds[series][k] for k, gap in gaps[series].items()}
        assert line == pytest.approx(expected, rel=1e-14)
    gaps, bounds = (curves(rows, SMOOTHING, "steps", key) for key in ("gap_upper", "bound"))
    lines = drawn(smoothing)
    assert lines[2:6] == [
        bounds["last iterate"],
        gaps["last iterate"],
        bounds["accelerated"],
        gaps["accelerated"],
    ]


def test_annotation_is_the_final_ratio(convergence_data):
    figure = convergence.draw(convergence_data)
    rows = convergence_data.where(panel="max-linear", series=WITHOUT_GUARANTEE, steps=100)
    ratio = np.max(rows["gap_upper"]) / (2 / math.sqrt(100))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any(f"{ratio:.1f} ×" in text for text in texts)


def test_measured_point_is_the_averaged_iterate_of_algorithm_1(convergence_data):
    """One instance by hand: K = 10 steps of the constant schedule from the context's own start."""
    case = Context(TINY).cases["max-linear"]
    problem, radius, steps = case.problem[0], float(case.radius[0]), 10
    slope = float(problem.constants().lipschitz)
    level = math.log(TINY.tasks - 1) - 1  # c + log c = log((T - 1) / e)
    sharp = brentq(lambda c: c + math.log(c) - level, 1e-9, 10)
    alpha, size = sharp * math.sqrt(steps) / (radius * slope), radius / (slope * math.sqrt(steps))
    theta, visited = case.start[0], []
    for _ in range(steps):
        visited.append(theta)
        weights = np.exp(alpha * (problem.slopes @ theta + problem.offsets))
        theta = theta - size * (weights / weights.sum()) @ problem.slopes
        offset = theta - problem.domain.center
        shrink = min(1.0, float(problem.domain.radius / np.linalg.norm(offset)))
        theta = problem.domain.center + shrink * offset
    value = np.max(problem.slopes @ np.mean(visited, axis=0) + problem.offsets)
    row = convergence_data.where(panel="max-linear", series="constant", steps=10, instance=0)
    expected = (value - float(case.optimum.lower[0])) / (radius * slope)
    assert row["gap_upper"][0] == pytest.approx(expected, rel=1e-10)
