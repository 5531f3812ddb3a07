"""Worst-case task weighting: the core of softmax weighted gradient descent (arXiv 2306.12070).

Everything here is a pure function of arrays and works on NumPy and torch alike; torch is optional.

>>> import numpy as np
>>> from taskrobust import softmax_weights
>>> softmax_weights(np.array([0.2, 0.9, 0.4]), alpha=10.0).round(3)
array([0.001, 0.992, 0.007])
"""

from taskrobust.schedules import (
    alpha_for_tolerance,
    anytime_alpha,
    anytime_step_size,
    constant_alpha,
    constant_step_size,
    paper_alpha,
    sharp_constant,
    sharpened_alpha,
    strongly_convex_alpha,
    strongly_convex_step_size,
)
from taskrobust.weights import smooth_max, softmax_gap, softmax_weights

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "alpha_for_tolerance",
    "anytime_alpha",
    "anytime_step_size",
    "constant_alpha",
    "constant_step_size",
    "paper_alpha",
    "sharp_constant",
    "sharpened_alpha",
    "smooth_max",
    "softmax_gap",
    "softmax_weights",
    "strongly_convex_alpha",
    "strongly_convex_step_size",
]
