"""Pre-training: every arm and seed a run of its own, resumable, with a recorded result."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments

from experiments.configuration import dump
from experiments.mae.arms import arm_balancer
from experiments.mae.held_out import HELD_OUT_RISKS, sample_risks, summarise
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import save_model
from experiments.mae.reading import ImageOrder, Images
from experiments.mae.reconstructions import ReconstructionCallback
from experiments.mae.study import MaeStudy
from experiments.records import run_folder
from experiments.runs import finished, provenance, record
from experiments.training import OrderedTrainer, train, training_arguments

__all__ = [
    "PretrainingTrainer",
    "pretrain",
    "pretraining_trainer",
    "run_configuration",
    "snapshot_folder",
]

PACKAGES = ("torch", "torchvision", "timm", "transformers", "numpy", "pillow")
"""Whose versions are recorded."""
_WITHOUT_EFFECT = ("preparation", "downstream", "picture_every", "pictures", "snapshots")
"""Fields on which no number of a run depends."""


class PretrainingTrainer(OrderedTrainer):
    """Decays what the recipe says, and logs images a second and epochs of the images.

    Args:
        args: as of `TaskRobustTrainer`.
        images: that an epoch visits.
        decay_vectors: whether biases, norms and tokens decay, too.
        kwargs: as of `TaskRobustTrainer`.
    """

    def __init__(self, *args: Any, images: int, decay_vectors: bool, **kwargs: Any) -> None:
        self.images = images
        self.decay_vectors = decay_vectors
        self._logged: tuple[int, float] | None = None
        super().__init__(*args, **kwargs)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Parameters that decay: all, or those of two or more dimensions that are no tokens."""
        return [
            name
            for name, parameter in model.named_parameters()
            if self.decay_vectors or (parameter.squeeze().ndim > 1)
        ]

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `TaskRobustTrainer`; the clock starts with the first step of this attempt."""
        if self._logged is None:
            self._logged = (self.state.global_step, time.monotonic())
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `TaskRobustTrainer`, with images a second since the last line, over all processes.

        Evaluations, checkpoints and pictures in between take their time, too.
        """
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        size *= self.args.world_size
        if "loss" in logs and self._logged is not None:
            steps, now = self.state.global_step, time.monotonic()
            passed = max(now - self._logged[1], 1e-9)
            logs = {**logs, "images_per_second": (steps - self._logged[0]) * size / passed}
            self._logged = (steps, now)
        whole = self.state.epoch  # of the run, which is one data set to the Trainer
        self.state.epoch = self.state.global_step * size / self.images
        super().log(logs, start_time)
        self.state.epoch = whole


def pretrain(
    study: MaeStudy, data: Path, out: Path, arm: str, seed: int, *, command: str = ""
) -> dict[str, Any]:
    """One run: train, evaluate on held-out images, write the result; a finished run is read back.

    All arms of a seed share the initial parameters, the order of the images, windows and masks.

    Args:
        study: the configuration.
        data: a manifest, or the folder of one.
        out: results go to ``out/ARM/seed-N``.
        arm: name of an arm of the study.
        seed: of the initial parameters.
        command: what was typed, recorded with the result.

    Returns:
        The content of ``result.json``; an empty one in all processes but the first.

    Raises:
        ConfigurationError: data or arm cannot be used, or the folder holds a run of another
            configuration.
    """
    images = Images(study, data)
    folder = run_folder(out, arm, seed)
    configuration = run_configuration(study, arm, images)
    known = finished(folder, configuration)
    if known is not None:
        return known
    every = study.optimisation.steps(len(images.train), study.picture_every)
    pictures = ReconstructionCallback(images, study.pictures, every, folder / "reconstructions")
    callbacks = (pictures, _Snapshots(study.snapshots, folder))
    trainer, model = pretraining_trainer(study, images, folder, arm, seed, callbacks=callbacks)
    trained = train(trainer, folder, configuration, f"arm {arm!r}, seed {seed}")
    result: dict[str, Any] = {}
    if trainer.is_world_process_zero():
        save_model(model, folder / "model")
        risks = sample_risks(model, _held_out_batches(study, images), trainer.args.device)
        risks.write(folder / HELD_OUT_RISKS)
        result = {
            **provenance(command, PACKAGES),
            "arm": arm,
            "seed": seed,
            "configuration": configuration,
            **asdict(trained),
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": str(trainer.args.device),
            "held_out_split": images.held_out_split,
            "held_out": summarise(risks, study.model.tasks),
            "history": trainer.state.log_history,
        }
        record(folder, result)
    if dist.is_initialized():
        dist.barrier()
    return result


