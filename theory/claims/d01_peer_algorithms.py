r"""D1: the guarantees of the peer algorithms, each measured where its assumptions hold.

All solve :math:`\min_\Theta F`, :math:`F=\max_tf_t`. With one weighted gradient a step: hard
maximum, GroupDRO and descent-ascent (:math:`1/\sqrt K`, non-smooth tasks allowed), mirror-prox,
accelerated smoothing and its continuation (1/K, smooth tasks). With all T gradients a step:
prox-linear, exact on linear tasks, and the level bundle. Two methods that are often taken for
minimax solvers are not: MGDA stops at any Pareto-stationary point, and the average is worse by up
to a factor of T (`theory.claims.d01_other_targets`). Derivations are in the docstrings of
`theory.solvers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from theory import bounds
from theory.claims import d01_other_targets
from theory.claims.base import Claim
from theory.claims.d01_other_targets import few
from theory.judge import Check, Measurement, holds
from theory.problems import Float
from theory.solvers.epigraph import epigraph
from theory.solvers.group_dro import default_rate, group_dro
from theory.solvers.inputs import instance_setting
from theory.solvers.registry import SOLVERS, Solver
from theory.solvers.result import Result
from theory.testbed import Case, Context

JACOBIAN_FAMILIES = (
    *("max-linear", "near-ties", "Huber", "logistic"),
    *("quadratic", "ill-conditioned", "large scale", "duplicates"),
)
"""Where the methods that run one instance at a time are measured."""

JACOBIAN_STEPS = (3, 10)
"""Their numbers of steps; a step of a bundle grows with the number of cuts."""

ACCURACY = 1e-6
"""What general nonlinear programming is asked for, in units of R0 L'."""


def checks(context: Context) -> Iterator[Check]:
    """Compare every method with its bound; then what MGDA and the average do to F."""
    for solver in SOLVERS.values():
        if solver.bound is not None and solver.name != "level bundle":
            context.note(f"D1 {solver.name}")
            yield _guarantee(context, solver)
    yield _weights_first(context)
    yield _one_step(context)
    yield _level_bundle(context)
    yield _epigraph(context)
    yield _lower_bounds(context)
    yield from _cost(context)
    yield from d01_other_targets.checks(context)


@dataclass(frozen=True)
class _Outcome:
    """A method's points on all instances of a case: ``point[I, d]``, ``lower_bound[I]``."""

    point: Float
    lower_bound: Float
    results: tuple[Result, ...]


def _run(solver: Solver, case: Case, steps: int) -> _Outcome:
    """Run a method with K steps on a case, one instance at a time if it has to be."""
    setting = case.setting(steps)
    extra = {"target": case.optimum.upper} if solver.needs_optimum else {}
    if solver.batched:
        result = solver.run(case.problem, setting, case.start, **extra)
        return _Outcome(getattr(result, solver.point), result.lower_bound, (result,))
    results = tuple(
        solver.run(instance, instance_setting(setting, i), case.start[i])
        for i, instance in enumerate(case.problem.instances())
    )
    points = np.stack([getattr(result, solver.point) for result in results])
    return _Outcome(points, np.array([float(r.lower_bound) for r in results]), results)


def _cases(context: Context, solver: Solver) -> Iterator[tuple[Case, int]]:
    """Cases that meet the assumptions of a method, and the numbers of steps to try."""
    for name, whole in context.cases.items():
        case = whole if solver.batched else few(context, name)
        smoothness = case.constants.smoothness
        if solver.smooth and not np.all(np.isfinite(smoothness)):
            continue
        if not solver.batched:
            if name in JACOBIAN_FAMILIES and (solver.name != "prox-linear" or np.all(smoothness)):
                yield from ((case, steps) for steps in JACOBIAN_STEPS)
            continue
        yield from ((case, steps) for steps in context.effort.steps[:2])
        if name in ("max-linear", "quadratic"):
            yield from ((case, steps) for steps in context.effort.steps[2:-1])


def _guarantee(context: Context, solver: Solver) -> Check:
    """A method's own bound on every instance that meets its assumptions."""
    assert solver.bound is not None
    measured = []
    for case, steps in _cases(context, solver):
        bound = solver.bound(case.setting(steps))
        measured += case.gaps(_run(solver, case, steps).point, bound, f"K={steps}")
    return holds(solver.name, solver.guarantee, "<=", measured, corrected=True)


def _weights_first(context: Context) -> Check:
    """GroupDRO in Sagawa's order, for rates below and far above that of the textbook."""
    measured = []
    steps = context.effort.steps[1]
    for case in context.cases.values():
        setting = case.setting(steps)
        for factor in (1.0, 10.0, 1e3):
            rate = factor * default_rate(setting)
            result = group_dro(
                case.problem, setting, case.start, weights_first=True, weight_rate=rate
            )
            bound = bounds.group_dro_weights_first(setting, rate)
            measured += case.gaps(result.average, bound, f"K={steps}, {factor:g} times the rate")
    statement = "w_{k+1} first: ≤ R0L'/√K+logT/(η_wK)"
    return holds("GroupDRO order", statement, "<=", measured, corrected=True)


