"""Runs claims, judges every line, and turns the result into JSON and Markdown."""

import importlib.metadata
import json
import math
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import taskrobust
from theory.claims import Claim, Context
from theory.judge import Judgement, Verdict, judge

SCHEMA_VERSION = 1
"""Version of ``ledger.json``; raised whenever a field changes its meaning or goes."""


@dataclass(frozen=True)
class Line:
    """One judged line of the ledger.

    Attributes:
        claim: the claim it belongs to.
        judgement: verdict and decisive measurement.
        seconds: wall time of measuring it.
    """

    claim: Claim
    judgement: Judgement
    seconds: float


@dataclass(frozen=True)
class Ledger:
    """The judged lines of one run.

    Attributes:
        lines: in order of measurement.
        effort: name of the effort.
        seed: seed of the run.
        seconds: wall time of the whole run.
    """

    lines: tuple[Line, ...]
    effort: str
    seed: int
    seconds: float

    @property
    def verified(self) -> bool:
        """Whether every corrected claim holds and every misprint is refuted."""
        return bool(self.lines) and all(line.judgement.verdict.good for line in self.lines)

    def counts(self) -> dict[Verdict, int]:
        """Number of lines of each verdict, every verdict present."""
        found = Counter(line.judgement.verdict for line in self.lines)
        return {verdict: found[verdict] for verdict in Verdict}


def measure(claims: Iterable[Claim], context: Context) -> Iterator[Line]:
    """Measure and judge claims one line at a time.

    Args:
        claims: what to check.
        context: effort, seed and shared testbed.

    Yields:
        Each line as soon as it is judged.
    """
    for claim in claims:
        started = time.perf_counter()
        for check in claim.checks(context):
            finished = time.perf_counter()
            yield Line(claim, judge(check), finished - started)
            started = finished


def run(
    claims: Iterable[Claim], context: Context, watch: Callable[[Line], None] = lambda _: None
) -> Ledger:
    """Run claims to the end.

    Args:
        claims: what to check.
        context: effort, seed and shared testbed.
        watch: called with every line as it is judged.

    Returns:
        The ledger.
    """
    started = time.perf_counter()
    lines = []
    for line in measure(claims, context):
        watch(line)
        lines.append(line)
    seconds = time.perf_counter() - started
    return Ledger(tuple(lines), context.effort.name, context.seed, seconds)


def to_json(ledger: Ledger) -> str:
    """The ledger as JSON text; numbers that are not finite become strings ("inf", "nan").

    The document has ``schema_version``, ``effort``, ``seed``, ``seconds``, ``verified``,
    ``versions`` (of Python and the libraries that matter), ``counts`` (by verdict), ``claims``
    (key, title, source, printed, corrected) and ``lines`` (claim, name, statement, form, expected,
    relation, measured [lower, upper], bound, tolerance, verdict, witness, measurements, seconds).
    """
    claims = {line.claim.key: line.claim for line in ledger.lines}
    document = {
        "schema_version": SCHEMA_VERSION,
        "effort": ledger.effort,
        "seed": ledger.seed,
        "seconds": round(ledger.seconds, 3),
        "verified": ledger.verified,
        "versions": versions(),
        "counts": {verdict.value: count for verdict, count in ledger.counts().items()},
        "claims": [
            {
                "key": claim.key,
                "title": claim.title,
                "source": claim.source,
                "printed": claim.printed,
                "corrected": claim.corrected,
            }
            for claim in claims.values()
        ],
        "lines": [_line_document(line) for line in ledger.lines],
    }
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(ledger: Ledger) -> str:
    """The ledger as a Markdown page: a section a claim, a row a line."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in ledger.counts().items() if count)
    run_text = f"effort `{ledger.effort}`, seed {ledger.seed}, {ledger.seconds:.1f} s"
    parts = [
        "# Ledger of claims\n",
        f"arXiv 2306.12070, {run_text}: {len(ledger.lines)} lines, {counts}.\n",
    ]
    current = ""
    for line in ledger.lines:
        claim = line.claim
        if claim.key != current:
            current = claim.key
            parts.append(_claim_heading(claim))
        decisive = line.judgement.decisive
        row = (
            line.judgement.check.name,
            line.judgement.check.statement,
            measured_text(line.judgement),
            line.judgement.check.relation,
            number_text(decisive.bound),
            f"**{line.judgement.verdict}**",
            f"{decisive.witness} ({line.judgement.count} measured)",
        )
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(parts) + "\n"


def measured_text(judgement: Judgement) -> str:
    """The decisive measured value as short text; an interval only where its ends differ visibly."""
    low, high = number_text(judgement.decisive.lower), number_text(judgement.decisive.upper)
    return low if low == high else f"[{low}, {high}]"


def number_text(value: float) -> str:
    """Four significant digits, with inf and nan spelled out."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    names = ("numpy", "scipy", "cvxpy", "clarabel")
    found = {name: importlib.metadata.version(name) for name in names}
    return {
        "python": platform.python_version(),
        "taskrobust": taskrobust.__version__,
        **found,
    }


def _claim_heading(claim: Claim) -> str:
    printed = f"Printed: {claim.printed}\n"
    corrected = f"\nCorrected: {claim.corrected}\n" if claim.corrected else ""
    header = "| line | statement | measured | | bound | verdict | decided by |"
    heading = f"\n## {claim.key}: {claim.title} ({claim.source})\n"
    rule = "| --- | --- | --- | --- | --- | --- | --- |"
    return f"{heading}\n{printed}{corrected}\n{header}\n{rule}"


def _line_document(line: Line) -> dict[str, Any]:
    check, decisive = line.judgement.check, line.judgement.decisive
    return {
        "claim": line.claim.key,
        "name": check.name,
        "statement": check.statement,
        "form": check.form,
        "expected": "refuted" if check.refute else "holds",
        "relation": check.relation,
        "measured": [_json_number(decisive.lower), _json_number(decisive.upper)],
        "bound": _json_number(decisive.bound),
        "tolerance": _json_number(decisive.tolerance),
        "verdict": line.judgement.verdict.value,
        "witness": decisive.witness,
        "measurements": line.judgement.count,
        "seconds": round(line.seconds, 4),
    }


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
