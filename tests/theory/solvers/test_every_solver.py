"""What all peers have in common: guarantees, counts, batches, histories, symmetries, edge cases."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.instances import batch
from tests.theory.solvers.runs import (
    BATCHED,
    BOUNDED,
    applies,
    case,
    moved,
    permuted,
    run_batch,
    scaled,
    single,
)
from theory.problems import DenseQuadratic, MaxLinear
from theory.solvers import SOLVERS

STEPS = 15
FAMILIES = ("max-linear", "absolute", "quadratic")
PAIRS = [(n, f) for n in SOLVERS for f in FAMILIES if applies(SOLVERS[n], f)]
TOLERANCE = {"SLSQP": 1e-4, "prox-linear": 1e-4, "level bundle": 1e-3}
"""Absolute, where a solver of subproblems is in the loop; 1e-9 elsewhere."""


def chosen(solver, result):
    return getattr(result, solver.point)


def close(name, found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE.get(name, 1e-9))


def test_names_are_short_and_texts_are_one_line():
    for name, solver in SOLVERS.items():
        assert name == solver.name
        assert len(name) <= 14
        for text in (solver.summary, solver.guarantee, solver.reference):
            assert text
            assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (name, family)
        for name in BOUNDED
        for family in (*FAMILIES, "logistic", "duplicates")
        if applies(SOLVERS[name], family)
    ],
)
@pytest.mark.parametrize("steps", [1, STEPS])
def test_guarantee(name, family, steps):
    solver = SOLVERS[name]
    for index in range(3):
        one = single(family, steps, index)
        gap = np.max(one.problem.losses(chosen(solver, one.run(solver)))) - one.target
        # the subproblems are solved to 1e-10
        assert gap <= float(solver.bound(one.setting)) + 1e-8


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_oracle_counts_are_exact(name, family):
    solver, one = SOLVERS[name], single(family, STEPS)
    calls = {"losses": 0, "weighted_gradient": 0}

    def counting(method):
        right = getattr(one.problem, method)

        def wrapper(*arguments):
            calls[method] += 1
            return right(*arguments)

        object.__setattr__(one.problem, method, wrapper)

    counting("losses")
    counting("weighted_gradient")
    final = one.run(solver).final
    tasks = one.problem.num_tasks
    assert final.loss_evaluations == tasks * calls["losses"]
    assert final.backward_passes == calls["weighted_gradient"]
    if solver.passes is not None:
        per_step = tasks if solver.passes == "T" else solver.passes
        assert final.backward_passes == final.step * per_step
        assert final.loss_evaluations == final.step * solver.sweeps * tasks


@pytest.mark.parametrize(("name", "family"), [(n, f) for n, f in PAIRS if n in BATCHED])
def test_a_row_of_a_batch_is_a_single_run(name, family):
    solver = SOLVERS[name]
    whole = run_batch(solver, family, STEPS)
    for index in range(3):
        alone = single(family, STEPS, index).run(solver)
        for field in ("average", "last", "best", "lower_bound"):
            found, wanted = getattr(whole, field)[index], getattr(alone, field)
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "family"), [(n, f) for n, f in PAIRS if n != "SLSQP"])
def test_a_run_is_recorded_along_the_way(name, family):
    solver, one = SOLVERS[name], single(family, STEPS)
    history = one.run(solver, (4, 9)).history
    assert [c.step for c in history][:2] == [4, 9]
    for before, after in itertools.pairwise(history):
        assert before.step < after.step
        assert before.loss_evaluations < after.loss_evaluations
        assert before.seconds <= after.seconds
    if solver.anytime:
        shorter = one.run(solver, steps=9).final
        for field in ("average", "last", "best", "lower_bound", "backward_passes"):
            np.testing.assert_array_equal(getattr(history[1], field), getattr(shorter, field))


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_points_are_feasible_and_the_lower_bound_is_one(name, family):
    one = single(family, STEPS)
    result = one.run(SOLVERS[name])
    for point in (result.average, result.last, result.best):
        distance = np.linalg.norm(point - one.problem.domain.center)
        assert distance <= one.problem.domain.radius * (1 + 1e-12)
    assert result.lower_bound <= one.target + 1e-12
    worst = [np.max(one.problem.losses(p)) for p in (result.best, one.start)]
    assert worst[0] <= worst[1] + 1e-12 or name in {"mirror-prox", "SLSQP"}  # start not visited


SMALL = [(n, f) for n, f in PAIRS if f != "absolute"]


@pytest.mark.parametrize(("name", "family"), SMALL)
def test_rotation_and_translation(name, family):
    rng = np.random.default_rng(3)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    shift = rng.standard_normal(3)
    one = single(family, STEPS)
    plain = chosen(SOLVERS[name], one.run(SOLVERS[name]))
    turned = chosen(SOLVERS[name], moved(one, rotation, shift).run(SOLVERS[name]))
    close(name, turned, rotation @ plain + shift)


@pytest.mark.parametrize(("name", "family"), SMALL)
def test_order_of_tasks_does_not_matter(name, family):
    one = single(family, STEPS)
    plain = chosen(SOLVERS[name], one.run(SOLVERS[name]))
    shuffled = chosen(SOLVERS[name], permuted(one, np.array([2, 0, 3, 1])).run(SOLVERS[name]))
    close(name, shuffled, plain)


@pytest.mark.parametrize(("name", "family"), SMALL)
@pytest.mark.parametrize("factor", [1e-3, 64.0])
def test_the_unit_of_loss_does_not_matter(name, family, factor):
    one = single(family, STEPS)
    plain = chosen(SOLVERS[name], one.run(SOLVERS[name]))
    close(name, chosen(SOLVERS[name], scaled(one, factor).run(SOLVERS[name])), plain)


@pytest.mark.parametrize(("name", "family"), SMALL)
def test_one_task(name, family):
    """A single task is plain convex minimisation; its minimiser is known."""
    solver, one = SOLVERS[name], single(family, 400 if SOLVERS[name].batched else 20)
    problem, setting = one.problem, replace(one.setting, num_tasks=1)
    if isinstance(problem, MaxLinear):
        problem = replace(problem, slopes=problem.slopes[:1], offsets=problem.offsets[:1])
        optimum = float(problem.offsets[0] + problem.domain.min_linear(problem.slopes[0]))
    else:
        assert isinstance(problem, DenseQuadratic)
        problem = replace(problem, hessians=problem.hessians[:1], minimizers=problem.minimizers[:1])
        optimum = 0.0
    # R0 may be overestimated
    setting = replace(setting, radius=2 * float(problem.domain.radius))
    point = chosen(
        solver, replace(one, problem=problem, setting=setting, target=optimum).run(solver)
    )
    gap = np.max(problem.losses(point)) - optimum
    if name in {"MGDA", "average", "SLSQP"}:
        # one task leaves nothing to choose: both descend it
        assert gap <= 0.02 * setting.radius * setting.lipschitz
    else:
        # the formulas for one task; the smoothed methods count it as two
        counted = replace(setting, num_tasks=2) if solver.smooth else setting
        assert gap <= float(solver.bound(counted)) + 1e-8


@pytest.mark.parametrize(("name", "family"), PAIRS)
def test_start_at_the_optimum(name, family):
    """Whoever starts there, with any R0 > 0, keeps the guarantee and a best point at the start."""
    solver, one = SOLVERS[name], single(family, STEPS)
    at_best = replace(one, start=case(family).optimum.point[1])
    result = at_best.run(solver)
    gap = np.max(one.problem.losses(chosen(solver, result))) - one.target
    if solver.bound is not None:
        assert gap <= float(solver.bound(one.setting)) + 1e-8
    if name not in {"mirror-prox", "SLSQP"}:
        assert np.max(one.problem.losses(result.best)) <= one.target


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "`radius`"),
        ({"lipschitz": np.inf}, "`lipschitz`"),
        ({"num_tasks": 5}, "`num_tasks`"),
        ({"num_steps": 0}, "`num_steps`"),
    ],
)
def test_unusable_settings_are_refused(name, change, message):
    one = single("quadratic", STEPS)
    broken = replace(one, setting=replace(one.setting, **change))
    with pytest.raises(ValueError, match=message):
        broken.run(SOLVERS[name])


@pytest.mark.parametrize("name", SOLVERS)
def test_unusable_starts_are_refused(name):
    one = single("quadratic", STEPS)
    far = one.problem.domain.center + np.array([2.5, 0, 0])
    for start, message in ((far, "lie in the domain"), (np.zeros(2), "shape"), (3.0, "shape")):
        with pytest.raises(ValueError, match=message):
            replace(one, start=start).run(SOLVERS[name])


@pytest.mark.parametrize("name", [n for n, solver in SOLVERS.items() if solver.smooth])
def test_smooth_methods_refuse_kinks(name):
    with pytest.raises(ValueError, match="`smoothness`"):
        single("absolute", STEPS).run(SOLVERS[name])


def test_inputs_are_left_alone():
    one = single("quadratic", 5)
    start = one.start.copy()
    for solver in SOLVERS.values():
        one.run(solver)
        np.testing.assert_array_equal(one.start, start)
    assert batch("quadratic")[1].num_tasks == 4
