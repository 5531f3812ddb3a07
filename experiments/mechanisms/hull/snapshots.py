"""Models kept at several steps of a pre-training: more than one θ for one λ."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from transformers import TrainerCallback

from experiments.runs import finished, provenance, record
from experiments.training import train
from taskrobust import TaskRobustTrainer

__all__ = ["Save", "SnapshotTraining", "snapshot_steps"]

Save = Callable[[Path], None]
"""Writes the model, as it is now, into a folder."""

PACKAGES = ("torch", "transformers")
"""Whose versions are recorded."""


def snapshot_steps(total: int, count: int) -> list[int]:
    """Steps at which models are kept: 0, the last, and between them denser at the beginning.

    They are spread evenly in the square root of the step, as risks fall fast at first.

    Args:
        total: steps of the training.
        count: wanted, at least 2.

    Returns:
        Ascending and different; fewer than `count` if there are fewer steps.
    """
    spread = np.linspace(0, 1, count) ** 2 * total
    return sorted({round(float(step)) for step in spread})


class SnapshotTraining:
    """A pre-training whose models are kept at some steps, below the folder of the run.

    Args:
        folder: of the run; models go to ``step-M`` in it.
        configuration: all that the run depends on, as YAML.
        steps: from `snapshot_steps`.
    """

    def __init__(self, folder: Path, configuration: str, steps: Sequence[int]) -> None:
        self.folder, self.steps = folder, list(steps)
        text: str = yaml.safe_dump({"snapshots": self.steps}, sort_keys=False)
        self.configuration = configuration + text

    @property
    def folders(self) -> list[Path]:
        """Of the models, in the order of the steps."""
        return [self.folder / f"step-{step:07d}" for step in self.steps]

    @property
    def done(self) -> bool:
        """Whether the training has been finished before.

        Raises:
            ConfigurationError: the folder holds a run of another configuration.
            RecordError: its result is damaged.
        """
        return finished(self.folder, self.configuration) is not None

    def callback(self, save: Save) -> TrainerCallback:
        """What keeps the models, for the Trainer."""
        return _Keep(dict(zip(self.steps, self.folders, strict=True)), save)

    def run(self, trainer: TaskRobustTrainer, title: str, command: str) -> None:
        """Train to the end, from the last checkpoint if there is one, and record it.

        Args:
            trainer: with the `callback`.
            title: of the run, for errors.
            command: what was typed.

        Raises:
            ConfigurationError: a risk is not finite, or another process is at this run.
        """
        trained = train(trainer, self.folder, self.configuration, title)
        result = {
            **provenance(command, PACKAGES),
            "configuration": self.configuration,
            "snapshots": self.steps,
            **asdict(trained),
            "history": trainer.state.log_history,
        }
        record(self.folder, result)
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)


class _Keep(TrainerCallback):  # type: ignore[misc]
    """Saves the model at given steps, whole or not at all."""

    def __init__(self, places: dict[int, Path], save: Save) -> None:
        self.places, self.save = places, save

    def on_train_begin(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
        """Called by the Trainer; the initial model is a snapshot, too."""
        self._keep(state.global_step)

    def on_step_end(self, _arguments: Any, state: Any, *_: Any, **__: Any) -> None:
        """Called by the Trainer after each step of the optimiser."""
        self._keep(state.global_step)

    def _keep(self, step: int) -> None:
        place = self.places.get(step)
        if place is None or place.is_dir():
            return
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.save(partial)
        partial.replace(place)
