"""The testbed: the `Problem` protocol, one file a family, and generators of instances."""

from theory.problems.base import (
    Ball,
    Constants,
    ConvexProblem,
    Float,
    Problem,
    jacobian,
)
from theory.problems.counting import CountedProblem, OracleCounts
from theory.problems.generate import FAMILIES, starting_points
from theory.problems.linear import MaxLinear, absolute_pair, two_slope
from theory.problems.logistic import Logistic, digits_by_class
from theory.problems.quadratic import DenseQuadratic, DiagonalQuadratic, appendix_c
from theory.problems.regression import AbsoluteRegression, HuberRegression
from theory.problems.worst_case import AngledWorstCase, DroriTeboulle

__all__ = [
    "FAMILIES",
    "AbsoluteRegression",
    "AngledWorstCase",
    "Ball",
    "Constants",
    "ConvexProblem",
    "CountedProblem",
    "DenseQuadratic",
    "DiagonalQuadratic",
    "DroriTeboulle",
    "Float",
    "HuberRegression",
    "Logistic",
    "MaxLinear",
    "OracleCounts",
    "Problem",
    "absolute_pair",
    "appendix_c",
    "digits_by_class",
    "jacobian",
    "starting_points",
    "two_slope",
]
