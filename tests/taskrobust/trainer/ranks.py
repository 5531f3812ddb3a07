"""The runs of test_trainer_distributed.py, to be started by torchrun with a folder to write to.

Those in `ALIKE` give the same in one process.
"""

import gc
import os
import sys
from pathlib import Path
from unittest import mock

import torch

from taskrobust import NonFiniteRiskError
from taskrobust.risks import TaskRisks
from tests.taskrobust.trainer.models import (
    BALANCERS,
    Examples,
    KwargsNet,
    Net,
    make_trainer,
    minimax,
    state,
)

SGD = {"optim": "sgd", "learning_rate": 0.2, "lr_scheduler_type": "constant"}
IN_ORDER = {"train_sampling_strategy": "sequential"}

# Of 16 examples the first rank gets the first 8. "rare" is on the second rank only, then on none,
# then on the first only; once the first rank has nothing at all.
GROUPS = (
    [0] * 7 + [1] + [2, 0, 1, 1, 1, 1, -100, 0]
    + [0, 1] * 8
    + [2, 2, 2, 0, 0, 0, 0, 0] + [1, 1, 0, 0, 0, 0, 0, 0]
    + [-100] * 8 + [2, 1, 0, 0, 1, 1, 0, 0]
)  # fmt: skip
UNBALANCED = Examples(64, groups=GROUPS)
COMPLETE = Examples(64, groups=[0] * 7 + [1] + [2] + [1] * 7 + ([0] * 5 + [1, 1, 2]) * 6)
ODD = Examples(37, seed=5)


def size(micro_batches):
    """16 examples a step, on however many ranks."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    return {
        "gradient_accumulation_steps": micro_batches,
        "per_device_train_batch_size": 16 // ranks // micro_batches,
    }


def outcome(trainer):
    """Parameters and state of this rank, and its logs."""
    return {"state": state(trainer), "logs": logs(trainer)}


def logs(trainer):
    """What was logged, without what the clock says."""
    return [
        {k: v for k, v in row.items() if not k.endswith(("_per_second", "time"))}
        for row in trainer.state.log_history
    ]


def train(out, micro_batches=1, **options):
    trainer = make_trainer(out, **{**SGD, **IN_ORDER, **size(micro_batches), **options})
    trainer.train()
    return trainer


def each_balancer(out):
    """Every balancer with one and with two micro-batches a step."""
    return {
        f"{name} {micro_batches}": outcome(
            train(out, micro_batches, balancer=name, data=UNBALANCED)
        )
        for name in BALANCERS
        for micro_batches in (1, 2)
    }


def settings(out):
    """Shuffled data, the last batch dropped; auxiliary losses; any keyword; sums and counts."""
    shuffled = {"train_sampling_strategy": "random", "data": Examples(75)}
    kinds = {
        "shuffled": {**shuffled, "dataloader_drop_last": True},
        "auxiliary": {"model": Net(auxiliary=True).double(), "data": UNBALANCED},
        "sums": {"model": Net("sums").double(), "data": UNBALANCED},
        "keywords": {"model": KwargsNet().double(), "data": Examples(64, labels=True)},
        "clipped": {"data": UNBALANCED, "max_grad_norm": 0.3},
    }
    return {
        f"{name} {micro_batches}": outcome(train(out, micro_batches, **options))
        for name, options in kinds.items()
        for micro_batches in (1, 2)
    }


def local_risks(out):
    """What averages of each rank's own risks would give: no reduction before the weighting."""

    def local(sums, **_):
        risks = sums.sums / sums.counts.clamp(min=1)
        return TaskRisks(risks, sums.counts > 0, sums.counts)

    with mock.patch("taskrobust.trainer.trainer.global_risks", local):
        return {"wrong": outcome(train(out, data=UNBALANCED))}


def wrapped(out):
    """How the model is wrapped."""
    model = train(out, max_steps=1).model_wrapped
    return {"wrapped": {"type": type(model).__name__, "unused": model.find_unused_parameters}}


def nonfinite(out):
    """An example of the second rank's share that is NaN: skipped by all, or an error on all."""
    data = Examples(96, groups=[0, 1, 0, 2] * 24)
    data.y[16 * 2 + 13] = torch.nan
    found = {}
    for mode, micro_batches in (("exact", 1), ("exact", 2), ("micro", 1), ("micro", 2)):
        options = {"data": data, "accumulation": mode, "optim": "adamw_torch", "logging_steps": 1}
        balancer = minimax(nonfinite="skip")
        trainer = train(out, micro_batches, balancer=balancer, **options)
        found[f"skip {mode} {micro_batches}"] = outcome(trainer)
        trainer = make_trainer(out, **{**SGD, **IN_ORDER, **size(micro_batches), **options})
        try:
            trainer.train()
        except NonFiniteRiskError as error:
            found[f"raise {mode} {micro_batches}"] = {"error": str(error), **outcome(trainer)}
    return found


def evaluation(out):
    """Odd sets, a set that leaves the second rank without a batch, with and without metrics."""

    def count(prediction):
        return {"size": len(prediction.predictions[1])}

    found = {}
    for name, data in (("odd", ODD), ("few", Examples(5, seed=7)), ("batch", Examples(32))):
        for metrics in (None, count):
            model = Net(auxiliary=metrics is None).double()
            trainer = make_trainer(
                out, model=model, eval_dataset=data, compute_metrics=metrics, label_names=["y"]
            )
            trainer.evaluate()
            found[f"{name} {'with' if metrics else 'without'} metrics"] = {"logs": logs(trainer)}
    return found


def resume(out):
    """With dropout and shuffling: never stopped, and stopped in an epoch and at its end."""

    def run(**options):
        trainer = make_trainer(
            Path(out) / "resume", balancer="ema", model=Net(dropout=0.3).double(),
            data=Examples(80), max_steps=8, save_strategy="steps", save_steps=1, **size(2),
        )  # fmt: skip
        trainer.train(**options)
        return outcome(trainer)

    found = {"resume 0": run()}
    for stop in (3, 5):
        checkpoint = Path(out) / "resume" / f"checkpoint-{stop}"
        found[f"resume {stop}"] = run(resume_from_checkpoint=str(checkpoint))
    return found


ALIKE = (each_balancer, settings, nonfinite, evaluation)
"""Runs that one process does too, with the same outcome."""

OTHERS = (local_risks, wrapped, resume)


def main(out):
    gc.freeze()  # each start of the Trainer collects garbage
    torch.set_num_threads(1)
    found = {}
    for run in (*ALIKE, *OTHERS):
        found |= run(out)
    rank = torch.distributed.get_rank()
    torch.save(found, Path(out) / f"rank{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # or its threads may abort the process as it ends


if __name__ == "__main__":
    main(sys.argv[1])
