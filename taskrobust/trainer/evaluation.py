"""Risks of the tasks over a whole evaluation set, from the sums and counts of its batches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from transformers import Trainer
from transformers.trainer_pt_utils import find_batch_size
from transformers.trainer_utils import EvalLoopOutput

from taskrobust.balancers.base import Balancer
from taskrobust.risks import TaskSums, global_risks
from taskrobust.trainer.outputs import output_sums, warn_of_half_precision

__all__ = ["EvaluationSums", "RiskEvaluation"]


class EvaluationSums:
    """Sums and counts of the batches of this rank, in float64 where the device has it.

    They have a place for auxiliary losses from the start: a rank without a batch has to agree with
    the others on the shape and the dtype of what is reduced.

    Args:
        task_names: names of the tasks.
        device: where the batches are.
    """

    def __init__(self, task_names: tuple[str, ...], device: torch.device) -> None:
        self.task_names = task_names
        dtype = torch.float32 if device.type == "mps" else torch.float64
        zeros = torch.zeros(len(task_names) + 1, dtype=dtype, device=device)
        self._total = TaskSums(zeros, zeros)

    def add(self, local: TaskSums) -> None:
        """Add a batch: ``[T]``, or ``[T + 1]`` with auxiliary losses last."""
        places = self._total.sums.numel() - local.sums.numel()
        padded = TaskSums(*(nn.functional.pad(field, (0, places)) for field in local))
        self._total = self._total.plus(padded)

    def metrics(self) -> dict[str, float]:
        """Over all ranks: ``risk/TASK``, ``worst_risk``, ``auxiliary_risk`` and ``loss``.

        The loss is the mean of the risks plus the auxiliary one. Tasks without an example are left
        out.
        """
        found = global_risks(self._total)
        values, present = found.risks.tolist(), found.present.tolist()
        by_name = {
            f"risk/{name}": values[t] for t, name in enumerate(self.task_names) if present[t]
        }
        metrics = {**by_name, "loss": sum(by_name.values()) / max(len(by_name), 1)}
        if by_name:
            metrics["worst_risk"] = max(by_name.values())
        if present[-1]:
            metrics["auxiliary_risk"] = values[-1]
            metrics["loss"] += values[-1]
        return metrics if any(present) else {"loss": float("nan")}


class RiskEvaluation(Trainer):  # type: ignore[misc]
    """`transformers.Trainer` that evaluates the risk of each task, for models of several tasks."""

    balancer: Balancer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._eval_sums: EvaluationSums | None = None
        self._precision_checked = False
        super().__init__(*args, **kwargs)

    def create_accelerator_and_postprocess(self) -> None:
        """As `Trainer`; for a metric that is a risk, less is better."""
        metric = self.args.metric_for_best_model
        if metric and ("risk/" in metric or metric.endswith(("worst_risk", "auxiliary_risk"))):
            self.args.greater_is_better = False
        super().create_accelerator_and_postprocess()

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As `Trainer`, with the risk of each task over the whole set, every example once.

        Adds ``eval_risk/TASK`` (left out for a task without an example), ``eval_worst_risk``,
        ``eval_auxiliary_risk`` if there is one, and ``eval_loss``, the mean of the risks plus the
        auxiliary risk. With `compute_metrics` this takes a second pass over the set.

        On several ranks examples are repeated to fill the last batches of a data set without a
        length, and under FSDP and DeepSpeed.
        """
        prefix = kwargs.get("metric_key_prefix", "eval")
        description = kwargs.get("description", args[1] if len(args) > 1 else "")
        if description == "Prediction":
            return super().evaluation_loop(*args, **kwargs)
        if self.compute_metrics is None:
            output, metrics = self._risk_loop(*args, **kwargs)
        else:
            output = super().evaluation_loop(*args, **kwargs)
            loader = kwargs.pop("dataloader", args[0] if args else None)
            with self._every_example_once():
                # Not the loader for evaluation, which persistent workers keep under a name.
                loader = super().get_test_dataloader(loader.dataset)
            _, metrics = self._risk_loop(loader, *args[1:], **kwargs)
        output.metrics.update({f"{prefix}_{key}": value for key, value in metrics.items()})
        return output

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As `Trainer`, but without examples repeated to fill the last batches of all ranks."""
        if self.compute_metrics is not None:
            return super().get_eval_dataloader(eval_dataset)
        with self._every_example_once():
            return super().get_eval_dataloader(eval_dataset)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Any, Any, Any]:
        """As `Trainer`; while risks are measured, only their sums and counts are kept."""
        if self._eval_sums is None:
            found: tuple[Any, Any, Any] = super().prediction_step(
                model, inputs, prediction_loss_only, ignore_keys
            )
            return found
        with torch.no_grad():
            local, _ = self._local_sums(model, self._prepare_inputs(inputs))
        self._eval_sums.add(local)
        return None, None, None

    def _local_sums(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[TaskSums, Any]:
        """Sums and counts of a micro-batch on this rank, and what the model returned."""
        with self.compute_loss_context_manager():
            outputs = model(**inputs)
        if not self._precision_checked:
            self._precision_checked = True
            warn_of_half_precision(outputs, mixed=self.accelerator.mixed_precision != "no")
        batch_size = find_batch_size(inputs)
        return output_sums(outputs, self.balancer.num_tasks, batch_size), outputs

    def _risk_loop(self, *args: Any, **kwargs: Any) -> tuple[EvalLoopOutput, dict[str, float]]:
        """The Trainer's loop, keeping sums and counts only, and the risks over all ranks."""
        self._eval_sums = EvaluationSums(self.balancer.task_names, self.args.device)
        try:
            output = super().evaluation_loop(*args, **kwargs)
            return output, self._eval_sums.metrics()
        finally:
            self._eval_sums = None

    def _every_example_once(self) -> AbstractContextManager[None]:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return nullcontext()  # their forward passes communicate: as many batches on each rank
        return _every_example_once(self.accelerator)


@contextmanager
def _every_example_once(accelerator: Any) -> Iterator[None]:
    """Data loaders made meanwhile do not repeat examples to fill up the last batches."""
    before = accelerator.even_batches
    accelerator.even_batches = False
    try:
        yield
    finally:
        accelerator.even_batches = before
