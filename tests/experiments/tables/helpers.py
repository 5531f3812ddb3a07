"""Small models, and rows made by hand."""

import torch

from experiments.tables.step_cost.measurement import Row
from experiments.tables.step_cost.pass_counter import Passes
from experiments.tables.step_cost.shared_trunk import MLPTrunk, TransformerTrunk, generate

MLP = MLPTrunk(batch=5, inputs=6, width=7, depth=3, classes=4)
TRANSFORMER = TransformerTrunk(batch=2, length=3, inputs=5, width=8, heads=2, depth=2, classes=4)
TRUNKS = (MLP, TRANSFORMER)


def double(sizes, num_tasks):
    """A model and a batch in float64."""
    model, batch = generate(sizes, num_tasks, 0, torch.device("cpu"))
    return model.double(), batch._replace(inputs=batch.inputs.double())


def row(balancer, ratio=1.0, *, execution="one pass", variant="", tasks=3, trunk_passes=1):
    """A row with a given FLOP ratio and number of backward passes."""
    return Row(
        trunk="MLP",
        tasks=tasks,
        balancer=balancer,
        execution=execution,
        variant=variant,
        passes=Passes(1, tasks, trunk_passes, trunk_passes),
        flops=int(1000 * ratio),
        flops_ratio=ratio,
        extra_flops=int(1000 * (ratio - 1)),
        seconds=(1.0, 2.0),
        wall_ratios=(ratio, ratio),
    )
