"""Small convex problems of the control, drawn at random."""

import numpy as np

from experiments.mechanisms.nonconvex.control import HeadTasks
from experiments.mechanisms.nonconvex.descent import Recipe


def random_head(seed, *, tasks=3, examples=4, features=2, classes=3, ridge=0.05):
    rng = np.random.default_rng(seed)
    count = tasks * examples
    inputs = np.hstack([rng.normal(size=(count, features)), np.ones((count, 1))])
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    return HeadTasks(inputs, labels, np.repeat(np.arange(tasks), examples), ridge)


def recipe(steps, rate, **options):
    return Recipe(
        **{
            "steps": steps,
            "learning_rate": rate,
            "adam": False,
            "risk_points": 20,
            "gradient_points": 2,
            "active": 0.05,
            **options,
        }
    )
