r"""From a measurement to a verdict, with no fitted slack.

A measured quantity is a certified interval. An inequality is *confirmed* when the whole interval
satisfies it (up to 64 rounding errors), *falsified* when the whole interval violates it, and
*undecided* in between. What the paper prints and what we correct are judged by this same rule; only
what we expect of them differs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal

import numpy as np

Relation = Literal["<=", ">=", "=="]

_EPS = float(np.finfo(np.float64).eps)


class Verdict(StrEnum):
    """What the ledger says of one line."""

    HOLDS = "holds"
    CORRECTED = "holds as corrected"
    REFUTED = "refuted as printed"
    INCONCLUSIVE = "inconclusive"
    FAILS = "fails"
    NOT_REFUTED = "not refuted"

    @property
    def good(self) -> bool:
        """Whether the line came out as it should."""
        return self in {Verdict.HOLDS, Verdict.CORRECTED, Verdict.REFUTED}


class Outcome(Enum):
    """Whether a relation was met, before asking whether it should be."""

    CONFIRMED = "confirmed"
    UNDECIDED = "undecided"
    FALSIFIED = "falsified"


@dataclass(frozen=True)
class Measurement:
    """One measured value against one bound.

    Attributes:
        lower: certified lower end of the measured value.
        upper: certified upper end (equal to `lower` for a directly computed number).
        bound: what the claim compares it with.
        witness: the instance measured, in words a reader can reproduce it from.
        tolerance: absolute tolerance of an equality, 0 for inequalities; a stated accuracy of the
            comparison, never a margin for the claim.
        scale: magnitude of the numbers that were subtracted to get the measured value; rounding is
            64 eps times the largest of it, the bound and the measured value.
    """

    lower: float
    upper: float
    bound: float
    witness: str
    tolerance: float = 0.0
    scale: float = 0.0

    @classmethod
    def value(
        cls, value: float, bound: float, witness: str, *, tolerance: float = 0.0, scale: float = 0.0
    ) -> "Measurement":
        """A directly computed number."""
        return cls(float(value), float(value), float(bound), witness, tolerance, float(scale))

    def outcome(self, relation: Relation) -> Outcome:
        """Judge this measurement alone."""
        numbers = (self.lower, self.upper, self.bound)
        if any(map(math.isnan, numbers)) or self.lower > self.upper:
            return Outcome.UNDECIDED
        if relation == "==":
            return self._equality()
        low, high = self.lower, self.upper
        bound = self.bound
        if relation == ">=":
            low, high, bound = -high, -low, -bound
        finite = [abs(n) for n in (*numbers, self.scale) if math.isfinite(n)]
        rounding = 64 * _EPS * max(finite, default=0.0)
        if high <= bound + rounding:
            return Outcome.CONFIRMED
        if low > bound + max(1e-9 * abs(bound) + 1e-12, rounding):
            return Outcome.FALSIFIED
        return Outcome.UNDECIDED

    def severity(self, relation: Relation) -> float:
        """How close to violation: larger is worse; used to pick the line's decisive measurement."""
        if relation == "==":
            return max(abs(self.lower - self.bound), abs(self.upper - self.bound))
        excess = self.upper - self.bound if relation == "<=" else self.bound - self.lower
        return excess / max(abs(self.bound), 1e-300)

    def _equality(self) -> Outcome:
        rounding = 64 * _EPS * max(abs(self.bound), self.scale)
        tolerance = self.tolerance + rounding
        if self.lower >= self.bound - tolerance and self.upper <= self.bound + tolerance:
            return Outcome.CONFIRMED
        if self.lower > self.bound + tolerance or self.upper < self.bound - tolerance:
            return Outcome.FALSIFIED
        return Outcome.UNDECIDED


@dataclass(frozen=True)
class Check:
    """One line of the ledger: a statement, what was measured, and what is expected.

    Attributes:
        name: short name, unique within its claim.
        statement: the inequality or equality in words or symbols, as short as a table row.
        relation: how the measured value should compare with the bound.
        measurements: at least one; the line is as good as its worst.
        form: ``"printed"`` if this is what the paper says, ``"corrected"`` if it is our statement.
        refute: whether the statement is expected to fail. A misprint is refuted by a single
            falsified measurement, its witness.
        every: for a misprint that is wrong on every instance: demand that all measurements are
            falsified.
    """

    name: str
    statement: str
    relation: Relation
    measurements: tuple[Measurement, ...]
    form: Literal["printed", "corrected"]
    refute: bool = False
    every: bool = False


@dataclass(frozen=True)
class Judgement:
    """A judged line.

    Attributes:
        check: what was judged.
        verdict: the result.
        decisive: the measurement that decided, hence the one to show.
        count: number of measurements behind the line.
    """

    check: Check
    verdict: Verdict
    decisive: Measurement
    count: int


def judge(check: Check) -> Judgement:
    """Judge one line.

    Args:
        check: a statement with its measurements.

    Returns:
        The verdict and the decisive measurement.

    Raises:
        ValueError: no measurement was taken.
    """
    if not check.measurements:
        raise ValueError(f"check `{check.name}` took no measurement")
    grouped: dict[Outcome, list[Measurement]] = {outcome: [] for outcome in Outcome}
    for measurement in check.measurements:
        grouped[measurement.outcome(check.relation)].append(measurement)
    verdict, deciding = _decide(check, grouped)
    decisive = max(deciding, key=lambda m: _orderable(m.severity(check.relation)))
    return Judgement(check, verdict, decisive, len(check.measurements))


def holds(
    name: str,
    statement: str,
    relation: Relation,
    measurements: Iterable[Measurement],
    *,
    corrected: bool = False,
) -> Check:
    """A line that should hold: as printed, or `corrected`."""
    form: Literal["printed", "corrected"] = "corrected" if corrected else "printed"
    return Check(name, statement, relation, tuple(measurements), form)


def refuted(
    name: str,
    statement: str,
    relation: Relation,
    measurements: Iterable[Measurement],
    *,
    every: bool = False,
) -> Check:
    """A printed line that should fail, on at least one witness or on `every` one."""
    return Check(name, statement, relation, tuple(measurements), "printed", True, every)


def _decide(
    check: Check, grouped: dict[Outcome, list[Measurement]]
) -> tuple[Verdict, Sequence[Measurement]]:
    """Verdict, and the measurements among which the decisive one is picked."""
    falsified, undecided = grouped[Outcome.FALSIFIED], grouped[Outcome.UNDECIDED]
    confirmed = grouped[Outcome.CONFIRMED]
    if check.refute:
        if check.every and confirmed:
            return Verdict.NOT_REFUTED, confirmed
        if falsified and not (check.every and undecided):
            return Verdict.REFUTED, falsified
        return (Verdict.INCONCLUSIVE, undecided) if undecided else (Verdict.NOT_REFUTED, confirmed)
    if falsified:
        return Verdict.FAILS, falsified
    if undecided:
        return Verdict.INCONCLUSIVE, undecided
    return (Verdict.CORRECTED if check.form == "corrected" else Verdict.HOLDS), confirmed


def _orderable(severity: float) -> float:
    return math.inf if math.isnan(severity) else severity
