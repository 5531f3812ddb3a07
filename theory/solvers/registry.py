"""The peer algorithms by name, with what each promises and where it comes from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from theory import bounds, schedules
from theory.schedules import Setting
from theory.solvers.accelerated import accelerated, complete_stage, continuation
from theory.solvers.average import average_descent
from theory.solvers.bundle import level_bundle
from theory.solvers.epigraph import epigraph
from theory.solvers.gradient_descent_ascent import gradient_descent_ascent
from theory.solvers.group_dro import group_dro
from theory.solvers.mgda import mgda
from theory.solvers.mirror_prox import mirror_prox
from theory.solvers.prox_linear import prox_linear
from theory.solvers.result import Result
from theory.solvers.softmax_descent import softmax_descent
from theory.solvers.subgradient import polyak, subgradient

Bound = Callable[[Setting], Any]


@dataclass(frozen=True)
class Solver:
    """A peer algorithm.

    Attributes:
        name: unique, at most 14 characters.
        summary: what it does, in one line.
        guarantee: of the gap, in symbols.
        reference: where method and guarantee come from.
        run: ``run(problem, setting, start, checkpoints=())``.
        point: which point of the result the guarantee is about, and hence which to use.
        bound: the guarantee for F(point) - F*, in loss units; None if there is none.
        smooth: whether it needs tasks with Lipschitz gradients.
        batched: whether a batch of instances runs at once; otherwise single instances only.
        anytime: whether a run does not depend on its number of steps, so that every checkpoint has
            the guarantee.
        needs_optimum: whether ``run`` also needs ``target``, an upper bound of F*.
        sweeps: evaluations of all T risks in a step; None if that varies.
        passes: backward passes in a step, "T" for a Jacobian; None if that varies.
    """

    name: str
    summary: str
    guarantee: str
    reference: str
    run: Callable[..., Result]
    point: Literal["average", "last", "best"]
    bound: Bound | None
    smooth: bool = False
    batched: bool = True
    anytime: bool = False
    needs_optimum: bool = False
    sweeps: int | None = 1
    passes: int | Literal["T"] | None = 1


def _continuation_bound(setting: Setting) -> Any:
    """Guarantee of the longest complete stage; none before there is one."""
    stage = complete_stage(setting.num_steps)
    if stage == 0:
        return np.full(np.shape(setting.diameter), np.inf)
    return bounds.accelerated(replace(setting, num_steps=stage, radius=setting.diameter))


_ENTRIES = (
    Solver(
        "Algorithm 1",
        "gradient descent with the softmax of the current risks as weights",
        "F(θ̄)−F* ≤ 2R0L'/√K",
        "arXiv 2306.12070, Theorem 3.1, with the sharp schedule",
        softmax_descent,
        "average",
        bounds.theorem_3_1,
    ),
    Solver(
        "paper schedule",
        "Algorithm 1 with the larger sharpness that the paper prints",
        "F(θ̄)−F* ≤ 2R0L'/√K",
        "arXiv 2306.12070, Theorem 3.1",
        partial(softmax_descent, schedule=schedules.paper),
        "average",
        bounds.theorem_3_1,
    ),
    Solver(
        "hard max",
        "subgradient descent: all weight on the worst task",
        "F(θ̄)−F* ≤ R0L'/√K",
        "Shor; Nesterov, Lectures on Convex Optimization, 3.2.3",
        subgradient,
        "average",
        bounds.subgradient,
    ),
    Solver(
        "Polyak",
        "subgradient descent with the step size that knows F*",
        "best F−F* ≤ R0L'/√K",
        "Polyak, 1969",
        polyak,
        "best",
        bounds.subgradient,
        anytime=True,
        needs_optimum=True,
    ),
    Solver(
        "GroupDRO",
        "descent against exponentiated-gradient ascent in the weights",
        "F(θ̄)−F* ≤ R0L'/√K+B√(logT/2K)",
        "Sagawa et al., 2020; Freund and Schapire, 1999",
        group_dro,
        "average",
        bounds.group_dro,
    ),
    Solver(
        "GDA",
        "descent against projected Euclidean ascent in the weights",
        "F(θ̄)−F* ≤ R0L'/√K+½B√((T−1)/K)",
        "Nedić and Ozdaglar, 2009",
        gradient_descent_ascent,
        "average",
        bounds.gradient_descent_ascent,
    ),
    Solver(
        "mirror-prox",
        "extragradient, entropic in the weights",
        "F(θ̄)−F* ≤ (LR0²+√(2logT)L'R0)/K",
        "Nemirovski, 2004",
        mirror_prox,
        "average",
        bounds.mirror_prox,
        smooth=True,
        anytime=True,
        sweeps=2,
        passes=2,
    ),
    Solver(
        "accelerated",
        "accelerated descent on the smooth maximum, sharpness for K steps",
        "F(x)−F* ≤ 2√(2logT)L'R0/(K+1)+2LR0²/(K+1)²",
        "Nesterov, 2005; Tseng, 2008",
        accelerated,
        "last",
        bounds.accelerated,
        smooth=True,
    ),
    Solver(
        "continuation",
        "accelerated descent restarted with doubled sharpness",
        "best F−F* ≤ (accelerated, ≥ K/4 steps, D for R0)",
        "Nesterov, 2005; doubling as in the docstring",
        continuation,
        "best",
        _continuation_bound,
        smooth=True,
        anytime=True,
    ),
    Solver(
        "prox-linear",
        "maximum of linearised tasks plus proximal term, exactly",
        "F(x)−F* ≤ LR0²/2K",
        "Nesterov, Lectures on Convex Optimization, 2.3",
        prox_linear,
        "last",
        bounds.gradient_descent,
        smooth=True,
        batched=False,
        anytime=True,
        passes="T",
    ),
    Solver(
        "level bundle",
        "projection onto a level set of all cuts so far, one a task",
        "best F−lower bound ≤ 2DL'/√K",
        "Lemaréchal, Nemirovski and Nesterov, 1995",
        level_bundle,
        "best",
        bounds.level_bundle,
        batched=False,
        anytime=True,
        passes="T",
    ),
    Solver(
        "MGDA",
        "step along the shortest convex combination of task gradients",
        "no task rises; none for F",
        "Désidéri, 2012; Sener and Koltun, 2018",
        mgda,
        "last",
        None,
        smooth=True,
        batched=False,
        anytime=True,
        passes="T",
    ),
    Solver(
        "SLSQP",
        "sequential quadratic programming on the epigraph",
        "a KKT point; no rate",
        "Kraft, 1988, in SciPy",
        epigraph,
        "last",
        None,
        smooth=True,
        batched=False,
        sweeps=None,
        passes=None,
    ),
    Solver(
        "average",
        "gradient descent on the mean risk",
        "F(θ) ≤ T(F*+LR0²/2K); none for F−F*",
        "Eq. (4)",
        average_descent,
        "last",
        None,
    ),
)

SOLVERS: dict[str, Solver] = {entry.name: entry for entry in _ENTRIES}
"""The methods by name."""
