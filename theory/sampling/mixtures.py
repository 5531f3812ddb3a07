r"""Downstream mixtures worth measuring: the simplex family C4 and a search for the hardest.

What is found is a *lower* estimate of :math:`\max_\lambda N_\lambda`: the safe side when testing
that it is below a bound, the unsafe side for any statement of how loose the bound is.
"""

from itertools import combinations

import numpy as np

from theory.sampling.laws import Float, Rng, SampledRisk, TaskSamples

MAX_VERTICES = 64
RANDOM_EACH = 8


def candidates(rng: Rng, tasks: int) -> Float:
    """Vertices, midpoints of edges, barycentre, sparse and uniform random mixtures.

    Args:
        rng: source of the random ones.
        tasks: T.

    Returns:
        ``[n, T]``, each on the simplex.
    """
    corners = np.eye(tasks)[:MAX_VERTICES]
    edges = [0.5 * (a + b) for a, b in combinations(corners[:8], 2)]
    sparse = rng.dirichlet(np.full(tasks, 0.1), RANDOM_EACH)
    dense = rng.dirichlet(np.ones(tasks), RANDOM_EACH)
    return np.concatenate([corners, *(e[None] for e in edges), sparse, dense, *_barycentre(tasks)])


def hardness(risk: SampledRisk) -> float:
    r""":math:`\tfrac12\mathrm{tr}(H^{-1}C)`, what n times the mean excess risk tends to."""
    return 0.5 * float(np.trace(np.linalg.solve(risk.mean_hessian, risk.gradient_noise)))


def hardest_mixture(samples: TaskSamples, rng: Rng, steps: int) -> Float:
    """The mixture of largest `hardness` found among the candidates and by local search.

    Hardness stands in for N itself, which it is proportional to as epsilon falls if the shape of
    the noise stays the same; it costs no sampling.

    Args:
        samples: the tasks.
        rng: source of candidates and steps.
        steps: random steps from the best candidate, each kept if it is harder.

    Returns:
        ``[T]`` on the simplex.
    """
    found = max(candidates(rng, samples.num_tasks), key=lambda w: hardness(samples.mixture(w)))
    best = hardness(samples.mixture(found))
    for _ in range(steps):
        trial = found * np.exp(0.3 * rng.standard_normal(len(found)))
        trial /= np.sum(trial)
        value = hardness(samples.mixture(trial))
        if value > best:
            found, best = trial, value
    return np.asarray(found)


def _barycentre(tasks: int) -> list[Float]:
    return [np.full((1, tasks), 1 / tasks)]
