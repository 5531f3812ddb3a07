"""Runs of fine-tuning, planned and checked before the first is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from transformers import set_seed

from experiments.configuration import ConfigurationError, dump, plain
from experiments.mae.configuration import ModelSize
from experiments.mae.downstream.configuration import Classification, FineTuning
from experiments.mae.downstream.data import evaluation_images, training_images
from experiments.mae.downstream.model import DownstreamModel, downstream_model
from experiments.mae.downstream.models import Pretrained
from experiments.mae.downstream.task_data import TaskData
from experiments.runs import finished
from experiments.training import check_batches

__all__ = ["Run", "plan"]

_WITHOUT_EFFECT = ("seeds", "save_every", "keep_models", "pictures", "workers")
"""Fields on which no number of a run depends."""


@dataclass(frozen=True)
class Run:
    """One model on one task with one seed."""

    model: Pretrained
    data: TaskData
    fresh: ModelSize
    """Size of a model that has learned nothing."""
    statistics: tuple[float, float] | None
    """Mean and deviation of depth in metres, for that task."""
    seed: int
    folder: Path
    configuration: str
    """All that the run depends on, as YAML."""

    @property
    def how(self) -> FineTuning:
        """The recipe."""
        return self.data.how

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model.title} · {self.how.task}, seed {self.seed}"

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return self.how.steps(self.data.train_images)

    @property
    def images(self) -> int:
        """Images that are seen in training, with repetition."""
        return self.steps * self.how.batch_size

    def build(self) -> DownstreamModel:
        """The model before training; runs of one seed share the head.

        Raises:
            ConfigurationError: the pre-trained model cannot be read, or does not fit.
        """
        set_seed(self.seed)
        encoder = self.model.encoder(self.how, self.fresh)
        set_seed(self.seed)
        mean, deviation = self.statistics or (0.0, 1.0)
        return downstream_model(
            self.how.task,
            encoder,
            self.data.classes,
            depth_mean=mean,
            depth_deviation=deviation,
        )


def plan(
    models: Sequence[Pretrained],
    data: TaskData,
    fresh: ModelSize,
    statistics: tuple[float, float] | None,
    out: Path,
) -> list[Run]:
    """All runs, model by model; everything that they need is checked.

    Args:
        models: from `experiments.mae.downstream.models.find_models`.
        data: checked.
        fresh: size of a model that has learned nothing.
        statistics: mean and deviation of depth in metres, for that task.
        out: results go to ``out/ARM[/seed-N]/TASK/seed-M``.

    Raises:
        ConfigurationError: a model that cannot be used or does not fit the files, a file that is
            missing, batches that cannot be divided, or a folder that holds a run of another
            configuration.
    """
    how = data.how
    _check_batch(how)
    runs = []
    for model in models:
        size = model.encoder(how, fresh).size
        images = evaluation_images(data, size)
        training_images(data, size, 0)
        images.check_model(size)
        text = _configuration(model, data, fresh, statistics)
        for seed in dict.fromkeys(how.seeds):
            folder = model.runs(out) / how.task / f"seed-{seed}"
            runs.append(Run(model, data, fresh, statistics, seed, folder, text))
    for run in runs:
        finished(run.folder, run.configuration)
    return runs


def _check_batch(how: FineTuning) -> None:
    micro, _ = check_batches(how, how.task)
    if isinstance(how, Classification) and how.mixes and micro % 2:
        raise ConfigurationError(
            f"`cls.micro_batch_size` should be even, as `mixup` and `cutmix` mix pairs; found "
            f"{micro} images at once"
        )


def _configuration(
    model: Pretrained,
    data: TaskData,
    fresh: ModelSize,
    statistics: tuple[float, float] | None,
) -> str:
    """What a run depends on but its seed."""
    rest = {
        "task": data.how.task,
        "depth_statistics": None if statistics is None else list(statistics),
        "data": {**data.manifest.header.identity, "test_split": data.test_split},
    }
    identity = plain(model.identity(fresh))
    text: str = yaml.safe_dump({**rest, "model": identity}, sort_keys=False)
    return dump(data.how, without=(*_WITHOUT_EFFECT, "test_split")) + text
