"""The arms of a study: their order, their balancers, and the risks of their references."""

from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import torch

from experiments.bert.configuration import Arm, BertStudy
from experiments.bert.groupings import task_names
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.configuration import ConfigurationError
from experiments.records import RESULT, read, run_folder
from taskrobust import create_balancer
from taskrobust.balancers import Balancer

__all__ = ["arm_balancer", "check_arms", "in_order"]


def in_order(study: BertStudy, arms: Sequence[str]) -> list[str]:
    """Arms with the reference of each before it.

    Raises:
        ConfigurationError: an arm that the study does not have.
    """
    for arm in arms:
        if arm not in study.arms:
            raise ConfigurationError(f"unknown arm {arm!r} (known: {', '.join(study.arms)})")
    references = {arm: study.arms[arm].reference for arm in arms}
    needed = {arm: [name] if name and name in arms else [] for arm, name in references.items()}
    try:
        return list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        raise ConfigurationError(
            f"`reference` should not go in a circle; found {' → '.join(error.args[1])}"
        ) from None


def check_arms(study: BertStudy, arms: Sequence[str]) -> None:
    """Build the balancer of every arm, so that a wrong one is known before anything is trained.

    Raises:
        ConfigurationError: no arm, or a balancer or an option that cannot be used.
    """
    if not arms:
        raise ConfigurationError("`arms` should have at least one arm; found none")
    with torch.device("meta"):
        model = PosBertForPreTraining(bert_config(study.model, 30_522))
    for name in arms:
        arm = study.arms[name]
        grouping = arm.grouping or study.grouping
        if arm.reference is not None and grouping != "pos":
            raise ConfigurationError(
                f"arm {name!r}: excess risks need tasks by part of speech; found grouping "
                f"{grouping!r}"
            )
        names = task_names(
            grouping,
            other_is_task=study.other_is_task,
            next_sentence_is_task=study.next_sentence == "task",
        )
        arm_balancer(name, replace(arm, reference=None), names, model, Path(), 0)


def arm_balancer(
    name: str, arm: Arm, names: list[str], model: PosBertForPreTraining, out: Path, seed: int
) -> Balancer:
    """The balancer of an arm, with what it needs of the model or of its reference.

    Args:
        name: of the arm.
        arm: its configuration.
        names: of the tasks.
        model: to be trained.
        out: folder of the runs, for the reference.
        seed: of the run, and of its reference.

    Raises:
        ConfigurationError: a balancer or an option that cannot be used, or a reference without the
            risks of all tasks.
    """
    options = dict(arm.options)
    if arm.reference is not None:
        options["reference"] = _reference_risks(run_folder(out, arm.reference, seed), names)
    if arm.balancer == "gradnorm":
        options.setdefault("shared", model.cls.predictions.transform.dense)
    try:
        return create_balancer(arm.balancer, len(names), task_names=names, **options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"arm {name!r}: {error}") from error


def _reference_risks(folder: Path, names: list[str]) -> list[float]:
    """Held-out risks of a finished run, by task."""
    path = folder / RESULT
    valid = read(path)["valid"]
    risks = {name: each["value"] for name, each in valid["risks"].items()}
    risks["next sentence"] = valid["next_sentence"]
    missing = [name for name in names if name not in risks]
    if missing:
        raise ConfigurationError(
            f"{path} has no held-out risk of {', '.join(missing)}: excess risks need tasks by part "
            "of speech, each with held-out pieces"
        )
    return [risks[name] for name in names]
