"""transformers' Trainer with a balancer: exact under data parallelism, accumulation and resume."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed import barrier
from transformers import ProgressCallback
from transformers.trainer_utils import TrainOutput

from taskrobust.accumulation import AccumulationPlan, balanced_loss, plan_accumulation
from taskrobust.balancers.base import Balancer
from taskrobust.risks import TaskSums, global_risks, num_ranks
from taskrobust.trainer.checkpoints import (
    discard_checkpoint,
    last_complete_checkpoint,
    load_balancer,
    save_balancer,
)
from taskrobust.trainer.evaluation import RiskEvaluation
from taskrobust.trainer.progress import EpochCallback, TaskProgressCallback, WeightingLog

__all__ = ["TaskRobustTrainer"]


class TaskRobustTrainer(RiskEvaluation):
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
    - logs ``risk/TASK``, ``weight/TASK``, ``count/TASK`` (examples a call of the balancer),
      ``worst_risk``, ``weight_scale`` and, if there are any, ``skipped_steps`` (whose ``loss`` is
      0), and names the worst task in the progress bar;
    - evaluates the risk of each task over the whole evaluation set, every example once.

    It sets training arguments: ``ddp_find_unused_parameters`` to False unless it was given (the
    stacked risks keep every head in the graph), ``logging_nan_inf_filter`` to False (a non-finite
    risk is the balancer's business: ``nonfinite="skip"`` leaves out the whole optimiser step that
    has one), and ``greater_is_better`` to False if ``metric_for_best_model`` is a risk.

    Data order is the caller's: for a bit-exact resume, random augmentation or masking has to depend
    on the example, not on a running random state. The Trainer repeats examples where the last batch
    of an epoch cannot be split evenly over ranks; ``dataloader_drop_last`` avoids that.

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
        if not isinstance(balancer, Balancer):
            raise TypeError(
                "`balancer` should be a Balancer, such as create_balancer('minimax', T); "
                f"found {balancer!r}"
            )
        if accumulation not in ("exact", "micro"):
            raise ValueError(f"`accumulation` should be 'exact' or 'micro'; found {accumulation!r}")
        if kwargs.get("compute_loss_func") is not None:
            raise ValueError("`compute_loss_func` should be None: the balancer computes the loss")
        self.balancer = balancer
        self.accumulation = accumulation
        self.balancer_lr = balancer_lr
        self._micro_batches: list[Any] = []
        self._plan: AccumulationPlan | None = None
        self._skipped = False
        self._weighting_log = WeightingLog(balancer.task_names)
        super().__init__(*args, **kwargs)
        self._check_device()
        self.balancer.to(self.args.device)
        self._new_balancer = copy.deepcopy(balancer.state_dict())
        self._epochs = EpochCallback(balancer)
        self.add_callback(self._epochs)
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(TaskProgressCallback())

    def create_accelerator_and_postprocess(self) -> None:
        """As `Trainer`, with the training arguments that the class's docstring names."""
        if self.args.label_smoothing_factor != 0:
            raise ValueError(
                "`label_smoothing_factor` should be 0: the model computes the losses of the tasks; "
                f"found {self.args.label_smoothing_factor}"
            )
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

    def train(
        self, resume_from_checkpoint: str | Path | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """As `Trainer.train`; ``resume_from_checkpoint=True`` takes the newest whole checkpoint.

        A second call goes on with the balancer as it is, as with the model and the optimiser; with
        ``model_init`` all three start anew.

        Raises:
            ValueError: there is none.
        """
        self._epochs.epochs_ended = 0
        self._weighting_log = WeightingLog(self.balancer.task_names)
        if self.model_init is not None:
            self.balancer.load_state_dict(self._new_balancer)
        if resume_from_checkpoint is True:
            found = last_complete_checkpoint(self.args.output_dir)
            if found is None:
                raise ValueError(
                    f"no complete checkpoint in {self.args.output_dir}; train without "
                    "resume_from_checkpoint, or give a checkpoint's path"
                )
            resume_from_checkpoint = found
        if isinstance(resume_from_checkpoint, Path):
            resume_from_checkpoint = str(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """As `Trainer`; the micro-batches of the coming step are kept for the first pass."""
        found: tuple[list[Any], Any] = super().get_batch_samples(
            epoch_iterator, num_batches, device
        )
        if len(found[0]) < num_batches:
            # Data without a length has ended. The Trainer takes no step for such a rest, but would
            # leave its gradients to the next step.
            found = [], None
        self._micro_batches = found[0]
        self._plan = None
        self._skipped = False
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
        if not self._skipped:
            return loss
        if self.accelerator.gradient_state.sync_gradients:  # the last micro-batch
            self._leave_step_out(model)
        return torch.zeros_like(loss)

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

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `Trainer`, with the mean risk and weight of each task since the last training log."""
        if "loss" in logs:
            logs = {**logs, **self._weighting_log.pop()}
        super().log(logs, start_time)

    def _training_loss(self, local: TaskSums) -> Tensor:
        if self._plan is not None:
            loss = self._plan.loss(local)
            skipped = self._plan.skipped
        else:
            loss = balanced_loss(self.balancer, global_risks(local))
            loss = loss / max(len(self._micro_batches), 1)
            self._weighting_log.add(self.balancer.last)
            skipped = self.balancer.last is None
        if not skipped:
            return loss
        # An ordinary backward pass for wrappers and for a gradient scaler; nothing of it is used.
        self._skipped = True
        return local.sums.sum() * torch.nan

    def _leave_step_out(self, model: nn.Module) -> None:
        self._weighting_log.skipped_steps += 1
        if getattr(self.accelerator, "scaler", None) is None:
            # Without gradients an optimiser does nothing. (A gradient scaler wants to see them, and
            # does nothing because they are not finite.)
            model.zero_grad(set_to_none=True)
            self.balancer.zero_grad(set_to_none=True)

    def _check_device(self) -> None:
        if self.args.n_gpu > 1:
            raise ValueError(
                f"one process drives {self.args.n_gpu} GPUs, whose losses cannot be reduced by "
                "task; launch with torchrun --nproc-per-node "
                f"{self.args.n_gpu}, or set CUDA_VISIBLE_DEVICES"
            )
        if self._shards_optimizer() and self.balancer.param_groups():
            raise ValueError(
                f"{type(self.balancer).__name__} has parameters of its own, which the sharded "
                "optimizer of DeepSpeed and FSDP 2 cannot hold; use DDP or FSDP 1, or another "
                "balancer"
            )

    def _shards_optimizer(self) -> bool:
        """Whether the optimiser may hold nothing but parameters of the wrapped model."""
        if not self.is_fsdp_enabled:
            return bool(self.is_deepspeed_enabled)
        return getattr(self.accelerator.state.fsdp_plugin, "fsdp_version", 1) == 2

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As `Trainer`; what an earlier run left at this step counts as a checkpoint no more."""
        if self.args.should_save:
            run_dir = Path(self._get_output_dir(trial))
            discard_checkpoint(run_dir / f"checkpoint-{self.state.global_step}")
        if num_ranks() > 1:
            barrier()
        super()._save_checkpoint(model, trial)

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
