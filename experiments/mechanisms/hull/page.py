"""Tables of the measurement: the same cells for the terminal and for Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table as RichTable

from experiments.mechanisms.hull.analysis import PLANTED, GradientRow, TraceRow
from experiments.mechanisms.hull.regression import CONSTRAINTS, Constraint, Fit
from experiments.mechanisms.hull.study import Result
from experiments.mechanisms.hull.thetas import GROUPS, Group

__all__ = ["NOTES", "Table", "markdown", "tables"]

KINDS = {
    "upstream": "task on the others",
    "related": "other risk",
    "downstream": "downstream",
    "random": "control",
}
"""What a row is."""

_RESIDUAL = """\
Residual (simplex, cone, span): squared distance of a gradient from its nearest combination, over
its squared length; 0 is exact, 1 no better than the zero vector, more than 1 worse. Simplex: Eq. 9
to the letter; cone: with a free scale s ≥ 0; span: any coefficients. λ, s and cosine: of the
cone."""
_HALVES = """\
Halves: cosine of the gradients of two halves of the held-out examples; far below 1, sampling noise
rules the residual. Noise: what the difference of the halves leaves of the cone's residual.
Corrected: that residual from products of different halves, in which noise cancels (it can leave
[0, 1]); – where the halves do not agree. Its λ is fitted to noisy gradients of the tasks, so that
it is an upper bound."""
_PLANTED = f"""\
{PLANTED}: a risk in the hull by construction, on half of the examples, fitted by the tasks on the
others; its residual is sampling noise alone."""
_LOCAL = """\
All is local: gradients agree or not at these encoders, to first order, with the heads as they are.
A downstream head is fitted on the frozen encoder, on training examples; heads of pre-training are
those it left."""
_LESS = ("noise", "span", "cosine", "λ")
"""Columns that narrow terminals have no room for."""
_WIDE = 130
"""Columns of a terminal that has."""
NOTES = tuple(note.replace("\n", " ") for note in (_RESIDUAL, _HALVES, _PLANTED, _LOCAL))
"""How the tables are to be read."""


@dataclass(frozen=True)
class Table:
    """Cells as text; the first two columns are names."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self, width: int) -> RichTable:
        """For a terminal of so many columns; in narrow ones `_LESS` is left to the page."""
        table = RichTable(title=self.title, title_justify="left", box=box.SIMPLE, pad_edge=False)
        kept = [n for n, name in enumerate(self.head) if width >= _WIDE or name not in _LESS]
        for number in kept:
            table.add_column(
                self.head[number], justify="left" if number < 2 else "right", no_wrap=number > 1
            )
        for row in self.rows:
            table.add_row(*(row[number] for number in kept))
        return table

    def markdown(self) -> str:
        """For a page."""
        align = ["---" if number < 2 else "---:" for number in range(len(self.head))]
        lines = [self.head, align, *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tables(result: Result) -> list[Table]:
    """All tables of a measurement.

    Args:
        result: of `experiments.mechanisms.hull.study.measure_all`.
    """
    last = result.thetas[-1]
    made = [
        _gradients(f"Gradients of {group} at {last.title}", rows, result.planted[group])
        for group, rows in result.last.items()
    ]
    if len(result.thetas) > 1:
        made += [
            _joint(f"One λ for {len(result.thetas)} encoders, gradients of {group}", result, group)
            for group in GROUPS
        ]
    if result.traces:
        made.append(_traces(f"Risks over {len(result.thetas)} encoders", result.traces))
    made.append(_risks(result))
    return made


def markdown(result: Result) -> str:
    """The page: tables, how they are read, how they were made."""
    lines = ["# Downstream risks and the hull of upstream ones (Eq. 9)", ""]
    for table in tables(result):
        lines += [f"## {table.title}", "", table.markdown(), ""]
    lines += ["## Notes", "", *(f"- {note}" for note in NOTES), ""]
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    lines += [f"    {result.command}", "", f"- {result.date}; {versions}", ""]
    return "\n".join([*lines, "```yaml", result.configuration.rstrip(), "```", ""])


def _gradients(title: str, rows: Sequence[GradientRow], planted: dict[Constraint, Fit]) -> Table:
    head = ("gradient of", "", "halves", "simplex", "cone", "noise", "corrected", "span")
    cells = [
        (
            row.name,
            KINDS[row.kind],
            f"{row.reliability:.2f}",
            f"{row.fits['simplex'].residual:.3f}",
            f"{row.fits['cone'].residual:.3f}",
            f"{row.noise['cone']:.3f}",
            _number(row.true["cone"]),
            f"{row.fits['span'].residual:.3f}",
            f"{row.fits['cone'].cosine:.2f}",
            f"{row.fits['cone'].scale:.3g}",
            _weights(row.regressors, row.fits["cone"]),
        )
        for row in rows
    ]
    simplex, cone, span = (f"{planted[name].residual:.3f}" for name in CONSTRAINTS)
    rest = (f"{planted['cone'].cosine:.2f}", f"{planted['cone'].scale:.3g}", "–")
    cells.append((PLANTED, "control", "–", simplex, cone, cone, "–", span, *rest))
    return Table(title, (*head, "cosine", "s", "λ"), tuple(cells))


def _joint(title: str, result: Result, group: Group) -> Table:
    head = ("gradient of", "", "cone, one λ", "noise", "corrected", "own λ", "cosine", "s", "λ")
    rows = [
        (
            row.name,
            KINDS[row.kind],
            f"{row.fits['cone'].residual:.3f}",
            f"{row.noise['cone']:.3f}",
            _number(row.true["cone"]),
            f"{result.own[group][row.name]:.3f}",
            f"{row.fits['cone'].cosine:.2f}",
            f"{row.fits['cone'].scale:.3g}",
            _weights(row.regressors, row.fits["cone"]),
        )
        for row in result.joint[group]
    ]
    return Table(title, head, tuple(rows))


def _traces(title: str, rows: Iterable[TraceRow]) -> Table:
    head = ("risk", "", "deviation", "simplex", "cone", "span", "s", "λ")
    cells = [
        (
            row.name,
            KINDS[row.kind],
            f"{row.variance**0.5:.3g}",
            *(f"{row.fits[name].residual:.3f}" for name in CONSTRAINTS),
            f"{row.fits['cone'].scale:.3g}",
            _weights(row.regressors, row.fits["cone"]),
        )
        for row in rows
    ]
    return Table(title, head, tuple(cells))


def _risks(result: Result) -> Table:
    """Held-out risks at the encoders, and how far the heads were fitted."""
    first = result.thetas[0]
    places = [place for place, kind in enumerate(first.kinds) if kind != "random"]
    rows = []
    for place in places:
        name = first.names[place]
        values = tuple(f"{theta.risks[place]:.3f}" for theta in result.thetas)
        rows.append((name, KINDS[first.kinds[place]], *values))
        if name in first.heads:
            fitted = tuple(
                f"{theta.heads[name].start:.3f} → {theta.heads[name].end:.3f}"
                for theta in result.thetas
            )
            rows.append((name, "its head, in training", *fitted))
    head = ("risk", "", *(theta.title for theta in result.thetas))
    return Table("Held-out risks", head, tuple(rows))


def _weights(names: Sequence[str], fit: Fit) -> str:
    """The largest weights, those of at least 0.05."""
    if fit.weights is None:
        return "–"
    order = sorted(range(len(names)), key=lambda t: -float(fit.weights[t]))  # type: ignore[index]
    return ", ".join(f"{names[t]} {fit.weights[t]:.2f}" for t in order if fit.weights[t] >= 0.05)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
