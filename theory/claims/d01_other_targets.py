r"""D1, continued: MGDA and the average objective, which aim at something else than F.

MGDA never raises a task, but the step it stops at says nothing of the maximum: started at the
minimiser of one task it does not move. The minimiser of the average can exceed F* by a factor of T
for nonnegative risks, :math:`F(\theta)\le T\bar f(\theta)`, approached by :math:`A|\theta-1|` and,
T - 1 times, :math:`|\theta|` as A grows to T - 1.
"""

from collections.abc import Iterator

import numpy as np

from theory import bounds
from theory.judge import Check, Measurement, holds, refuted
from theory.optima import CertifiedOptimum, certify_batch
from theory.problems import DenseQuadratic, Float, absolute_pair
from theory.schedules import Setting
from theory.solvers.average import average_descent
from theory.solvers.inputs import instance_setting
from theory.solvers.mgda import mgda
from theory.testbed import Case, Context

_SMOOTH = ("Huber", "logistic", "quadratic", "ill-conditioned", "duplicates")
_NONNEGATIVE = (*_SMOOTH, "large scale", "digits (real)")

MGDA_STEPS = 12
"""K of MGDA's runs."""

AWAY = 0.01
"""Gap, in units of R0 L', that counts as away from the optimum."""


def checks(context: Context) -> Iterator[Check]:
    """Check what MGDA guarantees and where it stops, and what the average costs."""
    yield from _mgda_guarantees(context)
    yield from _mgda_stops(context)
    yield _average(context)
    yield _average_worst(context)
    yield _factor(context)


