"""The study's page in Markdown, and its tables for the terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.table import Table

from experiments.mechanisms.nonconvex.results import NEAR, Section, sections

__all__ = ["NOTES", "WIDTH", "tables", "to_markdown"]

WIDTH = 120
"""Columns when the output is not a terminal, or a narrower one."""

NOTES = f"""\
- Mean ± standard deviation over seeds; of steps the largest over seeds, or – if a seed did not get
  there. Risks are training risks over all examples, if nothing else is said.
- Gap of the network: to the lowest worst risk that any arm reached in that seed, which is what the
  steps to {NEAR} × best refer to; the true minimax value is not known.
- Gap of a control: to the upper end of the certified minimax value. Bound (8') is of the mean
  iterate, of θ_0 … θ_{{K−1}}: R₀L'/√K + mean of c_T/α_k; it holds for plain gradient descent with
  the step size of Theorem 3.1, with R₀ and L' certified. Adam is the network's recipe, and has no
  such guarantee.
- Clarke: distance of 0 from the convex hull of the gradients of the tasks that are nearly worst.
  ‖∇F_α‖ is ‖Σ w_t ∇f_t‖; for the average it is the norm of the mean gradient, for the hard maximum
  that of a worst task.
- Schedules sharpened and printed: of the network with R₀, L' and B as the pilot run showed them,
  which are no bounds; of the controls with certified ones.
"""
"""What the columns mean."""


def tables(content: Mapping[str, Any]) -> list[Table]:
    """The tables for a terminal.

    Args:
        content: of ``nonconvex.json``.
    """
    return [_table(section) for section in sections(content)]


def to_markdown(content: Mapping[str, Any]) -> str:
    """The tables with how they were made.

    Args:
        content: of ``nonconvex.json``.
    """
    return "\n".join(_lines(content)) + "\n"


def _table(section: Section) -> Table:
    shown = Table(title=section.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("arm", no_wrap=True)
    columns = [column for column in section.columns if column.terminal]
    for column in columns:
        shown.add_column(column.title, justify="right", min_width=6)
    for row in section.rows:
        shown.add_row(row.arm, *(row.cell(column, spread=False) for column in columns))
    return shown


def _lines(content: Mapping[str, Any]) -> Iterator[str]:
    yield "# Softmax weighting outside convexity"
    yield ""
    yield "![The same numbers as curves](nonconvex.png)"
    yield ""
    for section in sections(content):
        yield f"## {section.title}"
        yield ""
        yield "| arm | " + " | ".join(column.title for column in section.columns) + " |"
        yield "|---|" + "---:|" * len(section.columns)
        for row in section.rows:
            yield f"| {row.arm} | " + " | ".join(map(row.cell, section.columns)) + " |"
        yield ""
    yield NOTES
    yield "## How it was run"
    yield ""
    yield f"    {content['command']}"
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in content["versions"].items()) + "; "
    seconds = sum(run["seconds"] for run in (*content["network"], *content["control"]))
    yield f"{content['date']}; {seconds / 60:.0f} minutes in all runs."
    yield ""
    yield "```yaml"
    yield content["configuration"].rstrip()
    yield "```"
