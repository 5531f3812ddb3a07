"""Certified small cases and one way to run any method on them."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tests.theory.instances import batch
from theory.optima import certify_batch
from theory.problems import ConvexProblem, DenseQuadratic, MaxLinear, starting_points
from theory.schedules import Setting
from theory.solvers import SOLVERS, Result, Solver
from theory.solvers.inputs import instance_setting
from theory.testbed import Case

BATCHED = tuple(name for name, solver in SOLVERS.items() if solver.batched)
BOUNDED = tuple(name for name, solver in SOLVERS.items() if solver.bound is not None)


@cache
def case(family: str) -> Case:
    """Three instances, four tasks in three dimensions, certified."""
    problem = batch(family)
    start = starting_points(problem, np.random.default_rng(5))
    return Case(family, problem, start, certify_batch(problem))


@dataclass(frozen=True)
class Single:
    """One instance with all that a method may need."""

    problem: ConvexProblem
    setting: Setting
    start: np.ndarray
    target: float

    def run(self, solver: Solver, checkpoints: tuple[int, ...] = (), steps: int = 0) -> Result:
        setting = replace(self.setting, num_steps=steps) if steps else self.setting
        extra = {"target": self.target} if solver.needs_optimum else {}
        return solver.run(self.problem, setting, self.start, checkpoints, **extra)


def single(family: str, steps: int, index: int = 1) -> Single:
    whole = case(family)
    setting = instance_setting(whole.setting(steps), index)
    target = float(whole.optimum.upper[index])
    return Single(whole.problem[index], setting, whole.start[index], target)


def run_batch(solver: Solver, family: str, steps: int) -> Result:
    whole = case(family)
    extra = {"target": whole.optimum.upper} if solver.needs_optimum else {}
    return solver.run(whole.problem, whole.setting(steps), whole.start, **extra)


def applies(solver: Solver, family: str) -> bool:
    """Whether a family meets the assumptions of a method."""
    smoothness = case(family).constants.smoothness
    if solver.name == "MGDA" and np.any(smoothness == 0):
        return False
    return not solver.smooth or bool(np.all(np.isfinite(smoothness)))


def moved(one: Single, rotation: np.ndarray, shift: np.ndarray) -> Single:
    """The same instance in the coordinates ``rotation @ theta + shift``."""
    problem = one.problem
    domain = type(problem.domain)(rotation @ problem.domain.center + shift, problem.domain.radius)
    if isinstance(problem, MaxLinear):
        slopes = problem.slopes @ rotation.T
        changed = MaxLinear(domain, slopes, problem.offsets - slopes @ shift)
    else:
        assert isinstance(problem, DenseQuadratic)
        hessians = rotation @ problem.hessians @ rotation.T
        hessians = 0.5 * (hessians + np.swapaxes(hessians, -1, -2))
        changed = DenseQuadratic(domain, hessians, problem.minimizers @ rotation.T + shift)
    return replace(one, problem=changed, start=rotation @ one.start + shift)


def scaled(one: Single, factor: float) -> Single:
    """The same instance with all risks multiplied by a factor."""
    problem = one.problem
    if isinstance(problem, MaxLinear):
        changed = replace(problem, slopes=factor * problem.slopes, offsets=factor * problem.offsets)
    else:
        assert isinstance(problem, DenseQuadratic)
        changed = replace(problem, hessians=factor * problem.hessians)
    names = ("lipschitz", "loss_bound", "smoothness", "strong_convexity")
    setting = replace(one.setting, **{name: factor * getattr(one.setting, name) for name in names})
    return Single(changed, setting, one.start, factor * one.target)


def permuted(one: Single, order: np.ndarray) -> Single:
    """The same instance with its tasks in another order."""
    problem = one.problem
    if isinstance(problem, MaxLinear):
        changed = replace(problem, slopes=problem.slopes[order], offsets=problem.offsets[order])
    else:
        assert isinstance(problem, DenseQuadratic)
        changed = replace(
            problem, hessians=problem.hessians[order], minimizers=problem.minimizers[order]
        )
    return replace(one, problem=changed)
