"""What a person sees while the ledger runs: a line a check, a progress bar, and a summary."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from theory import ledger
from theory.claims import CLAIMS, Claim, Context
from theory.judge import Verdict

WIDTH = 100
"""Columns of the table when the output is not a terminal."""

_STYLES = {
    Verdict.HOLDS: "green",
    Verdict.CORRECTED: "cyan",
    Verdict.REFUTED: "yellow",
    Verdict.INCONCLUSIVE: "bold magenta",
    Verdict.FAILS: "bold white on red",
    Verdict.NOT_REFUTED: "bold white on red",
}
_COLUMNS: tuple[tuple[int, Literal["left", "right", "center"]], ...] = (
    (15, "left"),  # name
    (38, "left"),  # statement
    (10, "right"),  # measured
    (2, "center"),  # relation
    (9, "left"),  # bound
    (19, "left"),  # verdict
)


def watch(claims: Sequence[Claim], context: Context) -> ledger.Ledger:
    """Run the claims, printing every line as it is judged under a live progress bar.

    Args:
        claims: what to check.
        context: effort and seed; its `note` is set here.

    Returns:
        The finished ledger.
    """
    console = _console()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total} claims"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with progress:
        bar = progress.add_task("starting", total=len(claims))
        context.note = lambda text: progress.update(bar, description=text)
        reached = ""

        def show(line: ledger.Line) -> None:
            nonlocal reached
            if line.claim.key != reached:
                reached = line.claim.key
                console.print(_heading(line.claim))
            console.print(_row(line, console.width))

        def started(each: Iterable[Claim]) -> Iterable[Claim]:
            for done, claim in enumerate(each):
                progress.update(bar, completed=done, description=f"{claim.key} {claim.title}")
                yield claim

        return ledger.run(started(claims), context, show)


def print_summary(result: ledger.Ledger, out: Path) -> None:
    """Print the counts, every line that went wrong, and where the files are."""
    console = _console()
    counts = [f"{count} {verdict}" for verdict, count in result.counts().items() if count]
    console.print()
    for line in result.lines:
        if not line.judgement.verdict.good:
            check = line.judgement.check
            console.print(
                f"{line.claim.key} {check.name}: {line.judgement.verdict}, "
                f"measured {ledger.measured_text(line.judgement)} {check.relation} "
                f"{ledger.number_text(line.judgement.decisive.bound)} at "
                f"{line.judgement.decisive.witness}",
                style=_STYLES[line.judgement.verdict],
                markup=False,
                highlight=False,
            )
    whole = {line.claim.key for line in result.lines} >= set(CLAIMS)
    subject = "the corrected paper is" if whole else "these claims are"
    verdict = f"{subject} verified" if result.verified else "NOT VERIFIED"
    run = f"{len(result.lines)} lines at {result.effort} effort in {result.seconds:.1f} s"
    console.print(f"{run}: {', '.join(counts)}", highlight=False)
    console.print(verdict, style="bold green" if result.verified else "bold red")
    console.print(
        f"details: {out / 'ledger.md'}, {out / 'ledger.json'}", markup=False, highlight=False
    )


def print_claims(claims: Iterable[Claim]) -> None:
    """Print key, title, source and both statements of every claim."""
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, width=min(WIDTH, console.width))
    table.add_column("claim", no_wrap=True)
    table.add_column("as printed, and as corrected", ratio=1)
    for claim in claims:
        text = Text(f"{claim.title} ({claim.source})\n", style="bold")
        text.append(f"printed: {claim.printed}", style="not bold")
        if claim.corrected:
            text.append(f"\ncorrected: {claim.corrected}", style="not bold cyan")
        table.add_row(claim.key, text)
    console.print(table)


def _heading(claim: Claim) -> Text:
    text = Text(f"\n{claim.key}  {claim.title}", style="bold")
    text.append(f"  {claim.source}", style="not bold dim")
    return text


def _row(line: ledger.Line, available: int) -> Group:
    """One judged line as a table row of fixed columns; a refutation names its witness below.

    Where the columns do not fit, the numbers and the verdict go to a line of their own.
    """
    check, decisive = line.judgement.check, line.judgement.decisive
    measured = ledger.number_text(decisive.upper if check.relation == "<=" else decisive.lower)
    relation = {"<=": "≤", ">=": "≥", "==": "="}[check.relation]
    bound = ledger.number_text(decisive.bound)
    verdict = Text(line.judgement.verdict, style=_STYLES[line.judgement.verdict])
    grid = Table.grid(padding=(0, 1, 0, 0))
    if available < WIDTH:
        grid.add_column(width=_COLUMNS[0][0])
        grid.add_column()
        grid.add_row(Text(check.name), Text(check.statement))
        grid.add_row("", Text.assemble(f"{measured} {relation} {bound}  ", verdict))
    else:
        for width, justify in _COLUMNS:
            grid.add_column(width=width, justify=justify)
        grid.add_row(Text(check.name), Text(check.statement), measured, relation, bound, verdict)
    if line.judgement.verdict not in (Verdict.REFUTED, Verdict.FAILS, Verdict.INCONCLUSIVE):
        return Group(grid)
    witness = Text(f"witness: {decisive.witness}", style="dim")
    return Group(grid, Padding(witness, (0, 0, 0, _COLUMNS[0][0] + 1)))


def _console() -> Console:
    """A console at least as wide as the table when not attached to a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)
