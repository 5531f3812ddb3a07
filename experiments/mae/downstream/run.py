"""One run of fine-tuning: a model, a task, a seed; trained, evaluated on the whole test split.

A run is trained for a fixed number of epochs and evaluated once, at its end: nothing is chosen on
the test split, so its numbers are honest.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from experiments.agreement import start_together
from experiments.configuration import ConfigurationError
from experiments.mae.downstream.data import (
    Collator,
    TrainingOrder,
    evaluation_images,
    training_images,
)
from experiments.mae.downstream.evaluation import evaluate, keep_pictured
from experiments.mae.downstream.layer_decay import parameter_groups
from experiments.mae.downstream.plan import Run
from experiments.quiet import quiet
from experiments.runs import finished, provenance, record
from experiments.training import InOrder, training_arguments
from taskrobust.trainer import last_complete_checkpoint

__all__ = ["finetune"]

PACKAGES = ("torch", "torchvision", "timm", "transformers", "torchmetrics", "numpy", "pillow")
"""Whose versions are recorded."""

_LOGS = 50
"""Losses that are recorded of a run."""


def finetune(
    run: Run, *, command: str = "", callbacks: Sequence[TrainerCallback] = ()
) -> dict[str, Any]:
    """Train, evaluate, write the result; a finished run is read back, an interrupted one goes on.

    Args:
        run: from `plan`.
        command: what was typed, recorded with the result.
        callbacks: told of each step by the Trainer.

    Returns:
        The content of ``result.json``; empty in all processes but the first.

    Raises:
        ConfigurationError: training diverged, or an image cannot be read.
    """
    known = finished(run.folder, run.configuration)
    if known is not None:
        return known
    began = time.time()
    trainer = _trainer(run, callbacks)
    first = trainer.is_world_process_zero()
    start_together(run.folder, run.configuration, first=first)
    checkpoints = run.folder / "checkpoints"
    resumed = last_complete_checkpoint(checkpoints)
    with quiet():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    trained = time.time()
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    images = evaluation_images(run.data, model.encoder.size)
    batch = trainer.args.per_device_eval_batch_size
    scores = evaluate(model, images, run.data, batch, run.title)
    result: dict[str, Any] = {}
    if first:
        if run.how.pictures:
            keep_pictured(model, images, run.data, run.folder)
        if run.how.keep_models:
            with quiet():
                trainer.save_model(str(run.folder / "model"))
        new_steps = run.steps - (int(resumed.name.rpartition("-")[2]) if resumed else 0)
        result = {
            **provenance(command, PACKAGES),
            "arm": run.model.arm,
            "pretraining_seed": run.model.seed,
            "model": None if run.model.folder is None else str(run.model.folder),
            "task": run.how.task,
            "seed": run.seed,
            "configuration": run.configuration,
            "data": run.data.describe(),
            "seconds": time.time() - began,
            "images_per_second": new_steps * run.how.batch_size / (trained - began),
            "resumed_from": None if resumed is None else resumed.name,
            "steps": trainer.state.global_step,
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": str(trainer.args.device),
            "test": scores,
            "history": trainer.state.log_history,
        }
        record(run.folder, result)
        shutil.rmtree(checkpoints, ignore_errors=True)
    if dist.is_initialized():
        dist.barrier()
    return result


class _OrderedTrainer(InOrder, Trainer):  # type: ignore[misc]
    """A Trainer without balancing."""


class _Divergence(TrainerCallback):  # type: ignore[misc]
    """Ends a run whose loss is not finite."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_log(
        self, _arguments: Any, state: Any, *_: Any, logs: dict[str, float], **__: Any
    ) -> None:
        """Called by the Trainer, on all ranks with the same loss."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ConfigurationError(
                f"{self.run.title}: training diverged, the loss is {logs['loss']} by step "
                f"{state.global_step}; lower `{self.run.how.task}.learning_rate`, or set "
                f"`{self.run.how.task}.max_gradient_norm`"
            )


def _trainer(run: Run, callbacks: Sequence[TrainerCallback]) -> Trainer:
    how, model = run.how, run.build()
    groups = parameter_groups(
        model,
        learning_rate=how.peak_learning_rate,
        weight_decay=how.weight_decay,
        layer_decay=how.layer_decay,
    )
    optimiser = torch.optim.AdamW(
        groups, lr=how.peak_learning_rate, betas=how.betas, eps=how.epsilon
    )
    images = training_images(run.data, model.encoder.size, run.seed)
    trainer = _OrderedTrainer(
        model,
        _arguments(run),
        train_dataset=TrainingOrder(images, run.images, run.seed, how.max_train_images),
        data_collator=Collator(how=how, classes=run.data.classes, seed=run.seed),
        optimizers=(optimiser, None),
        callbacks=[_Divergence(run), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(run: Run) -> TrainingArguments:
    how, total = run.how, run.steps
    warmup = round(how.warmup_epochs * run.data.train_images / how.batch_size)
    return training_arguments(
        replace(how, learning_rate=how.peak_learning_rate, learning_rate_batch=None),
        how.task,
        run.folder,
        schedule="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": how.min_learning_rate},
        max_steps=total,
        warmup_steps=min(warmup, total),
        seed=run.seed,
        logging_steps=max(1, total // _LOGS),
        eval_strategy="no",
        save_strategy="no" if how.save_every is None else "steps",
        save_steps=how.save_every or 500,
        dataloader_num_workers=how.workers,
        disable_tqdm=True,
    )
