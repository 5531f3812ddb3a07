"""transformers: TaskRobustTrainer, for a model that returns losses and their tasks.

python -m tests.examples.trainer [FOLDER]
torchrun --nproc-per-node 2 -m tests.examples.trainer [FOLDER]
"""

import sys

import torch
from torch import nn
from transformers import TrainingArguments, set_seed

from taskrobust import Minimax, TaskRobustTrainer, cross_entropy
from taskrobust.trainer import last_complete_checkpoint
from tests.examples.toy import TASKS, Examples, network


class Model(nn.Module):
    """Any model that returns `task_values` with `task_groups` (or sums with counts, or risks)."""

    def __init__(self, dropout: float):
        super().__init__()
        self.network = network(dropout)

    def forward(self, features, labels, tasks):
        losses = cross_entropy(self.network(features), labels)
        return {"task_values": losses, "task_groups": tasks}


def main(
    folder,
    make_balancer=lambda model: Minimax(len(TASKS), tolerance=0.1, task_names=TASKS),
    dtype=torch.float32,
    dropout=0.1,
    **arguments,
):
    set_seed(0)
    model, data = Model(dropout).to(dtype), Examples(dtype=dtype)
    train, held_out = torch.utils.data.random_split(data, [448, 64])
    arguments = {
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 2,  # exact: as one batch of 32
        "num_train_epochs": 4,
        "learning_rate": 0.01,
        "save_steps": 16,
        "logging_steps": 16,
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        **arguments,
    }
    trainer = TaskRobustTrainer(
        model=model,
        args=TrainingArguments(folder, **arguments),
        train_dataset=train,
        eval_dataset=held_out,
        balancer=make_balancer(model.network).to(dtype),
    )
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(folder))  # None: from the start
    risks = {k: v for k, v in trainer.evaluate().items() if k.startswith("eval_risk/")}
    if trainer.is_world_process_zero():
        print("held out:", risks)
    return trainer.model, trainer.balancer


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "runs/examples/trainer")
