"""Lightning: the balancer is a part of the module, so its state is in every checkpoint.

python -m tests.examples.lightning_module [FOLDER]
torchrun --nproc-per-node 2 -m tests.examples.lightning_module [FOLDER]
"""

import os
import sys
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, DistributedSampler

from taskrobust import Minimax, cross_entropy, grouped_risks, plan_accumulation, task_sums
from tests.examples.toy import TASKS, Examples, network


class TaskRobust(lightning.LightningModule):
    def __init__(self, make_balancer, batch_size, dropout):
        super().__init__()
        self.network = network(dropout)
        self.balancer = make_balancer(self.network)
        self.batch_size = batch_size  # of a step, over all ranks

    def losses(self, batch):
        logits = self.network(batch["features"])
        return cross_entropy(logits, batch["labels"]), batch["tasks"], len(TASKS)

    def training_step(self, batch):
        loss = self.balancer(grouped_risks(*self.losses(batch)))
        self.log("worst_risk", self.balancer.last.risks.max(), prog_bar=True)
        return loss

    def on_train_batch_start(self, *_):
        # Dropout depends on the step, not on a running state, so that resuming is exact.
        torch.manual_seed(1 + self.global_step * self.trainer.world_size + self.global_rank)

    def train_dataloader(self):  # in an order that depends on the epoch only
        ranks, data = self.trainer.world_size, Examples(dtype=self.dtype)
        sampler = DistributedSampler(data, ranks, self.global_rank, drop_last=True)
        return DataLoader(data, self.batch_size // ranks, sampler=sampler, drop_last=True)

    def configure_optimizers(self):
        groups = [{"params": self.network.parameters()}, *self.balancer.param_groups(lr=0.05)]
        return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


class ExactAccumulation(TaskRobust):
    """Trainer(accumulate_grad_batches=…) would ask the balancer for every micro-batch."""

    micro_batches, automatic_optimization = 4, False

    def training_step(self, batch):
        columns = [column.chunk(self.micro_batches) for column in batch.values()]
        batches = [dict(zip(batch, chunks, strict=True)) for chunks in zip(*columns, strict=True)]
        plan = plan_accumulation(self.balancer, lambda b: task_sums(*self.losses(b)), batches)
        for micro_batch in batches:
            self.manual_backward(plan.loss(task_sums(*self.losses(micro_batch))))
        self.optimizers().step()
        self.optimizers().zero_grad()


def main(
    folder,
    make_balancer=lambda model: Minimax(len(TASKS), tolerance=0.1, task_names=TASKS),
    module=TaskRobust,
    epochs=4,
    batch_size=32,
    dropout=0.1,
    **options,
):
    lightning.seed_everything(0)
    module = module(make_balancer, batch_size, dropout)
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # "auto": CPU ranks would train apart
    options = {"devices": ranks, "strategy": "ddp" if ranks > 1 else "auto", **options}
    checkpoints = ModelCheckpoint(folder, save_last=True)
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=[checkpoints], use_distributed_sampler=False, **options
    )
    newest = Path(folder) / "last.ckpt"
    trainer.fit(module, ckpt_path=newest if newest.exists() else None)
    return module.network, module.balancer


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "runs/examples/lightning", logger=False)
