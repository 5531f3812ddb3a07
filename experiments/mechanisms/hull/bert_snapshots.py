"""Snapshots of a PoS-BERT pre-training."""

from pathlib import Path

import torch

from experiments.bert.arms import arm_balancer, in_order
from experiments.bert.configuration import BertStudy
from experiments.bert.data import training_data
from experiments.bert.groupings import task_names
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.pretrain import run_configuration
from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.snapshots import SnapshotTraining, snapshot_steps
from experiments.quiet import quiet
from experiments.records import run_folder
from experiments.training import OrderedTrainer, training_arguments

__all__ = ["bert_snapshots"]


def bert_snapshots(
    study: BertStudy, data: Path, out: Path, arm: str, seed: int, count: int, *, command: str = ""
) -> list[Path]:
    """Pre-train an arm as ``bert pretrain`` does, without its evaluations.

    Args:
        study: the configuration.
        data: a prepared folder.
        out: models go to ``out/ARM/seed-N/step-M``.
        arm: of the study, with tasks by part of speech and without a reference.
        seed: of the initial parameters and dropout.
        count: of snapshots, see `snapshot_steps`.
        command: what was typed, recorded.

    Returns:
        Folders of models in the order of the steps; a finished training is read back.

    Raises:
        ConfigurationError: data or arm cannot be used, or the folder holds another training.
    """
    in_order(study, [arm])
    if study.arms[arm].reference or (study.arms[arm].grouping or study.grouping) != "pos":
        raise ConfigurationError(
            f"--arm {arm}: should be an arm with tasks by part of speech and without a `reference`"
        )
    how, folder = study.optimisation, run_folder(out, arm, seed)
    steps = snapshot_steps(how.steps, count)
    training = SnapshotTraining(folder, run_configuration(study, arm, data), steps)
    if training.done:
        return training.folders
    instances, masking, prepared = training_data(study, data)
    names = task_names(
        "pos",
        other_is_task=study.other_is_task,
        next_sentence_is_task=study.next_sentence == "task",
    )
    torch.manual_seed(seed)
    mode = {"next_sentence": study.next_sentence, "next_sentence_task": len(names) - 1}
    model = PosBertForPreTraining(bert_config(study.model, len(prepared.tokenizer), **mode))

    def save(place: Path) -> None:
        with quiet():
            model.save_pretrained(place)
        prepared.tokenizer.save_pretrained(place)

    arguments = training_arguments(
        how,
        "optimisation",
        folder,
        max_steps=how.steps,
        warmup_steps=how.warmup_steps,
        seed=seed,
        logging_steps=study.log_every,
        eval_strategy="no",
        save_steps=study.save_every,
    )
    trainer = OrderedTrainer(
        model,
        arguments,
        train_dataset=instances,
        data_collator=masking,
        balancer=arm_balancer(arm, study.arms[arm], names, model, out, seed),
        callbacks=[training.callback(save)],
    )
    training.run(trainer, f"arm {arm!r}, seed {seed}", command)
    return training.folders
