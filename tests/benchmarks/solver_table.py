"""Time to a certified optimum: `theory.solve` against Clarabel and SciPy's SLSQP.

Nobody's status is believed: a run counts as done when the same interval, the objective at the
projected point above and the weighted risk's lower bound below, is no wider than the target times
|F*|. Clarabel is asked for exactly the accuracy that achieves this, found by trial beforehand, and
gets the smaller of two formulations. Every case has a process of its own with one BLAS thread
(Clarabel's factorisation has one as well), in which the solvers take turns; large cases have one
process for each solver, so that its peak memory can be told.

HiGHS is left out: with a linear objective it solves linear programs, and the ball is not one; a box
would be another problem.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cvxpy as cp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize, nnls

from theory.problems import Ball, ConvexProblem, DiagonalQuadratic, Logistic, MaxLinear
from theory.problems.generate import conditioned, logistic, max_linear
from theory.solve import solve
from theory.solvers.second_order import task_gradients

TARGETS = (1e-3, 1e-6)
FAMILIES = {
    "linear": (max_linear, MaxLinear),
    "quadratic": (lambda *sizes: conditioned(*sizes, condition=10.0), DiagonalQuadratic),
    "logistic": (logistic, Logistic),
}
QUICK = [(family, n, n) for n in (10, 100) for family in FAMILIES]
FULL = [
    *QUICK,
    ("linear", 1_000, 1_000),
    ("quadratic", 1_000, 1_000),
    ("linear", 10_000, 100),
    ("linear", 10_000, 1_000),
]
LARGE = 100_000
"""Entries T x d from which every solver runs once, alone, and its memory is measured."""
LIMIT = 150
"""Seconds after which a process is stopped."""

Answer = tuple[np.ndarray, np.ndarray]
"""A point and task weights."""


def report(console: Console, *, quick: bool) -> list[dict]:
    """Time all solvers on all cases, print the table and return its rows.

    Args:
        console: where to print.
        quick: only cases of at most 100 tasks, which take about half a minute; all take ten.

    Returns:
        A row for each case and solver: seconds of every repeat for each target (None: stopped after
        `LIMIT` seconds, or target missed), widths relative to |F*|, peak memory as a multiple of
        the problem's arrays (large cases).
    """
    rows = []
    for family, tasks, dim in QUICK if quick else FULL:
        with console.status(f"{family}, {tasks} x {dim}"):
            rows += _case(family, tasks, dim)
    table = Table(title="Seconds to a certified optimum, one thread (ratio to Clarabel)")
    for column in ("tasks T × d", "solver", "to 1e-3", "to 1e-6", "width / |F*|", "peak / data"):
        table.add_column(column, justify="left" if column == "solver" else "right")
    for row in rows:
        rival = next(r for r in rows if r["case"] == row["case"] and r["solver"] == "Clarabel")
        times = [_time_cell(row, rival, str(target)) for target in TARGETS]
        width = row["width"][str(TARGETS[-1])]
        memory = "" if row["peak"] is None else f"{row['peak']:.1f}"
        reached = "–" if width is None else f"{width:.0e}"
        table.add_row(row["case"], row["solver"], *times, reached, memory)
    console.print(table)
    return rows


def _case(family: str, tasks: int, dim: int) -> list[dict]:
    """Rows of one case: small ones in one process, large ones in a process for each run."""
    generate, _ = FAMILIES[family]
    problem = generate(np.random.default_rng(0), 1, tasks, dim)[0]
    large = tasks * dim >= LARGE
    names = ["theory.solve", "Clarabel"] if large else list(SOLVERS)
    arrays = {n: v for n, v in vars(problem).items() if isinstance(v, np.ndarray)}
    rows = {name: _empty(name) | {"case": f"{family} {tasks} × {dim}"} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{family}.npz"
        np.savez(path, **arrays, center=problem.domain.center, radius=problem.domain.radius)
        del problem
        for target in TARGETS:
            for group in [[name] for name in names] if large else [names]:
                if any(rows[name]["stopped"] for name in group):
                    continue  # the finer target cannot take less
                for found in _worker(path, target, 1 if large else 5, group):
                    row, key = rows[found["solver"]], str(target)
                    row["seconds"][key], row["width"][key] = found["seconds"], found["width"]
                    row["stopped"] = found["seconds"] is None
                    row["extra_bytes"] = max(row["extra_bytes"], found["extra_bytes"])
    data = sum(value.nbytes for value in arrays.values())
    for row in rows.values():
        measured = large and not row["stopped"]
        row["peak"] = 1 + row["extra_bytes"] / data if measured else None
    return list(rows.values())


def _empty(name: str) -> dict:
    nothing = {str(target): None for target in TARGETS}
    return {
        "solver": name,
        "seconds": dict(nothing),
        "width": dict(nothing),
        "extra_bytes": 0,
        "stopped": False,
    }


def _worker(path: Path, target: float, repeats: int, names: list[str]) -> list[dict]:
    """What the named solvers take in a fresh process with one thread."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", __name__, str(path), str(target), str(repeats), *names]
    with subprocess.Popen(
        command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            stopped = {"seconds": None, "width": None, "extra_bytes": 0}
            return [{"solver": name, **stopped} for name in names]
    if process.returncode:
        raise RuntimeError(f"the solvers {names} failed on {path.stem}")
    return json.loads(output)


def _time_cell(row: dict, rival: dict, target: str) -> str:
    seconds, reference = row["seconds"][target], rival["seconds"][target]
    if seconds is None:
        return f"> {LIMIT}"
    shown = f"{np.median(seconds):.3g}"
    if reference is None or row is rival:
        return shown
    return f"{shown} ({np.median(np.divide(seconds, reference)):.2g})"


def _ours(problem: ConvexProblem, target: float) -> Answer:
    found = solve(problem, target)
    return found.point, found.weights


def _clarabel(problem: ConvexProblem, target: float) -> Answer:
    theta, worst = cp.Variable(problem.domain.dim), cp.Variable()
    below = problem.epigraph(theta, worst)
    ball = cp.norm2(theta - problem.domain.center) <= problem.domain.radius
    program = cp.Problem(cp.Minimize(worst), [ball, *below])
    accuracy = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), target)
    program.solve(solver=cp.CLARABEL, **accuracy)
    weights = np.maximum(np.ravel(below[-1].dual_value), 0)
    return problem.domain.project(theta.value), weights / np.sum(weights)


