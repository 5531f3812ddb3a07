"""Small instances of every family, single and batched, and points of their domains."""

from functools import cache

import numpy as np

from taskrobust.schedules import sharp_constant
from theory.problems import (
    FAMILIES,
    AngledWorstCase,
    Ball,
    ConvexProblem,
    DroriTeboulle,
    Float,
    Problem,
    appendix_c,
    digits_by_class,
    two_slope,
)

TASKS, DIM, INSTANCES = 4, 3, 3


@cache
def batch(family: str) -> ConvexProblem:
    """Three instances of a random family, four tasks in three dimensions."""
    return FAMILIES[family](np.random.default_rng(11), INSTANCES, TASKS, DIM)


@cache
def single(name: str) -> Problem:
    """One instance of a random family, or one of the named instances."""
    if name in FAMILIES:
        return batch(name)[1]
    return NAMED[name]()


NAMED = {
    "appendix C": lambda: appendix_c(4.0, 5),
    "two slopes": lambda: two_slope(9, sharp_constant(9)),
    "Drori-Teboulle": lambda: DroriTeboulle(7, num_tasks=3, start_radius=1.5),
    "angled": lambda: AngledWorstCase(40, 10, sharp_constant(10), sine=0.4, start_radius=0.7),
    "digits": digits_by_class,
}
RANDOM = tuple(FAMILIES)
EVERY = (*RANDOM, *NAMED)
QUADRATIC = ("quadratic", "ill-conditioned", "large scale", "duplicates", "appendix C")


def points(domain: Ball, count: int, seed: int = 0) -> Float:
    """Points ``[count, ..., d]`` of the ball: half inside, half on the sphere."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((count, *domain.center.shape))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    depth = rng.random((count, *domain.radius.shape)) ** (1 / domain.dim)
    depth[: count // 2] = 1.0
    return domain.center + (depth * domain.radius)[..., None] * direction


def simplex(count: int, tasks: int, seed: int = 0) -> Float:
    """Weights ``[count, tasks]``: the vertices first, then random ones, some of them sparse."""
    rng = np.random.default_rng(seed)
    vertices = np.eye(tasks)[:count]
    rest = rng.dirichlet(np.full(tasks, 0.5), count - len(vertices))
    return np.concatenate([vertices, rest])
