"""What a claim is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from theory.judge import Check
from theory.testbed import Context


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, with its source, as printed and as corrected.

    Attributes:
        key: its name in the ledger: A for the paper, B for sharpened results, D for peer
            algorithms, E for the checks that come next.
        title: a few words.
        source: where the paper says it.
        printed: the statement as printed.
        corrected: the statement as we test it; empty if it is right as printed.
        checks: measures, line by line.
    """

    key: str
    title: str
    source: str
    printed: str
    corrected: str
    checks: Callable[[Context], Iterator[Check]]
