"""Running one claim and reading its verdicts."""

from theory import ledger
from theory.claims import Claim, Context
from theory.judge import Verdict


def verdicts(claim: Claim, context: Context) -> dict[str, Verdict]:
    """Verdict of every line of a claim by its name; names must be unique."""
    lines = list(ledger.measure([claim], context))
    found = {line.judgement.check.name: line.judgement.verdict for line in lines}
    assert len(found) == len(lines), "two lines of the claim share a name"
    return found
