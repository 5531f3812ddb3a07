"""Figures of theory and experiments, each saved as data and drawn from the saved data alone.

`python -m figures` computes the figures of the theory, reads those of finished runs, and writes a
picture beside the numbers of each (a tidy CSV file and a JSON file that says what the columns mean
and how they came about); `--from-data` redraws without computing. A figure is a module with
``compute(context) -> FigureData`` or ``read(folder) -> FigureData``, and ``draw(data) -> Figure``,
listed in `figures.registry`.
"""
