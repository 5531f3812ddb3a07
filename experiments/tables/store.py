"""The results store: one JSON file a run, written once and never again.

``STORE/STUDY/PRESET/ARM/seed-N/PART.json``, where a part is ``pretrain`` or a fine-tuning such as
``rte-0`` (task and seed). Tables, figures and the report read nothing else, so that a store can be
kept in a repository without models. Of a run that failed, ``failures/PART.json`` beside the records
says why, until it succeeds.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.comparable import first_difference
from experiments.configuration import ConfigurationError
from experiments.records import RecordError, read, require
from experiments.runs import provenance
from taskrobust._files import write_atomically

__all__ = ["HALFWAY", "PRETRAIN", "Key", "Store"]

PRETRAIN = "pretrain"
"""The part that all others start from."""

HALFWAY = "-half"
"""Ends the task of a fine-tuning that starts from the middle of pre-training."""

_FAILURES = "failures"
"""Folder of what is known of failed runs, beside the records of an arm and seed."""

_BULKY = ("history",)
"""Fields of a run's result that stay beside its model."""


@dataclass(frozen=True, order=True)
class Key:
    """What tells a run from all others."""

    study: str
    preset: str
    arm: str
    seed: int
    """Of pre-training."""
    part: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm}, seed {self.seed}: {self.part}"


@dataclass(frozen=True)
class Store:
    """Records of finished runs below a folder."""

    root: Path

    def path(self, key: Key) -> Path:
        """Where the record of a run is."""
        folder = self.root / key.study / key.preset / key.arm / f"seed-{key.seed}"
        return folder / f"{key.part}.json"

    def find(self, key: Key, recipe: str, defaults: str = "{}") -> dict[str, Any] | None:
        """The record of a finished run; None if it is to be run.

        Args:
            key: of the run.
            recipe: all that was configured for it, as YAML.
            defaults: of the fields of recipes, as YAML: a record that is older than a field has it.

        Raises:
            ConfigurationError: the store has a run of another recipe under this key.
            RecordError: the record is damaged.
        """
        path = self.path(key)
        if not path.is_file():
            return None
        record = read(path)
        require(record, "recipe")
        difference = first_difference(*(_filled(t, defaults) for t in (record["recipe"], recipe)))
        if difference:
            field, there, here = difference
            raise ConfigurationError(
                f"{path} is of another recipe of preset {key.preset!r}: `{field}` is {there} there "
                f"and {here} here; choose another --out, or copy the preset to a file of another "
                "name and give that"
            )
        return record

    def add(self, key: Key, recipe: str, result: dict[str, Any]) -> Path:
        """Keep the result of a run.

        Args:
            key: of the run.
            recipe: all that was configured for it, as text.
            result: content of its ``result.json``.

        Returns:
            The new file.

        Raises:
            RecordError: there is a record of this run already, or the result is of another run.
            ConfigurationError: a number is not finite.
        """
        path = self.path(key)
        of = f"{result.get('task')}-{result.get('seed')}"
        if key.part != PRETRAIN and _plain(key.part) != of:
            raise RecordError(f"{key.title} should be of its task and seed; found {of}")
        if path.exists():
            raise RecordError(f"{path} should not be there yet: records are never overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in result.items() if name not in _BULKY}
        content = {**kept, "preset": key.preset, "part": key.part, "recipe": recipe}
        try:
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        except ValueError:
            raise ConfigurationError(
                f"{key.title}: a number is not finite; training diverged: lower the learning rate"
            ) from None
        write_atomically(path, text + "\n")
        self._failure(key).unlink(missing_ok=True)
        return path

    def add_failure(self, key: Key, reason: str, command: str) -> Path:
        """Note why a run failed, in place of what was noted before.

        Args:
            key: of the run.
            reason: one line.
            command: as it was typed.

        Returns:
            The file.
        """
        path = self._failure(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**provenance(command, ("torch",)), "reason": reason}
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        return path

    def failures(self, study: str, preset: str) -> dict[Key, str]:
        """Why runs failed that have not succeeded since.

        Raises:
            RecordError: a file is damaged.
        """
        found = {}
        for path in sorted((self.root / study / preset).glob(f"*/seed-*/{_FAILURES}/*.json")):
            content, (arm, seed) = read(path), path.parts[-4:-2]
            try:
                require(content, "reason")
                key = Key(study, preset, arm, int(seed.removeprefix("seed-")), path.stem)
            except (ValueError, RecordError) as error:
                raise RecordError(f"{path} says of no run why it failed: {error}") from None
            if not self.path(key).is_file():
                found[key] = str(content["reason"])
        return found

    def _failure(self, key: Key) -> Path:
        path = self.path(key)
        return path.parent / _FAILURES / path.name

    def records(self, study: str, preset: str) -> dict[Key, dict[str, Any]]:
        """All records of a preset.

        Raises:
            RecordError: a record is damaged, or not of the place where it lies.
        """
        found = {}
        for path in sorted((self.root / study / preset).glob("*/seed-*/*.json")):
            record = read(path)
            try:
                seed = int(path.parent.name.removeprefix("seed-"))
                require(record, "arm", "seed", "part", "recipe", *_needed(path.stem))
            except (ValueError, RecordError) as error:
                raise RecordError(f"{path} is no record of a run: {error}") from None
            key = Key(study, preset, path.parent.parent.name, seed, path.stem)
            of = record.get("pretraining_seed", record["seed"])
            if (record["arm"], of, record["part"]) != (key.arm, key.seed, key.part):
                raise RecordError(f"{path} should be of {key.title}; found another run's record")
            found[key] = record
        return found

    def presets(self) -> Iterable[tuple[str, str]]:
        """Studies and presets of which there are records."""
        return sorted({path.parts[-5:-3] for path in self.root.glob("*/*/*/seed-*/*.json")})  # type: ignore[misc]


def _plain(part: str) -> str:
    """Task and seed, wherever the fine-tuning started."""
    task, _, seed = part.rpartition("-")
    return f"{task.removesuffix(HALFWAY)}-{seed}"


def _needed(part: str) -> tuple[str, ...]:
    """Fields that a record has beside those of every one."""
    return ("configuration", "device", "parameters") if part == PRETRAIN else ("task",)


def _filled(text: str, defaults: str) -> Any:
    return _merged(yaml.safe_load(defaults), yaml.safe_load(text))


def _merged(under: Any, over: Any) -> Any:
    """Nested mappings, the second before the first."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {**under, **{name: _merged(under.get(name), value) for name, value in over.items()}}
