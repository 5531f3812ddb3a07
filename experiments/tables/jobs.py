"""The runs of a table: which there are, which of them are a process's share, and running them."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

from rich.console import Console

from experiments.agreement import any_process, is_first, refusal_of_any
from experiments.comparable import first_difference
from experiments.configuration import ConfigurationError, message
from experiments.records import RecordError, read
from experiments.runs import BusyError
from experiments.tables.store import PRETRAIN, Key, Store

__all__ = ["Chain", "Maker", "Outcome", "Plan", "Shard", "chains", "plan", "run_all"]

T = TypeVar("T")


class Maker(Protocol):
    """Makes the runs of a study."""

    @property
    def study(self) -> str:
        """Its name: "bert" or "mae"."""

    @property
    def preset(self) -> str:
        """Name of the preset of the table."""

    @property
    def arms(self) -> Collection[str]:
        """Of the study."""

    @property
    def command(self) -> str:
        """What was typed, for the records."""

    def parts(self) -> Sequence[str]:
        """Of every arm and seed, in the order in which they can be run."""

    def recipe(self, arm: str, part: str) -> str:
        """All that is configured for a run, as YAML; needs no data."""

    def defaults(self, part: str) -> str:
        """What the fields of a recipe are if nothing is said, as YAML."""

    def check(self) -> None:
        """Refuse to start without the data.

        Raises:
            ConfigurationError: names what is missing.
        """

    def run(self, arm: str, seed: int, part: str) -> dict[str, Any]:
        """Make one run, or go on with it; empty in all processes but the first.

        Raises:
            ConfigurationError: data or configuration cannot be used, or training diverged.
        """


@dataclass(frozen=True)
class Shard:
    """A share of the chains: the first of three is 1/3."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``i/n``.

        Raises:
            ValueError: it is something else.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        number, count = (int(each) for each in found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise ValueError(f"should be i/n with 1 ≤ i ≤ n, such as 1/4; found {text!r}")
        return cls(number, count)

    def of(self, everything: Sequence["Chain"]) -> list["Chain"]:
        """What is its share."""
        return list(everything[self.number - 1 :: self.count])


@dataclass(frozen=True)
class Chain:
    """The runs of one arm and seed: fine-tuning needs the model of pre-training."""

    arm: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of the runs of a share."""

    made: int
    known: int
    failed: tuple[str, ...]
    """A line each."""


def chains(arms: Sequence[str], seeds: int) -> list[Chain]:
    """All chains of a table; every arm has a seed before any has the next.

    Args:
        arms: of the rows.
        seeds: how many.
    """
    return [Chain(arm, seed) for seed in range(seeds) for arm in dict.fromkeys(arms)]


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    chains: tuple[tuple[Key, ...], ...]
    """Runs of each chain, in their order."""
    recipes: dict[Key, str]
    known: frozenset[Key]
    """Those that the store has."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to be run."""
        return len(self.known) == len(self.recipes)


def plan(maker: Maker, share: Sequence[Chain], store: Store) -> Plan:
    """What a share consists of, and what of it is there.

    Args:
        maker: of the runs.
        share: of the chains.
        store: where records go.

    Raises:
        ConfigurationError: the store has runs of another recipe.
    """
    parts = maker.parts()
    keys = [[Key(maker.study, maker.preset, c.arm, c.seed, part) for part in parts] for c in share]
    recipes = {key: maker.recipe(key.arm, key.part) for each in keys for key in each}
    for key in store.records(maker.study, maker.preset):  # also those of other shares and rows
        if key.arm in maker.arms and key.part in parts:
            store.find(key, maker.recipe(key.arm, key.part), maker.defaults(key.part))
    known = {k for k, text in recipes.items() if store.find(k, text, maker.defaults(k.part))}
    return Plan(tuple(tuple(each) for each in keys), recipes, frozenset(known))


def run_all(maker: Maker, planned: Plan, store: Store, console: Console) -> Outcome:
    """Make what the store does not have; a run that fails ends its chain, and no other.

    Args:
        maker: of the runs.
        planned: of `plan`.
        store: where records go.
        console: what a person sees; a quiet one in all processes but the first.

    Raises:
        ConfigurationError: data are missing; nothing has been run then.
    """
    if not planned.finished:
        maker.check()
        if planned.known:
            console.print(f"{len(planned.known)} of {len(planned.recipes)} runs done before")
    total, made, failed = len(planned.recipes), 0, list[str]()
    place = {key: number for number, key in enumerate(planned.recipes, 1)}
    known = set(planned.known)
    for chain in planned.chains:
        for key in chain:
            if any_process(key in known or _appeared(maker, key, planned, store)):
                known.add(key)
                continue
            console.rule(f"{place[key]}/{total} {key.title}", characters="-")
            refusal = _make(maker, key, planned, store)
            if refusal is not None:
                failed.append(f"{key.title}: {refusal}")
                console.print(f"failed: {failed[-1]}", markup=False, highlight=False, style="red")
                break
            made += 1
    return Outcome(made, len(known), tuple(failed))


def _make(maker: Maker, key: Key, planned: Plan, store: Store) -> str | None:
    """Make a run and record it; why it failed, in all processes of torchrun alike, or None."""

    def made() -> dict[str, Any]:
        if key.part != PRETRAIN:
            _check_model(maker, key, store)
        return maker.run(key.arm, key.seed, key.part)

    def add() -> None:
        if result and is_first() and not _appeared(maker, key, planned, store):
            store.add(key, planned.recipes[key], result)

    try:
        result = _together(made)
        _together(add)
    except BusyError as error:
        return message(error)
    except (ConfigurationError, RecordError) as error:
        if is_first():
            store.add_failure(key, message(error), maker.command)
        return message(error)
    return None


def _together(work: Callable[[], T]) -> T:
    """Do something in every process of torchrun; refused by one, it is refused in all."""
    found: T | None = None
    error: ConfigurationError | RecordError | None = None
    try:
        found = work()
    except (ConfigurationError, RecordError) as refused:
        error = refused
    refusal = refusal_of_any(None if error is None else message(error))
    if error is not None:
        raise error
    if refusal is not None:
        raise ConfigurationError(refusal)
    return cast("T", found)


def _appeared(maker: Maker, key: Key, planned: Plan, store: Store) -> bool:
    """Whether another process has recorded a run since it was planned."""
    return store.find(key, planned.recipes[key], maker.defaults(key.part)) is not None


def _check_model(maker: Maker, key: Key, store: Store) -> None:
    """What is fine-tuned is the model whose pre-training is on record, also if it was made anew."""
    model = maker.run(key.arm, key.seed, PRETRAIN)
    path = store.path(replace(key, part=PRETRAIN))
    if not model or not path.is_file():
        return
    difference = first_difference(_identity(read(path)), _identity(model))
    if difference:
        field, there, here = difference
        raise ConfigurationError(
            f"{path} is of another model: `{field}` is {there} there and {here} in the one trained "
            "again; remove the records of this arm and seed, or choose another --out"
        )


def _identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one pre-training from another: how it was configured, and how it ended."""
    kept = {name: record.get(name) for name in ("configuration", "valid", "test", "held_out")}
    plain: dict[str, Any] = json.loads(json.dumps(kept))
    return plain
