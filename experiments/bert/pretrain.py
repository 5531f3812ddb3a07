"""Pre-training: every arm and seed a run of its own, resumable, with a recorded result."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from transformers import TrainerCallback, TrainingArguments

from experiments.bert.arms import arm_balancer
from experiments.bert.configuration import Arm, BertStudy
from experiments.bert.data import (
    HeldOut,
    Prepared,
    held_out_batches,
    phase_folder,
    training_data,
)
from experiments.bert.evaluation import class_sums, summarise, write_sums
from experiments.bert.groupings import task_names
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.configuration import ConfigurationError, dump
from experiments.quiet import quiet
from experiments.records import RESULT, run_folder
from experiments.runs import finished, provenance, record
from experiments.training import OrderedTrainer, train, training_arguments

__all__ = ["pretrain", "pretraining_trainer", "run_configuration"]

PACKAGES = ("torch", "transformers", "datasets", "nltk")
"""Whose versions are recorded."""


def pretrain(
    study: BertStudy, data: Path, out: Path, arm: str, seed: int, *, command: str = ""
) -> dict[str, Any]:
    """One run: train, evaluate on held-out text, write the result; a finished run is read back.

    All arms of a seed share the initial parameters, the order of the data and the masks; what they
    group differently is measured by part of speech all the same.

    Args:
        study: the configuration.
        data: a prepared folder.
        out: results go to ``out/ARM/seed-N``.
        arm: name of an arm of the study.
        seed: of the initial parameters and dropout.
        command: what was typed, recorded with the result.

    Returns:
        The content of ``result.json``.

    Raises:
        ConfigurationError: data or arm cannot be used, or the folder holds a run of another
            configuration.
    """
    folder = run_folder(out, arm, seed)
    _check_reference(study, data, out, arm, seed)
    study = replace(study, grouping=study.arms[arm].grouping or study.grouping)
    configuration = run_configuration(study, arm, data)
    known = finished(folder, configuration)
    if known is not None:
        return known
    trainer, model, prepared = pretraining_trainer(study, data, out, arm, seed)
    trained = train(trainer, folder, configuration, f"arm {arm!r}, seed {seed}")
    with quiet():
        trainer.save_model(str(folder / "model"))
    result: dict[str, Any] = {}
    if trainer.is_world_process_zero():
        result = {
            **provenance(command, PACKAGES),
            "arm": arm,
            "seed": seed,
            "configuration": configuration,
            **asdict(trained),
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": str(trainer.args.device),
            **_held_out(study, model, prepared, folder),
            "history": trainer.state.log_history,
        }
        prepared.tokenizer.save_pretrained(folder / "model")
        record(folder, result)
    if dist.is_initialized():
        dist.barrier()
    return result


def pretraining_trainer(
    study: BertStudy,
    data: Path,
    out: Path,
    arm: str,
    seed: int,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    evaluate: bool = True,
) -> tuple[OrderedTrainer, PosBertForPreTraining, Prepared]:
    """What trains a run, with its initial model.

    Args:
        study: the configuration, with the grouping of the arm.
        data: a prepared folder.
        out: checkpoints go to ``out/ARM/seed-N/checkpoints``.
        arm: name of an arm of the study.
        seed: of the initial parameters and dropout.
        callbacks: of the Trainer.
        evaluate: whether held-out risks are logged on the way.

    Returns:
        The Trainer, its model, and the text of the last phase.

    Raises:
        ConfigurationError: data or arm cannot be used.
    """
    instances, masking, prepared = training_data(study, data)
    names = task_names(
        study.grouping,
        other_is_task=study.other_is_task,
        next_sentence_is_task=study.next_sentence == "task",
    )
    torch.manual_seed(seed)
    mode = {"next_sentence": study.next_sentence, "next_sentence_task": len(names) - 1}
    model = PosBertForPreTraining(bert_config(study.model, len(prepared.tokenizer), **mode))
    trainer = OrderedTrainer(
        model,
        _arguments(study, run_folder(out, arm, seed), seed, evaluate=evaluate),
        train_dataset=instances,
        eval_dataset=HeldOut(prepared.split("valid")) if evaluate else None,
        data_collator=masking,
        balancer=arm_balancer(arm, study.arms[arm], names, model, out, seed),
        callbacks=list(callbacks),
    )
    return trainer, model, prepared


def run_configuration(study: BertStudy, arm: str, data: Path) -> str:
    """What a run depends on, as YAML: the study with no other arms, and the text as prepared.

    Args:
        study: the configuration.
        arm: of the study.
        data: the prepared folder.

    Raises:
        ConfigurationError: the prepared folder cannot be used.
    """
    study = replace(study, grouping=study.arms[arm].grouping or study.grouping)
    arms: dict[str, Arm] = {}
    name: str | None = arm
    while name is not None and name not in arms:
        arms[name] = study.arms[name]
        name = arms[name].reference
    folders = dict.fromkeys(phase_folder(phase, data) for phase in study.phases)
    prepared = [Prepared(folder).record for folder in folders]
    kept = dump(replace(study, arms=arms), without=("preparation", "fine_tuning"))
    text: str = kept + yaml.safe_dump({"prepared": prepared}, sort_keys=False)
    return text


def _check_reference(study: BertStudy, data: Path, out: Path, arm: str, seed: int) -> None:
    """The reference of an arm has been run, with the same configuration."""
    reference = study.arms[arm].reference
    if reference is None:
        return
    folder = run_folder(out, reference, seed)
    if finished(folder, run_configuration(study, reference, data)) is None:
        raise ConfigurationError(
            f"{folder / RESULT} is missing; the reference arm has to be run first"
        )


def _arguments(study: BertStudy, folder: Path, seed: int, *, evaluate: bool) -> TrainingArguments:
    """The Trainer's arguments."""
    how = study.optimisation
    return training_arguments(
        how,
        "optimisation",
        folder,
        max_steps=how.steps,
        warmup_steps=how.warmup_steps,
        torch_compile=how.compile,
        seed=seed,
        logging_steps=study.log_every,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=study.evaluate_every,
        save_steps=study.save_every,
    )


def _held_out(
    study: BertStudy, model: PosBertForPreTraining, prepared: Prepared, folder: Path
) -> dict[str, Any]:
    """Held-out risks by class; sums by instance are kept for paired comparisons."""
    found = {}
    device = next(model.parameters()).device
    batch_size = study.optimisation.micro_batch_size or study.optimisation.batch_size
    for split in ("valid", "test"):
        if not prepared.has(split):
            continue
        batches = held_out_batches(study, prepared, split, batch_size)
        measured = class_sums(model, batches, device)
        write_sums(measured, folder / f"{split}.npz")
        found[split] = summarise(measured).as_data()
    return found
