"""Reading saved numbers and drawn lines without the code under test."""

import csv
from collections import defaultdict


def table(directory, name):
    """Rows of a CSV file as dictionaries of text."""
    with (directory / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def curves(rows, panel, abscissa, ordinate):
    """Per series of a panel, {x: largest y}, from CSV rows."""
    found = defaultdict(dict)
    for row in rows:
        if row["panel"] == panel and row[ordinate]:
            at, value = float(row[abscissa]), float(row[ordinate])
            curve = found[row["series"]]
            curve[at] = max(curve.get(at, -float("inf")), value)
    return found


def drawn(axes):
    """All lines of the axes as {x: y}, in drawing order."""
    return [
        dict(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axes.lines
    ]