def few(context: Context, name: str) -> Case:
    """At least four instances of a family, if it has so many, for methods that run one by one."""
    case = context.case(name)
    count = max(4, context.effort.instances // 3)
    best = case.optimum
    optimum = CertifiedOptimum(
        best.lower[:count], best.upper[:count], best.point[:count], best.weights[:count]
    )
    return Case(name, case.problem[:count], case.start[:count], optimum)


def _mgda_guarantees(context: Context) -> Iterator[Check]:
    r"""No task rises, and the shortest step obeys :math:`\frac L2\|\cdot\|^2\le` fall / K."""
    rises, steps = [], []
    for name in _SMOOTH:
        case = few(context, name)
        context.note(f"D1 MGDA, {name}")
        setting = case.setting(MGDA_STEPS)
        for i, problem in enumerate(case.problem.instances()):
            own = instance_setting(setting, i)
            result = mgda(problem, own, case.start[i], range(1, MGDA_STEPS))
            path = np.stack([case.start[i], *(point.last for point in result.history)])
            losses = problem.losses(path[:, None, :])[:, 0]
            witness, scale = f"{name}, instance {i}, K={MGDA_STEPS}", float(own.loss_bound)
            rise = float(np.max(np.diff(losses, axis=0)))
            # the subproblems are solved to 1e-10
            rises.append(Measurement.value(rise, 1e-9 * scale, witness, scale=scale))
            shortest = float(np.min(np.sum(np.diff(path, axis=0) ** 2, axis=-1)))
            fall = float(np.min(losses[0] - losses[-1])) / MGDA_STEPS
            steps.append(
                Measurement.value(shortest * own.smoothness / 2, fall, witness, scale=1e-9 * scale)
            )
    statement = "f_t(θ_{k+1})−f_t(θ_k) ≤ 1e-9·B, every t"
    yield holds("MGDA descends", statement, "<=", rises, corrected=True)
    yield holds("MGDA slows", "min_k ½L‖step‖² ≤ min_t fall/K", "<=", steps, corrected=True)


def _mgda_stops(context: Context) -> Iterator[Check]:
    """From a task's own minimiser MGDA does not move, wherever the optimum may be."""
    moves, gaps = [], []
    case = few(context, "quadratic")
    assert isinstance(case.problem, DenseQuadratic)
    setting = case.setting(MGDA_STEPS)
    for task in range(min(5, case.problem.num_tasks)):
        starts = case.problem.minimizers[:, task]
        ends = np.stack(
            [
                mgda(problem, instance_setting(setting, i), starts[i]).last
                for i, problem in enumerate(case.problem.instances())
            ]
        )
        distance = np.linalg.norm(ends - starts, axis=-1)
        radius = float(case.problem.domain.radius[0])
        moves += [
            Measurement.value(
                x,
                0.0,
                f"quadratic, instance {i}, minimiser of task {task}",
                tolerance=1e-9 * radius,
            )
            for i, x in enumerate(distance)
        ]
        unit = case.radius * case.constants.lipschitz
        gaps += case.gaps(ends, AWAY * unit, f"from the minimiser of task {task}, K={MGDA_STEPS}")
    yield holds("MGDA stops", "θ_K = θ_0 at a task's minimiser", "==", moves, corrected=True)
    statement = f"F−F* ≤ {AWAY:g}·R0L' where MGDA stops"
    yield refuted("MGDA minimax", statement, "<=", gaps, every=True)


def _average(context: Context) -> Check:
    """Gradient descent on the mean risk, by its own certified optimum."""
    measured = []
    for name in _SMOOTH:
        case = few(context, name)
        uniform = np.full(case.problem.num_tasks, 1 / case.problem.num_tasks)
        context.note(f"D1 average, {name}")
        optimum = certify_batch(case.problem, uniform)
        radius = np.linalg.norm(case.start - optimum.point, axis=-1)
        scale = case.constants.loss_range
        for steps in context.effort.steps[:2]:
            last = average_descent(case.problem, case.setting(steps), case.start).last
            value = np.mean(case.problem.losses(last), axis=-1)
            bound = bounds.gradient_descent(_with_radius(case, steps, radius))
            for i in range(len(value)):
                low, high = value[i] - optimum.upper[i], value[i] - optimum.lower[i]
                witness = f"{name}, instance {i}, K={steps}"
                measured.append(
                    Measurement(
                        float(low), float(high), float(bound[i]), witness, scale=float(scale[i])
                    )
                )
    return holds("average", "f̄(θ_K)−min f̄ ≤ LR0²/2K", "<=", measured, corrected=True)


def _with_radius(case: Case, steps: int, radius: Float) -> Setting:
    """The case's setting with the distance to another point."""
    setting = case.setting(steps)
    return Setting(
        setting.num_tasks,
        steps,
        radius,
        setting.lipschitz,
        smoothness=setting.smoothness,
    )


def _average_worst(context: Context) -> Check:
    """F at the average's iterate over T, against the minimax optimum."""
    measured = []
    for name in _NONNEGATIVE:
        case = context.case(name)
        for steps in context.effort.steps[:2]:
            setting = case.setting(steps)
            last = average_descent(case.problem, setting, case.start).last
            worst = np.max(case.problem.losses(last), axis=-1) / case.problem.num_tasks
            bound, scale = bounds.gradient_descent(setting), case.constants.loss_range
            for i in range(len(worst)):
                low, high = worst[i] - case.optimum.upper[i], worst[i] - case.optimum.lower[i]
                witness = f"{name}, instance {i}, K={steps}"
                measured.append(
                    Measurement(
                        float(low), float(high), float(bound[i]), witness, scale=float(scale[i])
                    )
                )
    statement = "F(θ_K)/T − F* ≤ LR0²/2K for f_t ≥ 0"
    return holds("average, F", statement, "<=", measured, corrected=True)


def _factor(context: Context) -> Check:
    """The factor T is approached: A|θ−1| against T - 1 times |θ|, ratio A + 1."""
    measured = []
    for tasks in (3, 10):
        steepness = 0.8 * (tasks - 1)
        problem = absolute_pair(steepness, tasks)
        start = np.array([0.5])
        # the mean risk has slope 0.2 (T - 1)/T; so many steps of R0/(L' sqrt K) reach 0
        steps = int(np.ceil((steepness * tasks / (0.2 * (tasks - 1))) ** 2)) + 1
        context.note(f"D1 average on the absolute pair, T = {tasks}, K = {steps:,}")
        setting = Setting(tasks, steps, 0.5, steepness, smoothness=0.0)
        last = average_descent(problem, setting, start).last
        ratio = float(np.max(problem.losses(last))) * (steepness + 1) / steepness
        witness = f"T={tasks}, A={steepness:g}, K={steps}"
        measured.append(Measurement.value(ratio, steepness + 1, witness, tolerance=1e-9 * tasks))
    return holds("factor T", "F(θ_avg)/F* = A+1, A<T−1", "==", measured, corrected=True)
