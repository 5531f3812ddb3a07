"""The whole measurement: every encoder, kept as it is measured, and what they say together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.analysis import (
    GradientRow,
    TraceRow,
    gradient_rows,
    joint_rows,
    planted_rows,
    trace_rows,
)
from experiments.mechanisms.hull.regression import Constraint, Fit
from experiments.mechanisms.hull.thetas import GROUPS, Group, Theta
from experiments.runs import finished, provenance, record, start

__all__ = ["Encoder", "Result", "analyse", "measured"]

PACKAGES = ("torch", "transformers", "cvxpy", "numpy")
"""Whose versions are recorded."""
_LEAST = 3
"""Encoders from which risks over them are looked at."""


@dataclass(frozen=True)
class Encoder:
    """An encoder to be measured.

    Attributes:
        title: for people, and of its folder.
        configuration: all that the measurement depends on, as YAML.
        measure: does it.
    """

    title: str
    configuration: str
    measure: Callable[[], Theta]


@dataclass(frozen=True)
class Result:
    """All of a measurement.

    Attributes:
        thetas: the encoders.
        last: by group, gradients at the last encoder.
        each: by group and encoder, the same at all of them.
        planted: by group, at the last encoder.
        joint: by group, with one λ for all encoders; empty for one encoder.
        own: by group and risk, mean residual of the cone with a λ for each encoder.
        traces: risks over the encoders; empty for fewer than three.
        command: what was typed.
        date: when.
        versions: of packages.
        configuration: of the measurement, as YAML.
    """

    thetas: tuple[Theta, ...]
    each: dict[Group, tuple[list[GradientRow], ...]]
    planted: dict[Group, dict[Constraint, Fit]]
    joint: dict[Group, list[GradientRow]]
    own: dict[Group, dict[str, float]]
    traces: list[TraceRow]
    command: str
    date: str
    versions: dict[str, str]
    configuration: str

    @property
    def last(self) -> dict[Group, list[GradientRow]]:
        """By group, gradients at the last encoder."""
        return {group: rows[-1] for group, rows in self.each.items()}

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; inner products are left to the records of the encoders."""
        encoders = []
        for number, theta in enumerate(self.thetas):
            plain = theta.to_data()
            del plain["products"]
            rows = {group: _plain(rows[number]) for group, rows in self.each.items()}
            encoders.append({**plain, "gradients": rows})
        return {
            "command": self.command,
            "date": self.date,
            "versions": self.versions,
            "configuration": self.configuration,
            "groups": dict(GROUPS),
            "encoders": encoders,
            "planted": _plain(self.planted),
            "joint": _plain(self.joint),
            "own": self.own,
            "traces": _plain(self.traces),
        }


def measured(
    encoders: Sequence[Encoder], out: Path, say: Callable[[str], None], *, command: str = ""
) -> list[Theta]:
    """Measure encoders; those that have been measured are read back.

    Args:
        encoders: with titles that differ.
        out: records go to ``out/encoders/TITLE``.
        say: told of each encoder.
        command: what was typed, recorded.

    Raises:
        ConfigurationError: two encoders of one title, a record of another measurement, or an
            encoder that cannot be measured.
        RecordError: a damaged record.
    """
    titles = [each.title for each in encoders]
    if len(set(titles)) < len(titles):
        raise ConfigurationError(
            f"--model: should be encoders of different names; found {', '.join(titles)}"
        )
    found = []
    for each in encoders:
        folder = out / "encoders" / each.title.replace("/", "--")
        known = finished(folder, each.configuration)
        if known is None:
            say(f"{each.title} …")
            start(folder, each.configuration)
            known = {**provenance(command, PACKAGES), "theta": each.measure().to_data()}
            record(folder, known)
        else:
            say(f"{each.title} (done before)")
        found.append(Theta.from_data(known.get("theta", {})))
    return found


def analyse(thetas: Sequence[Theta], configuration: str, command: str) -> Result:
    """What the encoders say, each for itself and together.

    Args:
        thetas: of the same risks.
        configuration: of the measurement, as YAML.
        command: what was typed.

    Raises:
        ConfigurationError: encoders of different risks.
    """
    for theta in thetas:
        if theta.names != thetas[0].names:
            raise ConfigurationError(
                f"--model: encoders should have the same risks; found {', '.join(theta.names)} of "
                f"{theta.title} and {', '.join(thetas[0].names)} of {thetas[0].title}"
            )
    each: dict[Group, tuple[list[GradientRow], ...]] = {
        group: tuple(gradient_rows(theta, group) for theta in thetas) for group in GROUPS
    }
    several = len(thetas) > 1
    about = provenance(command, PACKAGES)
    return Result(
        tuple(thetas),
        each,
        {group: planted_rows(thetas[-1], group) for group in GROUPS},
        {group: joint_rows(thetas, group) if several else [] for group in GROUPS},
        {group: _own(rows) for group, rows in each.items()},
        trace_rows(thetas) if len(thetas) >= _LEAST else [],
        about["command"],
        about["date"],
        about["versions"],
        configuration,
    )


def _own(encoders: Sequence[Sequence[GradientRow]]) -> dict[str, float]:
    """Mean residual of the cone, each encoder with its own λ."""
    found: dict[str, list[float]] = {}
    for rows in encoders:
        for row in rows:
            found.setdefault(row.name, []).append(row.fits["cone"].residual)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _plain(value: Any) -> Any:
    """Dataclasses and arrays as plain data."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _plain(asdict(value)) if hasattr(value, "__dataclass_fields__") else value
