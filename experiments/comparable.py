"""Whether runs may stand in one table: what they were trained and evaluated with is the same."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from experiments.records import RecordError, require

__all__ = ["check_comparable", "check_recipes", "first_difference"]

_OF_THE_ARM = ("arms", "grouping")
"""Fields in which arms may differ, but not two runs of one arm."""

_WITHOUT_EFFECT = ("evaluate_every", "log_every", "save_every")
"""Fields that change no held-out number."""

_SHOWN = 60
"""Characters of a differing value that a message shows."""


def check_comparable(runs: Sequence[dict[str, Any]]) -> None:
    """Refuse runs of different studies: their numbers differ for other reasons than the arm.

    Args:
        runs: of `experiments.records.collect`.

    Raises:
        RecordError: two runs differ in a field other than arm, grouping of the arm, and how often
            is evaluated, logged and saved; or a run has no readable configuration.
    """
    first: tuple[dict[str, Any], dict[str, Any]] | None = None
    first_of_arm: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for run in runs:
        content = _configuration(run)
        shared = {name: value for name, value in content.items() if name not in _OF_THE_ARM}
        first = first or (run, shared)
        _compare(*first, run, shared)
        _compare(*first_of_arm.setdefault(run["arm"], (run, content)), run, content)


def check_recipes(runs: Sequence[dict[str, Any]]) -> None:
    """Refuse fine-tunings of one task by different recipes or of different data.

    Args:
        runs: whose ``configuration`` may differ in ``model``, what they start from.

    Raises:
        RecordError: two runs differ in something else, or a run has no readable configuration.
    """
    first: tuple[dict[str, Any], dict[str, Any]] | None = None
    for run in runs:
        content = {name: value for name, value in _configuration(run).items() if name != "model"}
        first = first or (run, content)
        _compare(*first, run, content)


def _configuration(run: dict[str, Any]) -> dict[str, Any]:
    require(run, "configuration")
    try:
        content = yaml.safe_load(str(run["configuration"]))
    except yaml.YAMLError as error:
        raise RecordError(
            f"`configuration` of {_name(run)} is not valid YAML: {error}; run it anew"
        ) from error
    if not isinstance(content, dict):
        raise RecordError(
            f"`configuration` of {_name(run)} should hold fields; found {_short(content)}"
        )
    return {name: value for name, value in content.items() if name not in _WITHOUT_EFFECT}


def _compare(
    one: dict[str, Any], ones: dict[str, Any], other: dict[str, Any], others: dict[str, Any]
) -> None:
    difference = first_difference(ones, others)
    if difference:
        field, a, b = difference
        raise RecordError(
            f"{_name(one)} and {_name(other)} are not comparable: `{field}` is {a} in the one and "
            f"{b} in the other; train them with another --out each"
        )


def first_difference(one: Any, other: Any) -> tuple[str, str, str] | None:
    """The first field in which two plain values differ: its dotted name, and both as text."""
    return next(_differences(one, other, ""), None)


def _differences(one: Any, other: Any, field: str) -> Iterator[tuple[str, str, str]]:
    """Dotted names of fields, with both values as text."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            inner = f"{field}.{name}" if field else str(name)
            if name not in one or name not in other:
                a, b = (_short(d[name]) if name in d else "missing" for d in (one, other))
                yield inner, a, b
            else:
                yield from _differences(one[name], other[name], inner)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from _differences(a, b, f"{field}[{number}]")
    elif one != other:
        yield field, _short(one), _short(other)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _name(run: dict[str, Any]) -> str:
    return f"{run['arm']}/seed-{run['seed']}"
