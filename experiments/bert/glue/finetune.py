"""Fine-tuning: every model, task and seed a run of its own, with a recorded result.

A run is trained for a fixed number of epochs and evaluated once, at its end: nothing is chosen on
the dev set, so its scores are honest. Test predictions are written, never scored.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
import yaml
from numpy.typing import NDArray
from transformers import (
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from experiments.agreement import start_together
from experiments.bert.configuration import FineTuning
from experiments.bert.glue.encoding import Encoded
from experiments.bert.glue.examples import TaskData
from experiments.bert.glue.metrics import scores
from experiments.bert.glue.models import Pretrained, classifier, tokenizer_of
from experiments.configuration import ConfigurationError
from experiments.quiet import quiet
from experiments.runs import finished, provenance, record
from experiments.training import check_batches, training_arguments
from taskrobust.trainer import last_complete_checkpoint

__all__ = ["PREDICTIONS", "Run", "finetune", "plan", "steps"]

PREDICTIONS = "predictions.npz"
"""Outputs of the classifier ``[n, outputs]`` by split."""
MULTIPLE = 8
"""Of which lengths of batches are multiples, for tensor cores."""
PACKAGES = ("torch", "transformers", "tokenizers", "scikit-learn", "scipy")
"""Whose versions are recorded."""


@dataclass(frozen=True)
class Run:
    """One model on one task with one seed."""

    model: Pretrained
    data: TaskData
    seed: int
    folder: Path
    configuration: str
    """All that the run depends on, as YAML."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model.title} · {self.data.task.title}, seed {self.seed}"


def plan(
    how: FineTuning, models: Sequence[Pretrained], data: Sequence[TaskData], out: Path
) -> list[Run]:
    """All runs, model by model and task by task; everything that they need is checked.

    Args:
        how: the configuration.
        models: from `find_models`.
        data: of each task.
        out: results go to ``out/ARM[/seed-N]/TASK/seed-M``.

    Raises:
        ConfigurationError: a model that cannot be used, or a folder that holds a run of another
            configuration.
    """
    check_batches(how, "fine_tuning")
    runs = []
    for model in models:
        tokenizer_of(model, how.sequence_length)
        classifier(model, data[0].task)
        identity = model.identity()
        for each in data:
            for seed in dict.fromkeys(how.seeds):
                folder = model.folder(out) / each.task.name / f"seed-{seed}"
                runs.append(Run(model, each, seed, folder, _configuration(how, each, identity)))
    for run in runs:
        finished(run.folder, run.configuration)
    return runs


def steps(how: FineTuning, data: TaskData) -> int:
    """Optimiser steps of a run."""
    examples = len(data.train.head(how.max_train_examples))
    return math.ceil(how.epochs * math.ceil(examples / how.batch_size))


