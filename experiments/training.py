"""What all training here tells transformers' Trainer alike."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import SequentialSampler
from transformers import TrainingArguments

from experiments.agreement import start_together
from experiments.configuration import ConfigurationError
from experiments.quiet import quiet
from experiments.runs import release
from taskrobust import TaskRobustTrainer
from taskrobust.balancers import NonFiniteRiskError
from taskrobust.trainer import last_complete_checkpoint

__all__ = [
    "InOrder",
    "OrderedTrainer",
    "Recipe",
    "Trained",
    "check_batches",
    "train",
    "training_arguments",
]


class Recipe(Protocol):
    """What the configurations of pre-training and of fine-tuning have in common."""

    @property
    def batch_size(self) -> int:
        """Examples a step over all processes and micro-batches."""

    @property
    def micro_batch_size(self) -> int | None:
        """Examples a process takes at once; None: its whole share."""

    @property
    def learning_rate(self) -> float:
        """At its peak."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of AdamW."""

    @property
    def epsilon(self) -> float:
        """Of AdamW."""

    @property
    def max_gradient_norm(self) -> float:
        """0: no clipping."""

    @property
    def precision(self) -> str:
        """float32, bf16 or fp16."""


def check_batches(how: Recipe, field: str) -> tuple[int, int]:
    """How a step is taken by the processes there are.

    Args:
        how: the configuration.
        field: its name in the preset, for errors.

    Returns:
        Examples that a process takes at once, and how often it does so in a step.

    Raises:
        ConfigurationError: the batch cannot be divided so, or fp16 without a GPU.
    """
    processes = _processes()
    share, rest = divmod(how.batch_size, processes)
    micro = how.micro_batch_size or share
    if rest or share % micro:
        raise ConfigurationError(
            f"`{field}.batch_size` should be a multiple of processes × micro-batch; found "
            f"{how.batch_size} for {processes} × {micro}"
        )
    if how.precision == "fp16" and not torch.cuda.is_available():
        raise ConfigurationError(f"`{field}.precision` fp16 needs a GPU; take bf16 or float32")
    return micro, share // micro


def training_arguments(
    how: Recipe, field: str, folder: Path, *, schedule: str = "linear", **options: Any
) -> TrainingArguments:
    """The Trainer's arguments; every default that would change the recipe is overridden.

    Args:
        how: the configuration.
        field: its name in the preset, for errors.
        folder: of the run; checkpoints go into ``checkpoints``.
        schedule: of the learning rate after the warm-up, as transformers calls it.
        options: more arguments: steps, warm-up, seed, how often is logged, evaluated and saved.

    Raises:
        ConfigurationError: as `check_batches`.
    """
    micro, accumulation = check_batches(how, field)
    accelerated = torch.cuda.is_available()
    return TrainingArguments(
        str(folder / "checkpoints"),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=how.learning_rate,
        lr_scheduler_type=schedule,
        weight_decay=how.weight_decay,
        adam_beta1=how.betas[0],
        adam_beta2=how.betas[1],
        adam_epsilon=how.epsilon,
        max_grad_norm=how.max_gradient_norm,
        bf16=how.precision == "bf16",
        fp16=how.precision == "fp16",
        logging_nan_inf_filter=False,
        save_total_limit=1,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        report_to="none",
        use_cpu=not accelerated,
        ddp_backend="gloo" if _processes() > 1 and not accelerated else None,
        **options,
    )


class InOrder:
    """For a Trainer: training examples are read in the order of the data set, drawn already."""

    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


class OrderedTrainer(InOrder, TaskRobustTrainer):
    """A `TaskRobustTrainer` that does so."""


@dataclass(frozen=True)
class Trained:
    """How a run was trained."""

    seconds: float
    """Of this attempt."""
    resumed_from: str | None
    """Name of the checkpoint it went on from."""


def train(trainer: TaskRobustTrainer, folder: Path, configuration: str, title: str) -> Trained:
    """Train to the end, from the newest whole checkpoint of the folder if there is one.

    Args:
        trainer: whose checkpoints go into ``checkpoints`` of the folder.
        folder: of the run; it is told the configuration.
        configuration: all that the run depends on, as text.
        title: of the run, for people.

    Raises:
        ConfigurationError: a risk is not finite, or another process is at this run.
    """
    start_together(folder, configuration, first=trainer.is_world_process_zero())
    began = time.time()
    resumed = last_complete_checkpoint(folder / "checkpoints")
    try:
        with quiet():
            trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    except NonFiniteRiskError as error:
        release(folder)
        raise ConfigurationError(
            f"{title}: training diverged ({error}); lower the learning rate of `optimisation`, or "
            "set `optimisation.max_gradient_norm`"
        ) from error
    return Trained(time.time() - began, None if resumed is None else resumed.name)


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
