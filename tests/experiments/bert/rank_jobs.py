"""The loss and gradients of a whole pre-training step on one rank or several, in float64."""

from functools import partial

import torch
import torch.distributed as dist

from experiments.bert.configuration import ModelSize
from experiments.bert.model import PosBertForPreTraining, bert_config
from taskrobust import create_balancer
from tests.experiments.bert.instances import VOCABULARY, collator, instances
from tests.experiments.ranks import take_step

SIZE = ModelSize(layers=1, hidden=16, heads=2, positions=40, dropout=0.0)
BALANCERS = {
    "average": {},
    "example-mean": {},
    "minimax": {"alpha": 3.0},
    "hard-max": {},
}
MODES = ("added", "task", "off")
TASKS = 10


def step(rank, *, balancer, mode, local=False):
    """Loss (the mean over ranks) and gradients of one step on 16 instances.

    Args:
        rank: of as many as there are processes.
        balancer: by name.
        mode: of next-sentence prediction.
        local: whether each rank takes risks from its own share only, which is wrong.
    """
    torch.manual_seed(0)
    config = bert_config(SIZE, VOCABULARY, next_sentence=mode, next_sentence_task=TASKS - 1)
    model = PosBertForPreTraining(config).double()
    batch = _share(rank)
    robust = create_balancer(balancer, TASKS, **BALANCERS[balancer]).double()
    return take_step(model, batch, len(batch["input_ids"]), robust, local=local)


def _share(rank):
    """Instances of this rank; the first half has no task 0, and less than half of the pieces."""
    rows = sorted(instances(16), key=lambda row: len(row["input_ids"]))
    batch = collator()(rows)
    tasks = batch["task_ids"]
    tasks[tasks == TASKS - 1] = -100  # OTHER
    tasks[:8][tasks[:8] == 0] = 1
    size = 16 // dist.get_world_size()
    return {name: values[rank * size : (rank + 1) * size] for name, values in batch.items()}


def jobs(world_size):  # noqa: ARG001
    """Every balancer and mode, and Minimax on local risks."""
    found = {
        f"{name} {mode}": partial(step, balancer=name, mode=mode)
        for name in BALANCERS
        for mode in MODES
    }
    found["local"] = partial(step, balancer="minimax", mode="added", local=True)
    return found
