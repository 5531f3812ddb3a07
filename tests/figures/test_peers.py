import dataclasses

import numpy as np
import pytest

from figures import data, peers
from figures.peers import COSTS, FAMILIES, FLOOR, JACOBIAN_STEPS, OTHER_TARGETS
from tests.figures.conftest import TINY
from tests.figures.helpers import drawn, table
from theory.claims import Context
from theory.solvers import SOLVERS


@pytest.fixture(scope="module")
def measured(saved):
    return data.load("peers", saved)


def altered(rows, column, value, **where):
    """The data with a column set in the given rows."""
    mask = np.ones(len(rows), dtype=bool)
    for key, wanted in where.items():
        mask &= rows[key] == wanted
    assert np.any(mask)
    values = {**rows.values, column: np.where(mask, value, rows[column])}
    return dataclasses.replace(rows, values=values)


def test_every_method_is_measured_wherever_its_assumptions_hold(measured):
    found = {name: set(measured.where(panel=name)["series"]) for name in FAMILIES}
    every = set(SOLVERS)
    assert found["quadratic"] == found["digits (real)"] == every
    assert found["max-linear"] == every - {"MGDA"}
    assert found["absolute"] == {name for name, solver in SOLVERS.items() if not solver.smooth}
    for name in FAMILIES:
        instances = 1 if name == "digits (real)" else TINY.instances
        for series in found[name]:
            rows = measured.where(panel=name, series=series)
            assert set(rows["instance"]) == set(range(instances))
            if series != "SLSQP":
                passes = SOLVERS[series].passes
                grid = JACOBIAN_STEPS if passes == "T" else TINY.steps
                assert sorted(set(rows["steps"])) == sorted(grid)


def test_certified_gaps_obey_every_guarantee(measured):
    assert np.all(measured["gap_lower"] <= measured["gap_upper"])
    assert np.all(measured["gap_upper"] > 0)
    bounded = measured["bound"] > 0  # one prox-linear step leaves 0 on linear tasks
    assert np.all(measured["gap_upper"][bounded] <= measured["bound"][bounded])
    silent = {name for name, solver in SOLVERS.items() if solver.bound is None}
    unbounded = measured["series"][np.isnan(measured["bound"])]
    assert silent <= set(unbounded) <= silent | {"continuation"}  # before its first stage is over


def test_costs_are_those_of_the_steps_made(measured):
    for name in FAMILIES:
        tasks = 10 if name == "digits (real)" else TINY.tasks
        for series, solver in SOLVERS.items():
            rows = measured.where(panel=name, series=series)
            if series in {"SLSQP", "level bundle"} or not len(rows):
                continue
            per_step = tasks if solver.passes == "T" else solver.passes
            np.testing.assert_array_equal(rows["backward_passes"], rows["steps"] * per_step)
            expected = rows["steps"] * solver.sweeps * tasks
            np.testing.assert_array_equal(rows["loss_evaluations"], expected)
    bundle = measured.where(series="level bundle", panel="quadratic")
    assert np.all(bundle["backward_passes"] <= bundle["steps"] * TINY.tasks)
    assert np.all(measured["seconds"] > 0)


def test_measured_point_is_the_averaged_iterate_of_the_hard_maximum(measured):
    """One instance by hand: K = 10 subgradient steps from the context's own start."""
    case = Context(TINY).cases["max-linear"]
    problem, radius = case.problem[1], float(case.radius[1])
    slope = float(np.max(np.linalg.norm(problem.slopes, axis=1)))
    theta, visited = case.start[1], []
    for _ in range(10):
        visited.append(theta)
        steepest = problem.slopes[np.argmax(problem.slopes @ theta + problem.offsets)]
        theta = theta - radius / (slope * np.sqrt(10)) * steepest
        offset = theta - problem.domain.center
        shrink = min(1.0, float(problem.domain.radius / np.linalg.norm(offset)))
        theta = problem.domain.center + shrink * offset
    value = np.max(problem.slopes @ np.mean(visited, axis=0) + problem.offsets)
    rows = measured.where(panel="max-linear", series="hard max", steps=10, instance=1)
    expected = (value - float(case.optimum.lower[1])) / (radius * slope)
    assert rows["gap_upper"][0] == pytest.approx(expected, rel=1e-10)


def test_drawn_numbers_are_the_saved_ones(measured, saved):
    figure = peers.draw(measured)
    rows = table(saved, "peers")
    assert len(figure.axes) == len(COSTS) * len(FAMILIES)
    panels = [(cost, name) for cost in COSTS for name in FAMILIES]
    for axes, (cost, name) in zip(figure.axes, panels, strict=True):
        for line, series in zip(drawn(axes), peers._LOOKS, strict=True):
            chosen = [r for r in rows if (r["panel"], r["series"]) == (name, series)]
            expected = {}
            for steps in sorted({int(r["steps"]) for r in chosen}):
                same = [r for r in chosen if int(r["steps"]) == steps]
                gap = max(FLOOR, *(float(r["gap_upper"]) for r in same))
                expected[max(float(r[cost]) for r in same)] = gap
            assert line == expected
    assert set(peers._LOOKS) == set(SOLVERS)


def test_standing_ignores_what_came_later_and_who_aims_elsewhere(measured):
    rows = measured.where(panel="quadratic")
    reached = peers.standing(rows, 30)
    assert not set(reached) & {*OTHER_TARGETS, "Polyak"}
    hard = rows.where(series="hard max")
    early = [np.max(hard.where(steps=k)["gap_upper"]) for k in (10, 30)]
    assert reached["hard max"] == min(early)
    assert peers.standing(rows, 5, "loss_evaluations").keys() == {"prox-linear", "level bundle"}


def test_title_says_what_the_numbers_say(measured):
    best = altered(measured, "gap_upper", 0.0, series="Algorithm 1")
    title = peers.finding(altered(best, "gap_upper", 1.0, series="hard max"))
    assert "lead in 0 of 4" in title
    assert "beats Algorithm 1 in 0" in title
    bad = altered(measured, "gap_upper", 9.0, series="Algorithm 1")
    bad = altered(bad, "gap_upper", 9.0, series="paper schedule")
    bad = altered(bad, "gap_upper", 0.0, series="level bundle")
    title = peers.finding(bad)
    assert "lead in 4 of 4" in title
    assert "beats Algorithm 1 in 4" in title


def test_a_method_that_breaks_its_guarantee_would_be_seen(monkeypatch):
    broken = dataclasses.replace(SOLVERS["hard max"], run=SOLVERS["average"].run)
    monkeypatch.setattr(peers, "FAMILIES", ("max-linear",))
    monkeypatch.setattr(peers, "SOLVERS", {"hard max": broken})
    effort = dataclasses.replace(TINY, steps=(1_000,))
    rows = peers.compute(Context(effort))
    assert np.any(rows["gap_lower"] > rows["bound"])
