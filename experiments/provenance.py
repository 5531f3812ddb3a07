"""How runs were made, for the end of a page of results."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from experiments.records import require

__all__ = ["how_it_was_run"]


def how_it_was_run(
    pretraining: Sequence[dict[str, Any]], fine_tuning: Sequence[dict[str, Any]] = ()
) -> Iterator[str]:
    """Lines of Markdown: commands, versions, devices, durations, and the shared configuration.

    Args:
        pretraining: results of pre-training, in the order of the lines.
        fine_tuning: results of fine-tuning.

    Raises:
        RecordError: a result lacks a field.
    """
    for run in pretraining:
        require(run, "command", "versions", "device", "date", "seconds", "parameters")
        require(run, "configuration")
    for run in fine_tuning:
        require(run, "command", "versions")
    for command in dict.fromkeys(run["command"] for run in (*pretraining, *fine_tuning)):
        yield f"    {command}"
    yield ""
    for title, made in (("pre-training", pretraining), ("fine-tuning", fine_tuning)):
        for line in dict.fromkeys(_versions(run) for run in made):
            yield f"- Versions, {title}: {line}"
    yield ""
    yield "| run | device | date | minutes | parameters |"
    yield "|---|---|---|---:|---:|"
    for run in pretraining:
        yield (
            f"| {run['arm']}, seed {run['seed']} | {run['device']} | {run['date']} "
            f"| {run['seconds'] / 60:.1f} | {run['parameters']:,} |"
        )
    yield ""
    yield "Configuration that the pre-training runs share:"
    yield ""
    yield "```yaml"
    yield _common([run["configuration"] for run in pretraining]).rstrip()
    yield "```"
    yield ""


def _versions(run: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in run["versions"].items())


def _common(configurations: Sequence[str]) -> str:
    """Fields of equal value in all, with the arms of all, as YAML."""
    contents = [yaml.safe_load(text) for text in configurations]
    arms = {name: arm for content in contents for name, arm in content["arms"].items()}
    first = contents[0]
    same = {
        name: value
        for name, value in first.items()
        if all(content.get(name) == value for content in contents)
    }
    text: str = yaml.safe_dump(same | {"arms": arms}, sort_keys=False)
    return text