def finetune(
    run: Run,
    how: FineTuning,
    *,
    command: str = "",
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """Train, evaluate on dev, predict dev and test, write the result; a finished run is read back.

    Runs of one seed share the initial head and the order of the data.

    Args:
        run: from `plan`.
        how: the configuration it was planned with.
        command: what was typed, recorded with the result.
        callbacks: told of each step by the Trainer.

    Returns:
        The content of ``result.json``; empty in all processes but the first.

    Raises:
        ConfigurationError: the folder holds a run of another configuration, or training diverged.
    """
    known = finished(run.folder, run.configuration)
    if known is not None:
        return known
    task, began = run.data.task, time.time()
    tokenizer = tokenizer_of(run.model, how.sequence_length)
    encoded = _encoded(run.data, tokenizer, how)
    arguments = _arguments(how, run)
    set_seed(run.seed)
    model = classifier(run.model, task)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=encoded["train"],
        data_collator=_collator(tokenizer, how.sequence_length, model.config),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    first = trainer.is_world_process_zero()
    start_together(run.folder, run.configuration, first=first)
    checkpoints = run.folder / "checkpoints"
    resumed = last_complete_checkpoint(checkpoints)
    with quiet():
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        outputs = _outputs(trainer, encoded, run)
        if how.keep_models:
            trainer.save_model(str(run.folder / "model"))
    result: dict[str, Any] = {}
    if first:
        result = {
            **provenance(command, PACKAGES),
            "arm": run.model.arm,
            "pretraining_seed": run.model.seed,
            "model": run.model.path,
            "task": task.name,
            "seed": run.seed,
            "configuration": run.configuration,
            "data": run.data.describe(),
            "seconds": time.time() - began,
            "resumed_from": None if resumed is None else resumed.name,
            "steps": trainer.state.global_step,
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": str(trainer.args.device),
            "cut": {name: each.cut for name, each in encoded.items()},
            "dev": _dev_scores(run, outputs),
            "history": trainer.state.log_history,
        }
        if how.keep_models:
            tokenizer.save_pretrained(run.folder / "model")
        np.savez(run.folder / PREDICTIONS, **outputs)  # type: ignore[arg-type]
        record(run.folder, result)
        shutil.rmtree(checkpoints, ignore_errors=True)
    if dist.is_initialized():
        dist.barrier()
    return result


def _encoded(
    data: TaskData, tokenizer: PreTrainedTokenizerBase, how: FineTuning
) -> dict[str, Encoded]:
    """All splits, tokenised."""
    splits = {**data.splits(), "train": data.train.head(how.max_train_examples)}
    whole = not data.task.is_regression
    return {
        name: Encoded(each, tokenizer, how.sequence_length, whole_labels=whole)
        for name, each in splits.items()
    }


def _collator(
    tokenizer: PreTrainedTokenizerBase, length: int, config: Any
) -> DataCollatorWithPadding:
    """Pads to the longest of a batch, and further to what devices like if the model has room."""
    positions = getattr(config, "max_position_embeddings", math.inf)
    room = -(-length // MULTIPLE) * MULTIPLE <= positions
    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=MULTIPLE if room else None)


def _outputs(
    trainer: Trainer, encoded: dict[str, Encoded], run: Run
) -> dict[str, NDArray[np.float32]]:
    """Outputs of the classifier on dev and test."""
    outputs = {}
    for name, split in encoded.items():
        if name == "train":
            continue
        outputs[name] = np.asarray(trainer.predict(split).predictions, np.float32)
        if not np.isfinite(outputs[name]).all():
            raise ConfigurationError(
                f"{run.title}: training diverged, outputs are not finite; lower "
                "`fine_tuning.learning_rate`, or set `fine_tuning.max_gradient_norm`"
            )
    return outputs


def _dev_scores(run: Run, outputs: dict[str, NDArray[np.float32]]) -> dict[str, dict[str, float]]:
    """Scores by part and metric."""
    found = {}
    for name, part in run.data.dev.items():
        assert part.labels is not None  # dev splits are read with labels
        found[name] = scores(run.data.task, outputs[f"dev {name}".strip()], part.labels)
    return found


def _configuration(how: FineTuning, data: TaskData, model: str) -> str:
    """What a run depends on; neither other tasks and seeds, nor what is kept of it."""
    fields = asdict(how)
    for name in ("tasks", "seeds", "source", "hub", "revision", "save_every", "keep_models"):
        del fields[name]
    splits = {name: part.digest() for name, part in data.splits().items()}
    content = {**fields, "betas": list(how.betas), "model": model, "data": splits}
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


def _arguments(how: FineTuning, run: Run) -> TrainingArguments:
    """The Trainer's arguments."""
    total = steps(how, run.data)
    return training_arguments(
        how,
        "fine_tuning",
        run.folder,
        max_steps=total,
        warmup_steps=math.ceil(how.warmup_ratio * total),
        seed=run.seed,
        logging_steps=max(1, total // 20),
        eval_strategy="no",
        save_strategy="no" if how.save_every is None else "steps",
        save_steps=how.save_every or 500,
        disable_tqdm=True,
    )