def _slsqp(problem: ConvexProblem, target: float) -> Answer:
    center, radius = problem.domain.center, float(problem.domain.radius)

    def slack(z: np.ndarray) -> np.ndarray:
        offset = z[:-1] - center
        return np.append(z[-1] - problem.losses(z[:-1]), radius**2 - offset @ offset)

    def slack_rows(z: np.ndarray) -> np.ndarray:
        rows = np.vstack([-task_gradients(problem, z[:-1]), -2 * (z[:-1] - center)])
        return np.column_stack([rows, np.append(np.ones(problem.num_tasks), 0.0)])

    found = minimize(
        lambda z: z[-1],
        np.append(center, np.max(problem.losses(center))),
        jac=lambda z: np.append(np.zeros_like(center), 1.0),
        constraints={"type": "ineq", "fun": slack, "jac": slack_rows},
        method="SLSQP",
        options={"ftol": target, "maxiter": 1000},
    )
    point = problem.domain.project(found.x[:-1])
    return point, _multipliers(problem, point, target)


def _multipliers(problem: ConvexProblem, point: np.ndarray, target: float) -> np.ndarray:
    """Weights of the nearly active tasks whose gradients cancel best, against the ball's normal."""
    losses = problem.losses(point)
    active = losses >= np.max(losses) - target * (1 + np.ptp(losses))
    normal = (point - problem.domain.center)[:, None] / problem.domain.radius
    columns = np.hstack([task_gradients(problem, point)[active].T, normal])
    total = 1e3 * np.append(np.ones(np.sum(active)), 0.0)  # the weights sum to 1
    found, _ = nnls(np.vstack([columns, total]), np.append(np.zeros(point.size), 1e3))
    weights = np.zeros(problem.num_tasks)
    weights[active] = found[:-1]
    return weights / np.sum(weights)


SOLVERS: dict[str, Callable[[ConvexProblem, float], Answer]] = {
    "theory.solve": _ours,
    "Clarabel": _clarabel,
    "SLSQP": _slsqp,
}


def relative_width(problem: ConvexProblem, answer: Answer) -> float:
    """Width of the interval that an answer proves, relative to |F*|; independent of the solver."""
    point, weights = answer
    upper = float(np.max(problem.losses(point)))
    slope = problem.weighted_gradient(point, weights)
    value = weights @ problem.losses(point) + slope @ (problem.domain.center - point)
    lower = float(value - problem.domain.radius * np.linalg.norm(slope))
    if hasattr(problem, "dual_bound"):
        lower = max(lower, float(problem.dual_bound(weights)))
    return (upper - lower) / abs(upper)


def _run(problem: ConvexProblem, name: str, asked: float) -> tuple[float, float]:
    """Seconds of one run, without the time to judge it, and the relative width it proves."""
    started = time.perf_counter()
    answer = SOLVERS[name](problem, asked)
    seconds = time.perf_counter() - started
    return seconds, relative_width(problem, answer)


def _time_all(path: Path, target: float, repeats: int, names: list[str]) -> list[dict]:
    """Seconds of the named solvers on the problem at `path`; they take turns."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    domain = Ball.of(arrays.pop("center"), arrays.pop("radius"))
    problem = FAMILIES[path.stem][1](domain, **arrays)
    _warm_up(path.stem, names)
    before = _forget_peak()
    asked, rows = {}, {}
    for name in names:
        for accuracy in target * 10.0 ** -np.arange(5.0):
            seconds, width = _run(problem, name, accuracy)
            if width <= target:
                asked[name] = accuracy
                rows[name] = {"solver": name, "seconds": [seconds], "width": width}
                break
        else:
            raise RuntimeError(f"{name} does not reach {target:g} on {path.stem}")
    if repeats > 1:
        rounds = [{n: _run(problem, n, asked[n])[0] for n in names} for _ in range(repeats)]
        for name, row in rows.items():
            row["seconds"] = [each[name] for each in rounds]
    extra = _peak_bytes() - before
    return [{**row, "extra_bytes": extra} for row in rows.values()]


def _warm_up(family: str, names: list[str]) -> None:
    """A tiny problem for every solver: imports and first calls are neither time nor memory."""
    tiny = FAMILIES[family][0](np.random.default_rng(1), 1, 3, 2)[0]
    for name in names:
        SOLVERS[name](tiny, 1e-3)


def _forget_peak() -> int:
    """Resident bytes now; on Linux the peak starts afresh, elsewhere it hides what fits below."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_bytes()


def _peak_bytes() -> int:
    """Largest resident size of this process so far."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text().split()
        return int(status[status.index("VmHWM:") + 1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    source, wanted, count, *chosen = sys.argv[1:]
    json.dump(_time_all(Path(source), float(wanted), int(count), chosen), sys.stdout)
