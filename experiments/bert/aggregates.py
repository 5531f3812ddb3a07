"""How the risks of several classes are summed up in tables and figures."""

__all__ = ["AGGREGATES", "FEW"]

AGGREGATES = {
    "worst": "worst",
    "worst_but_interjection": "worst*",
    "mean": "mean",
    "mean_but_interjection": "mean*",
    "token_mean": "token mean",
}
"""Titles of the risks over several classes, by field; the star leaves the interjection out."""

FEW = 30
"""Intervals of a class with fewer held-out pieces cannot be trusted, and are not shown."""
