"""Snapshots of a pre-training of Multi-Modal Mask MAE."""

import math
from pathlib import Path

import torch

from experiments.mae.arms import arm_balancer, check_arms
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import save_model
from experiments.mae.pretrain import PretrainingTrainer, run_configuration
from experiments.mae.reading import ImageOrder, Images
from experiments.mae.study import MaeStudy
from experiments.mechanisms.hull.snapshots import SnapshotTraining, snapshot_steps
from experiments.records import run_folder
from experiments.training import training_arguments

__all__ = ["mae_snapshots"]


def mae_snapshots(
    study: MaeStudy, data: Path, out: Path, arm: str, seed: int, count: int, *, command: str = ""
) -> list[Path]:
    """Pre-train an arm as ``mae pretrain`` does, without its evaluations and pictures.

    Args:
        study: the configuration.
        data: a manifest, or the folder of one.
        out: models go to ``out/ARM/seed-N/step-M``.
        arm: of the study.
        seed: of the initial parameters.
        count: of snapshots, see `snapshot_steps`.
        command: what was typed, recorded.

    Returns:
        Folders of models in the order of the steps; a finished training is read back.

    Raises:
        ConfigurationError: data or arm cannot be used, or the folder holds another training.
    """
    check_arms(study, [arm])
    images, folder, how = Images(study, data), run_folder(out, arm, seed), study.optimisation
    number = len(images.train)
    total = how.steps(number)
    steps = snapshot_steps(total, count)
    training = SnapshotTraining(folder, run_configuration(study, arm, images), steps)
    if training.done:
        return training.folders
    torch.manual_seed(seed)
    model = MultiModalMaskMae(study.model)
    arguments = training_arguments(
        how,
        "optimisation",
        folder,
        schedule="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": how.min_learning_rate},
        max_steps=total,
        warmup_steps=min(math.ceil(how.warmup_epochs * number / how.batch_size), total),
        seed=seed,
        logging_steps=study.log_every,
        eval_strategy="no",
        save_steps=how.steps(number, study.save_every),
        dataloader_num_workers=how.workers,
    )
    trainer = PretrainingTrainer(
        model,
        arguments,
        train_dataset=ImageOrder(images.train, total * how.batch_size, study.seed),
        data_collator=images.collator,
        balancer=arm_balancer(arm, study.arms[arm], model, how.steps(number, 1.0)),
        images=number,
        decay_vectors=how.decay_vectors,
        callbacks=[training.callback(lambda place: save_model(model, place))],
    )
    training.run(trainer, f"arm {arm!r}, seed {seed}", command)
    return training.folders