def pretraining_trainer(
    study: MaeStudy,
    images: Images,
    folder: Path,
    arm: str,
    seed: int,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    evaluate: bool = True,
) -> tuple[PretrainingTrainer, MultiModalMaskMae]:
    """What trains a run, and its initial model.

    Args:
        study: the configuration.
        images: as they are read.
        folder: of the run; checkpoints go into ``checkpoints``.
        arm: name of an arm of the study.
        seed: of the initial parameters.
        callbacks: of the Trainer.
        evaluate: whether held-out risks are logged on the way.

    Raises:
        ConfigurationError: the arm cannot be used.
    """
    count, how = len(images.train), study.optimisation
    arguments = _arguments(study, count, folder, seed, evaluate=evaluate)
    torch.manual_seed(seed)
    model = MultiModalMaskMae(study.model)
    trainer = PretrainingTrainer(
        model,
        arguments,
        train_dataset=ImageOrder(images.train, arguments.max_steps * how.batch_size, study.seed),
        eval_dataset=_HeldOut(images) if evaluate else None,
        data_collator=_Collator(images),
        balancer=arm_balancer(arm, study.arms[arm], model, how.steps(count, 1.0)),
        images=count,
        decay_vectors=how.decay_vectors,
        callbacks=list(callbacks),
    )
    return trainer, model


def run_configuration(study: MaeStudy, arm: str, images: Images) -> str:
    """What a run depends on, as YAML: the study with no other arms, and the images.

    Args:
        study: the configuration.
        arm: of the study.
        images: as they are read.
    """
    how = replace(study.optimisation, workers=0)  # who loads the images changes nothing
    kept = replace(study, arms={arm: study.arms[arm]}, optimisation=how)
    text = dump(kept, without=_WITHOUT_EFFECT)
    return text + str(yaml.safe_dump({"data": images.record}, sort_keys=False))


def snapshot_folder(run: Path, share: float) -> Path:
    """Where a run keeps its model as it was during training.

    Args:
        run: folder of the run.
        share: of `MaeStudy.snapshots`.
    """
    return run / "snapshots" / f"{share:g}"


class _Snapshots(TrainerCallback):  # type: ignore[misc]
    """Keeps the model after some shares of the steps."""

    def __init__(self, shares: Sequence[float], folder: Path) -> None:
        self.shares, self.folder = shares, folder

    def on_step_end(
        self, arguments: Any, state: Any, *_: Any, model: MultiModalMaskMae, **__: Any
    ) -> None:
        """Called by the Trainer, in every process."""
        for share in self.shares:
            if state.is_world_process_zero and state.global_step == round(
                share * arguments.max_steps
            ):
                save_model(model, snapshot_folder(self.folder, share))


class _HeldOut(torch.utils.data.Dataset[dict[str, Any]]):
    """Held-out images, which are marked as such for the collator."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images.held_out)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.images.held_out[index], "held_out": True}


class _Collator:
    """Masks of training or of held-out images; the Trainer has one collator for both."""

    def __init__(self, images: Images) -> None:
        self.training, self.held_out = images.collator, images.held_out_collator

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return (self.held_out if "held_out" in samples[0] else self.training)(samples)


def _held_out_batches(study: MaeStudy, images: Images) -> DataLoader[dict[str, Any]]:
    how = study.optimisation
    return DataLoader(
        images.held_out,
        batch_size=how.micro_batch_size or how.batch_size,
        collate_fn=images.held_out_collator,
        num_workers=how.workers,
    )


def _arguments(
    study: MaeStudy, images: int, folder: Path, seed: int, *, evaluate: bool
) -> TrainingArguments:
    """The Trainer's arguments."""
    how = study.optimisation
    steps = how.steps(images)
    return training_arguments(
        how,
        "optimisation",
        folder,
        schedule="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": how.min_learning_rate},
        max_steps=steps,
        warmup_steps=min(math.ceil(how.warmup_epochs * images / how.batch_size), steps),
        torch_compile=how.compile,
        seed=seed,
        logging_steps=study.log_every,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=how.steps(images, study.evaluate_every),
        save_steps=how.steps(images, study.save_every),
        dataloader_num_workers=how.workers,
        ddp_broadcast_buffers=False,
    )
