"""The numbers of the figure `figures.smoothing`: gaps of Algorithm 1 at many sharpnesses."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from figures.data import Column, FigureData
from taskrobust.schedules import sharp_constant
from theory import bounds, stochastic_bounds
from theory.claims.b03_moving_average import sign_law
from theory.descent import descend
from theory.optima import certify
from theory.problems import (
    AngledWorstCase,
    DroriTeboulle,
    Float,
    Problem,
    two_slope,
)
from theory.schedules import SCHEDULES, Schedule, Setting, stack
from theory.stochastic import FiniteLaw, batches, descend_minibatch
from theory.testbed import Case, Context

NAME = "smoothing"

FAMILY = "max-linear"
"""Family of the testbed that is shown."""

SHOWN = ("paper", "log T", "sharpened", "constant", "alpha = 1")
"""Schedules that are shown."""

LONGEST = 1_000
"""The number of steps is the largest of the effort's that does not exceed this."""

BATCHES = (1, 8, 64)
REPLICATES = 1_000
ERRORS = 4.0
"""Half-width of the intervals of expected gaps, in standard errors."""

COLUMNS: Mapping[str, Column] = {
    "panel": Column("text", "schedules, exact or minibatch"),
    "series": Column("text", "schedule, instance or formula"),
    "batch": Column("integer", "samples in a batch; 0 for exact losses"),
    "instance": Column("integer", "index of the instance in its family"),
    "x": Column(
        "number",
        "schedules: k + 1; exact: (harmonic mean of the) sharpness times R0 L'; "
        "minibatch: sharpness, per loss unit; inf for the hard maximum",
    ),
    "lower": Column(
        "number",
        "schedules: sharpness times R0 L'; otherwise lower end of the gap F - F*: certified, in "
        "units of R0 L' (exact); expected, in loss units, 4 standard errors (minibatch)",
    ),
    "upper": Column("number", "upper end of the same; equal to lower for formulas"),
    "bound": Column("number", "guarantee for the measured gap, in its unit; empty otherwise"),
}
Row = tuple[str, str, int, int, float, float, float, float]


def compute(context: Context) -> FigureData:
    """Run Algorithm 1 at many sharpnesses.

    Args:
        context: effort (``steps`` up to `LONGEST`, ``instances``, ``tasks``, ``dim``) and seed.

    Returns:
        One row for each panel, series, batch size, instance and abscissa.
    """
    steps = max(k for k in context.effort.steps if k <= LONGEST)
    case = context.case(FAMILY)
    rows = [*_schedules(case, steps), *_exact(context, case, steps), *_minibatch(context, steps)]
    tasks = context.effort.tasks
    parameters = {
        "effort": asdict(context.effort),
        "steps": steps,
        "sharp_constant": sharp_constant(tasks),
        "replicates": REPLICATES,
        "batches": list(BATCHES),
    }
    return FigureData.of(NAME, COLUMNS, rows, parameters)


def _schedules(case: Case, steps: int) -> Iterator[Row]:
    """Sharpness of every step, first instance."""
    setting = case.setting(steps)
    scale = float(case.radius[0] * case.constants.lipschitz[0])
    shown = np.unique(np.round(np.geomspace(1, steps, 40)).astype(int))
    for series in SHOWN:
        alpha = _every_step(SCHEDULES[series](setting), case)
        for k in shown.tolist():
            yield _formula("schedules", series, float(k), float(alpha[k - 1, 0]) * scale)


def _exact(context: Context, case: Case, steps: int) -> Iterator[Row]:
    """Gaps at constant sharpness and of the schedules, in units of R0 L', and the bound."""
    tasks = case.problem.num_tasks
    best = math.sqrt(steps) * max(sharp_constant(tasks), 0.1)
    grid = best * np.geomspace(1e-2, 1e2, 25)
    setting = Setting(tasks, steps, 1.0, 1.0)
    for sharpness in np.geomspace(grid[0], grid[-1], 97).tolist():
        softmax = float(bounds.softmax_gap(tasks, sharpness))
        descent = float(bounds.subgradient(setting))
        for series, value in (
            ("bound", descent + softmax),
            ("descent", descent),
            ("softmax", softmax),
        ):
            yield _formula("exact", series, sharpness, value)
    context.note(f"exact losses: {len(grid)} sharpnesses on {FAMILY}, K = {steps:,}")
    plans = [_constant(case.setting(steps), sharpness) for sharpness in grid.tolist()]
    average = descend(case.problem, stack(plans, case.problem.batch_shape), case.start).average
    for sharpness, theta in zip(grid.tolist(), average, strict=True):
        means = np.full(len(case.start), sharpness)
        yield from _gaps(FAMILY, case, steps, means, theta)
    for series in SHOWN:
        plan = SCHEDULES[series](case.setting(steps))
        scale = case.radius * case.constants.lipschitz
        means = scale / np.mean(1 / _every_step(plan, case), axis=0)
        average = descend(case.problem, plan, case.start).average
        yield from _gaps(series, case, steps, means, average)
    context.note(f"exact losses: instances that attain the bound, K = {steps:,}")
    yield from _attaining(tasks, steps, grid)


def _every_step(plan: Schedule, case: Case) -> Float:
    """Sharpness ``[K, I]``."""
    return stack([plan], case.problem.batch_shape).alpha[:, 0]


