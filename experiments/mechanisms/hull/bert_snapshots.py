"""Snapshots of a PoS-BERT pre-training."""

from dataclasses import replace
from pathlib import Path

from experiments.bert.arms import in_order
from experiments.bert.configuration import BertStudy
from experiments.bert.pretrain import pretraining_trainer, run_configuration
from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.snapshots import SnapshotTraining, snapshot_steps
from experiments.quiet import quiet
from experiments.records import run_folder

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
    study = replace(study, grouping="pos")
    folder = run_folder(out, arm, seed)
    steps = snapshot_steps(study.optimisation.steps, count)
    training = SnapshotTraining(folder, run_configuration(study, arm, data), steps)
    if training.done:
        return training.folders

    def save(place: Path) -> None:
        with quiet():
            model.save_pretrained(place)
        prepared.tokenizer.save_pretrained(place)

    trainer, model, prepared = pretraining_trainer(
        study, data, out, arm, seed, callbacks=[training.callback(save)], evaluate=False
    )
    training.run(trainer, f"arm {arm!r}, seed {seed}", command)
    return training.folders
