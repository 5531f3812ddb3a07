"""transformers' Trainer with a balancer: exact under data parallelism, accumulation and resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed import barrier
from transformers import ProgressCallback, Trainer
from transformers.trainer_pt_utils import find_batch_size
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from taskrobust.accumulation import AccumulationPlan, balanced_loss, plan_accumulation
from taskrobust.balancers.base import Balancer
from taskrobust.risks import TaskRisks, TaskSums, global_risks, num_ranks
from taskrobust.trainer.checkpoints import last_complete_checkpoint, load_balancer, save_balancer
from taskrobust.trainer.outputs import output_sums
from taskrobust.trainer.progress import EpochCallback, TaskProgressCallback, WeightingLog

__all__ = ["TaskRobustTrainer"]


class TaskRobustTrainer(Trainer):  # type: ignore[misc]
    """`transformers.Trainer` that trains on the balanced loss of task risks.

    The model returns per-example or per-token losses and their task ids (see
    `taskrobust.trainer.outputs.output_sums` for the forms); everything else is the Trainer's:
    ``torchrun``, mixed precision, ``torch_compile``, checkpoints, logging. Of its own it

    - reduces sums and counts over ranks before the division and the weighting, so that W ranks
      train as one process would on the concatenated batch;
    - weights a whole optimiser step at once when gradients are accumulated;
    - saves the balancer in every checkpoint and restores it, and resumes (with
      ``resume_from_checkpoint=True``) from the newest checkpoint that is whole;
    - trains the balancer's own parameters, without weight decay and outside gradient clipping;
    - logs ``risk/TASK``, ``weight/TASK``, ``worst_risk``, ``weight_scale``, and names the worst
      task in the progress bar;
    - evaluates the risk of each task over the whole evaluation set, every example once.

    It sets two training arguments: ``ddp_find_unused_parameters`` to False unless it was given
    (the stacked risks keep every head in the graph), and ``logging_nan_inf_filter`` to False (a
    non-finite risk is the balancer's business, see `Balancer`). Data order is the caller's: for a
    bit-exact resume, random augmentation or masking has to depend on the example, not on a running
    random state.

    Args:
        args: positional arguments of `transformers.Trainer`.
        balancer: moved to the training device.
        accumulation: with ``gradient_accumulation_steps`` > 1: "exact", two passes, as one large
            batch (see `taskrobust.accumulation`; about a third more time); or "micro", weights from
            each micro-batch, a different and noisier algorithm. Both average over micro-batches.
        balancer_lr: learning rate of the balancer's own parameters; that of the model if None.
        kwargs: keyword arguments of `transformers.Trainer`.

    Raises:
        ValueError: options that cannot be combined with balancing.
    """

    # The loss of a micro-batch comes scaled from `compute_loss`; the Trainer must not divide it.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        balancer: Balancer,
        accumulation: Literal["exact", "micro"] = "exact",
        balancer_lr: float | None = None,
        **kwargs: Any,
    ) -> None:
        if accumulation not in ("exact", "micro"):
            raise ValueError(f"`accumulation` should be 'exact' or 'micro'; found {accumulation!r}")
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError("`compute_loss_func` should be None: the balancer computes the loss")
        self.balancer = balancer
        self.accumulation = accumulation
        self.balancer_lr = balancer_lr
        self._micro_batches: list[Any] = []
        self._plan: AccumulationPlan | None = None
        self._eval_sums: TaskSums | None = None
        self._weighting_log = WeightingLog(balancer.task_names)
        super().__init__(*args, **kwargs)
        self._check_arguments()
        self.balancer.to(self.args.device)
        self._epochs = EpochCallback(balancer)
        self.add_callback(self._epochs)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(TaskProgressCallback())

    def create_accelerator_and_postprocess(self) -> None:
        """Set the training arguments named in the class's docstring, then as `Trainer`."""
        if self.args.ddp_find_unused_parameters is None:
            self.args.ddp_find_unused_parameters = False
        self.args.logging_nan_inf_filter = False
        super().create_accelerator_and_postprocess()

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer`, with a group for the balancer's own parameters."""
        given = self.optimizer is not None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        options = {} if self.balancer_lr is None else {"lr": self.balancer_lr}
        for group in self.balancer.param_groups(**options):
            missing = [p for p in group["params"] if id(p) not in known]
            if missing and given:
                raise ValueError(
                    "`optimizers` should include the balancer's own parameters: add "
                    "*balancer.param_groups() to the groups of the optimizer"
                )
            if missing:
                optimizer.add_param_group({**group, "params": missing})
        return optimizer

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; ``resume_from_checkpoint=True`` takes the newest whole checkpoint.

        Raises:
            ValueError: there is none.
        """
        if resume_from_checkpoint is True:
            found = last_complete_checkpoint(self.args.output_dir)
            if found is None:
                raise ValueError(
                    f"no complete checkpoint in {self.args.output_dir}; train without "
                    "resume_from_checkpoint, or give a checkpoint's path"
                )
            resume_from_checkpoint = str(found)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """As `Trainer`; the micro-batches of the coming step are kept for the first pass."""
        found: tuple[list[Any], Any] = super().get_batch_samples(
            epoch_iterator, num_batches, device
        )
        self._micro_batches = found[0]
        self._plan = None
        self.balancer.zero_grad(set_to_none=True)
        return found

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """As `Trainer`; before the first micro-batch of a step, its coefficients are fixed.

        Not in `get_batch_samples`, where a resumed run has not restored the random state yet.
        """
        self.balancer.train()
        exact = self.accumulation == "exact" and len(self._micro_batches) > 1
        if exact and self._plan is None:
            model.train()
            self._plan = plan_accumulation(
                self.balancer,
                lambda batch: self._local_sums(model, self._prepare_inputs(batch))[0],
                self._micro_batches,
                model=model,
            )
            self._weighting_log.add(self.balancer.last)
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Tensor | tuple[Tensor, Any]:
        """Balanced loss of a micro-batch; out of training the mean risk of this rank's batch."""
        local, outputs = self._local_sums(model, inputs)
        if model.training:
            loss = self._training_loss(local)
        else:
            tasks = self.balancer.num_tasks
            risks = local.sums[:tasks] / local.counts[:tasks].clamp(min=1)
            loss = risks.sum() / (local.counts[:tasks] > 0).sum().clamp(min=1)
        return (loss, outputs) if return_outputs else loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As `Trainer`, with the risk of each task over the whole set, every example once.

        Adds ``eval_risk/TASK`` (left out for a task without an example), ``eval_worst_risk``,
        ``eval_auxiliary_risk`` if there is one, and ``eval_loss``, the mean of the risks plus the
        auxiliary risk. With `compute_metrics` this takes a second pass over the set.
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
            with _every_example_once(self.accelerator):
                loader = super().get_eval_dataloader(loader.dataset)
            _, metrics = self._risk_loop(loader, *args[1:], **kwargs)
        output.metrics.update({f"{prefix}_{key}": value for key, value in metrics.items()})
        return output

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As `Trainer`, but without examples repeated to fill the last batches of all ranks."""
        if self.compute_metrics is not None:
            return super().get_eval_dataloader(eval_dataset)
        with _every_example_once(self.accelerator):
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
        extra = local.sums.numel() - self._eval_sums.sums.numel()
        total = TaskSums(*(nn.functional.pad(field, (0, extra)) for field in self._eval_sums))
        self._eval_sums = total.plus(local)
        return None, None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `Trainer`, with the mean risk and weight of each task since the last training log."""
        if "loss" in logs:
            logs = {**logs, **self._weighting_log.pop()}
        super().log(logs, start_time)

    def _local_sums(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[TaskSums, Any]:
        """Sums and counts of a micro-batch on this rank, and what the model returned."""
        with self.compute_loss_context_manager():
            outputs = model(**inputs)
        batch_size = find_batch_size(inputs)
        return output_sums(outputs, self.balancer.num_tasks, batch_size), outputs

    def _training_loss(self, local: TaskSums) -> Tensor:
        if self._plan is not None:
            loss = self._plan.loss(local)
            skipped = self._plan.skipped
        else:
            loss = balanced_loss(self.balancer, global_risks(local))
            loss = loss / max(len(self._micro_batches), 1)
            self._weighting_log.add(self.balancer.last)
            skipped = self.balancer.last is None
        if skipped and getattr(self.accelerator, "scaler", None) is not None:
            # A gradient scaler wants to see gradients; not-a-number ones make it skip the step.
            return local.sums.sum() * torch.nan
        return loss

    def _risk_loop(self, *args: Any, **kwargs: Any) -> tuple[EvalLoopOutput, dict[str, float]]:
        """The Trainer's loop, keeping sums and counts only, and the risks over all ranks."""
        zeros = torch.zeros(self.balancer.num_tasks, device=self.args.device)
        self._eval_sums = TaskSums(zeros, zeros)
        try:
            output = super().evaluation_loop(*args, **kwargs)
            risks = global_risks(self._eval_sums)
        finally:
            self._eval_sums = None
        return output, _risk_metrics(risks, self.balancer.task_names)

    def _check_arguments(self) -> None:
        if self.args.n_gpu > 1:
            raise ValueError(
                f"one process drives {self.args.n_gpu} GPUs, whose losses cannot be reduced by "
                "task; launch with torchrun --nproc-per-node "
                f"{self.args.n_gpu}, or set CUDA_VISIBLE_DEVICES"
            )
        if self.label_smoother is not None:
            raise ValueError(
                "`label_smoothing_factor` should be 0: the model computes the losses of the tasks"
            )
        if self.is_deepspeed_enabled and self.balancer.param_groups():
            raise ValueError(
                f"{type(self.balancer).__name__} has parameters of its own, which DeepSpeed's "
                "optimizer cannot hold; use DDP or FSDP, or another balancer"
            )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            save_balancer(self.balancer, output_dir, self._epochs.epochs_ended)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if num_ranks() > 1:
            # Every rank's state is on disk before rank 0 declares the checkpoint whole and deletes
            # older ones.
            barrier()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._epochs.epochs_ended = load_balancer(self.balancer, Path(checkpoint))


def _risk_metrics(risks: TaskRisks, task_names: tuple[str, ...]) -> dict[str, float]:
    """Risks by name, the worst, the auxiliary one and the loss."""
    values, present = risks.risks.tolist(), risks.present.tolist()
    tasks = len(task_names)
    by_name = {
        f"risk/{name}": value
        for name, value, there in zip(task_names, values[:tasks], present[:tasks], strict=True)
        if there
    }
    metrics = dict(by_name)
    loss = sum(by_name.values()) / len(by_name) if by_name else float("nan")
    if by_name:
        metrics["worst_risk"] = max(by_name.values())
    if len(values) > tasks:
        metrics["auxiliary_risk"] = values[tasks]
        loss += values[tasks]
    return {**metrics, "loss": loss}


@contextmanager
def _every_example_once(accelerator: Any) -> Iterator[None]:
    """Data loaders made meanwhile do not repeat examples to fill up the last batches."""
    before = accelerator.even_batches
    accelerator.even_batches = False
    try:
        yield
    finally:
        accelerator.even_batches = before
