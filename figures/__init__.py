"""Figures of the theory, each computed, saved as data, and drawn from the saved data alone.

`python -m figures` computes every figure and writes a picture beside its numbers (a tidy CSV file
and a JSON file that says what the columns mean and how they came about); `--from-data` redraws
without computing. A figure is a module with ``compute(context) -> FigureData`` and
``draw(data) -> Figure``, listed in `figures.registry`.
"""
