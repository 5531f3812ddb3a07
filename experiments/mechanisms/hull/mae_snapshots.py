"""Snapshots of a pre-training of Multi-Modal Mask MAE."""

from pathlib import Path

from experiments.mae.arms import check_arms
from experiments.mae.model.checkpoints import save_model
from experiments.mae.pretrain import pretraining_trainer, run_configuration
from experiments.mae.reading import Images
from experiments.mae.study import MaeStudy
from experiments.mechanisms.hull.snapshots import SnapshotTraining, snapshot_steps
from experiments.records import run_folder

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
    images, folder = Images(study, data), run_folder(out, arm, seed)
    steps = snapshot_steps(study.optimisation.steps(len(images.train)), count)
    training = SnapshotTraining(folder, run_configuration(study, arm, images), steps)
    if training.done:
        return training.folders
    keep = training.callback(lambda place: save_model(model, place))
    trainer, model = pretraining_trainer(
        study, images, folder, arm, seed, callbacks=[keep], evaluate=False
    )
    training.run(trainer, f"arm {arm!r}, seed {seed}", command)
    return training.folders