def _constant(setting: Setting, sharpness: float) -> Schedule:
    """Constant sharpness in units of 1/(R0 L'), with the step size of Theorem 3.1."""
    base = SCHEDULES["constant"](setting)
    scale = np.asarray(setting.radius * setting.lipschitz)
    alpha = np.broadcast_to(sharpness / scale, (setting.num_steps, *scale.shape))
    return Schedule(alpha, base.step_size, base.averaging)


def _gaps(series: str, case: Case, steps: int, means: Float, theta: Float) -> Iterator[Row]:
    """Certified gaps of all instances."""
    scale = case.radius * case.constants.lipschitz
    tasks = case.problem.num_tasks
    lower, upper = (end / scale for end in case.gap(theta))
    numbers = zip(means.tolist(), lower.tolist(), upper.tolist(), strict=True)
    for index, (x, low, high) in enumerate(numbers):
        yield "exact", series, 0, index, x, low, high, _bound(tasks, steps, x)


def _bound(tasks: int, steps: int, sharpness: float) -> float:
    """Bound (8') in units of R0 L'; ``sharpness`` is the harmonic mean of alpha R0 L'."""
    unit = bounds.subgradient(Setting(tasks, steps, 1.0, 1.0))
    return float(unit + bounds.softmax_gap(tasks, sharpness))


def _attaining(tasks: int, steps: int, grid: Float) -> Iterator[Row]:
    """Two slopes, the hardest function in T copies, and the angled instance of B6; F* is exact."""
    for sharpness in grid.tolist():
        slopes = two_slope(tasks, max(sharp_constant(tasks), 1.0), radius=3.0)
        start = np.array([1.0])
        setting = Setting(tasks, steps, 1.0, slopes.constants().lipschitz)
        plan = _constant(setting, sharpness)
        yield _closed_form("one opposed", sharpness, slopes, plan, start, setting, 0.0)
        copies = DroriTeboulle(steps, tasks)
        setting = Setting(tasks, steps, copies.start_radius, 1.0)
        plan = _constant(setting, sharpness)
        start = np.zeros(steps)
        yield _closed_form("copies", sharpness, copies, plan, start, setting, copies.optimum)
    many = max(tasks, 9)
    sharpness = math.sqrt(steps) * sharp_constant(many)
    angled = AngledWorstCase(steps, many, sharp_constant(many), sine=steps**-0.25)
    setting = Setting(many, steps, angled.start_radius, 1.0)
    plan = SCHEDULES["constant"](setting)
    yield _closed_form("angled", sharpness, angled, plan, angled.start, setting, angled.optimum)


def _closed_form(
    series: str,
    sharpness: float,
    problem: Problem,
    schedule: Schedule,
    start: Float,
    setting: Setting,
    optimum: float,
) -> Row:
    """Gap of the averaged iterate in units of R0 L'."""
    average = descend(problem, schedule, start).average
    gap = float(np.max(problem.losses(average))) - optimum
    gap /= float(setting.radius * setting.lipschitz)
    bound = _bound(setting.num_tasks, setting.num_steps, sharpness)
    return "exact", series, 0, 0, sharpness, gap, gap, bound


def _minibatch(context: Context, steps: int) -> Iterator[Row]:
    """Expected gaps on two tasks with sign noise in one of them, and B3."""
    law = sign_law(-0.5)
    optimum = certify(law)
    noise, start = float(law.noise(optimum.point)), np.array([-1.0])
    radius = float(np.linalg.norm(start - optimum.point))
    setting = Setting(2, steps, radius, float(law.constants().lipschitz))
    for size in BATCHES:
        context.note(f"minibatches of {size}, K = {steps:,}")
        best = math.sqrt(2 * size * math.log(2)) / noise
        for alpha in (*np.geomspace(0.3, 300, 97).tolist(), best, math.inf):
            value = float(stochastic_bounds.minibatch(setting, alpha, noise, size))
            series = "best" if alpha == best else "bound"
            yield "minibatch", series, size, 0, alpha, value, value, np.nan
        for alpha in (*np.geomspace(0.3, 300, 13).tolist(), math.inf):
            worst = _worst_risks(context, law, setting, alpha, size, start)
            error = ERRORS * float(np.std(worst, ddof=1)) / math.sqrt(worst.size)
            mean = float(np.mean(worst))
            low, high = mean - error - float(optimum.upper), mean + error - float(optimum.lower)
            bound = float(stochastic_bounds.minibatch(setting, alpha, noise, size))
            yield "minibatch", "measured", size, 0, alpha, low, high, bound


def _worst_risks(
    context: Context, law: FiniteLaw, setting: Setting, alpha: float, size: int, start: Float
) -> Float:
    """F at the averaged iterates of independent replicates, ``[R]``."""
    frequencies, chances = batches(law.probabilities, size)
    rng = context.rng(f"smoothing, batches of {size}")  # common random numbers for every alpha
    upper = np.cumsum(chances)[:-1]

    def draw(_: int) -> Float:
        return frequencies[np.searchsorted(upper, rng.random(REPLICATES), side="right")]

    base = SCHEDULES["constant"](setting)
    plan = Schedule(np.full(setting.num_steps, alpha), base.step_size, base.averaging)
    run = descend_minibatch(law, plan, start, draw)
    return np.asarray(np.max(law.losses(run.average), axis=-1))


def _formula(panel: str, series: str, x: float, value: float) -> Row:
    """A row without an interval."""
    return panel, series, 0, 0, float(x), float(value), float(value), np.nan
