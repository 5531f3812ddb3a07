r"""General nonlinear programming on the epigraph (5): min s subject to :math:`f_t(\theta)\le s`."""

import math
import warnings
from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from theory.problems import Problem, jacobian
from theory.schedules import Setting
from theory.solvers.cutting_planes import Cuts, minimize_model
from theory.solvers.inputs import checked_start
from theory.solvers.result import Recorder, Result

Float = NDArray[np.float64]

Method = Literal["SLSQP", "trust-constr"]


def epigraph(
    problem: Problem,
    setting: Setting,
    start: Float,
    checkpoints: Collection[int] = (),
    *,
    method: Method = "SLSQP",
) -> Result:
    r"""SciPy's SLSQP or trust-constr on :math:`(\theta, s)`, with analytic Jacobians.

    For convex tasks a point that satisfies its optimality conditions is a minimiser; how far it is
    from one is bounded afterwards, by the linearised tasks at the projected point.

    Args:
        problem: smooth tasks, a single instance.
        setting: K, the largest number of the method's iterations, and R0 L', the unit of accuracy.
        start: ``[d]`` in the domain.
        checkpoints: ignored: only the end of the run is recorded, with the number of iterations.
        method: SciPy's name of the method.

    Returns:
        The result: one point, with a certified lower bound. No rate is guaranteed.

    Raises:
        ValueError: as `theory.solvers.inputs.checked_start`.
        CertificateError: the final linear model could not be solved.
    """
    del checkpoints
    theta = checked_start(problem, setting, start, needs=("smoothness",))
    recorder = Recorder(problem, setting.num_steps)
    found = _minimize(recorder.problem, setting, theta, method)
    domain = problem.domain
    theta = domain.project(domain.center + domain.radius * np.asarray(found.x[:-1], dtype=float))
    losses = recorder.problem.losses(theta)
    recorder.visit(theta, losses)
    cuts = Cuts(losses, jacobian(recorder.problem, theta), theta)
    _, multipliers = minimize_model(cuts, problem.domain, 0.0)
    recorder.bound(cuts.lower_bound(multipliers, problem.domain))
    recorder.reach(int(found.nit), theta, stop=True)
    return recorder.result()


def _minimize(problem: Problem, setting: Setting, start: Float, method: Method) -> Any:
    """Run SciPy on ((theta - center) / R, s / (R0 L')), so that its tolerances have no unit."""
    center, length = problem.domain.center, problem.domain.radius
    unit = float(setting.radius * setting.lipschitz)

    def slack(x: Float) -> Float:
        losses = problem.losses(center + length * x[:-1])
        return np.append(x[-1] - losses / unit, 1 - x[:-1] @ x[:-1])

    def slope(x: Float) -> Float:
        gradients = jacobian(problem, center + length * x[:-1]) * (length / unit)
        tasks = np.column_stack([-gradients, np.ones(problem.num_tasks)])
        return np.vstack([tasks, np.append(-2 * x[:-1], 0.0)])

    last = np.append(np.zeros(center.size), 1.0)
    first = np.append((start - center) / length, np.max(problem.losses(start)) / unit)
    constraints: Any = {"type": "ineq", "fun": slack, "jac": slope}
    options: dict[str, Any] = {"maxiter": setting.num_steps}
    if method == "SLSQP":
        options["ftol"] = 1e-12
    else:
        constraints = optimize.NonlinearConstraint(slack, 0.0, math.inf, jac=slope)
        options |= {"gtol": 1e-10, "xtol": 1e-14, "barrier_tol": 1e-10}
    with warnings.catch_warnings():
        # remarks on linear constraints and on progress; the certificate judges the outcome
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        return optimize.minimize(
            lambda x: x[-1],
            first,
            jac=lambda _: last,
            method=method,
            constraints=constraints,
            options=options,
        )