def _one_step(context: Context) -> Check:
    """Prox-linear steps on linear tasks: the model is the problem."""
    measured = []
    for name in ("max-linear", "near-ties"):
        case = context.case(name)
        outcome = _run(SOLVERS["prox-linear"], case, 1)
        low, high = case.gap(outcome.point)
        unit = case.radius * case.constants.lipschitz
        measured += [
            Measurement(
                float(low[i]),
                float(high[i]),
                0.0,
                f"{name}, instance {i}",
                tolerance=1e-7 * float(unit[i]),
            )
            for i in range(len(low))
        ]
    statement = "one prox-linear step solves linear tasks"
    return holds("one step", statement, "==", measured, corrected=True)


def _level_bundle(context: Context) -> Check:
    """The bundle's bound is on its own interval, best F less lower bound, which contains F*."""
    solver = SOLVERS["level bundle"]
    measured = []
    for case, steps in _cases(context, solver):
        outcome = _run(solver, case, steps)
        width = np.max(case.problem.losses(outcome.point), axis=-1) - outcome.lower_bound
        bound = bounds.level_bundle(case.setting(steps))
        measured += _measured(case, width, bound, f"K={steps}")
    return holds(solver.name, solver.guarantee, "<=", measured, corrected=True)


def _epigraph(context: Context) -> Check:
    """SLSQP has no rate; what it reached is measured against the accuracy asked for."""
    measured = []
    for name in JACOBIAN_FAMILIES:
        case = few(context, name)
        setting = case.setting(500)
        points = np.stack(
            [
                epigraph(instance, instance_setting(setting, i), case.start[i]).last
                for i, instance in enumerate(case.problem.instances())
            ]
        )
        bound = ACCURACY * case.radius * case.constants.lipschitz
        measured += case.gaps(points, bound, "SLSQP")
    statement = f"F−F* ≤ {ACCURACY:.0e}·R0L' (measured, no rate)"
    return holds("SLSQP", statement, "<=", measured, corrected=True)


def _lower_bounds(context: Context) -> Check:
    """Every run certifies itself: its lower bound is never above the optimum."""
    measured: list[Measurement] = []
    for solver in SOLVERS.values():
        for name in ("max-linear", "quadratic"):
            case = few(context, name)
            if solver.name == "MGDA":
                continue  # its model does not see the values of the tasks
            steps = context.effort.steps[1] if solver.batched else JACOBIAN_STEPS[0]
            lower = _run(solver, case, steps).lower_bound
            measured += _measured(case, lower - case.optimum.upper, 0.0, solver.name)
    return holds("certificates", "run's own lower bound ≤ F*", "<=", measured, corrected=True)


def _cost(context: Context) -> Iterator[Check]:
    """Oracle calls of five steps, counted, against those stated in the registry."""
    case = context.case("quadratic")
    evaluations, passes = [], []
    for solver in SOLVERS.values():
        if solver.sweeps is None or solver.passes is None:
            continue
        tasks = case.problem.num_tasks
        final = _run(solver, case, 5).results[0].final
        per_step = tasks if solver.passes == "T" else solver.passes
        witness = f"{solver.name}, K={final.step}, T={tasks}"
        expected = final.step * solver.sweeps * tasks
        evaluations.append(Measurement.value(final.loss_evaluations, expected, witness))
        passes.append(Measurement.value(final.backward_passes, final.step * per_step, witness))
    losses = "risks evaluated = K·T (mirror-prox 2KT)"
    yield holds("loss count", losses, "==", evaluations, corrected=True)
    statement = "backward passes = K, 2K or KT"
    yield holds("pass count", statement, "==", passes, corrected=True)


def _measured(case: Case, value: Float, bound: Float | float, note: str) -> list[Measurement]:
    """Directly computed numbers ``[I]`` against bounds, one an instance."""
    limits = np.broadcast_to(bound, value.shape)
    scale = np.broadcast_to(case.constants.loss_range, value.shape)
    return [
        Measurement.value(
            value[i], limits[i], f"{case.name}, instance {i}, {note}", scale=float(scale[i])
        )
        for i in range(len(value))
    ]


CLAIM = Claim(
    key="D1",
    title="peer algorithms",
    source="literature on minimax optimisation",
    printed="MGDA, descending all tasks at once, minimises the worst one (a common reading).",
    corrected=(
        "Every peer keeps its guarantee; MGDA stops away from the optimum, the average is worse by "
        "up to a factor of T."
    ),
    checks=checks,
)
