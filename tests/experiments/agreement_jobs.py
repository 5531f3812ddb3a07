"""What two processes do of which one is refused something."""

import os
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from rich.console import Console

from experiments import agreement
from experiments.configuration import ConfigurationError
from experiments.runs import BusyError
from experiments.tables.jobs import chains, plan, run_all
from experiments.tables.store import Store

REFUSED = ("average", 0, "rte-0")


class Training:
    """Runs in which all processes meet, as in training; one process is refused one of them."""

    study, preset, command, arms = "bert", "own", "", ("average", "minimax")

    def __init__(self, rank, refused_rank):
        self.refused = rank == refused_rank

    def parts(self):
        return ["pretrain", "rte-0", "cola-0"]

    def recipe(self, arm, part):
        return f"arm: {arm}\npart: {part}\n"

    def defaults(self, part):
        del part
        return "{}"

    def check(self):
        pass

    def run(self, arm, seed, part):
        total = torch.ones(())
        dist.all_reduce(total)
        if self.refused and (arm, seed, part) == REFUSED:
            raise ConfigurationError("cannot be written here")
        if part == "pretrain":
            return {"arm": arm, "seed": seed, "configuration": "", "device": "", "parameters": 1}
        return {"arm": arm, "pretraining_seed": seed, "task": part[:-2], "seed": 0}


def a_table(rank, refused_rank):
    """Runs made, runs failed, and failures noted, of a table of six runs."""
    box = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(box)
    store, maker = Store(Path(box[0])), Training(rank, refused_rank)
    with mock.patch.dict(os.environ, {"RANK": str(rank)}):
        planned = plan(maker, chains(["average", "minimax"], 1), store)
        dist.barrier()  # nobody looks into the store when the first one writes already
        outcome = run_all(maker, planned, store, Console(quiet=True))
    dist.barrier()
    noted = store.failures("bert", "own")
    assert all("cannot be written here" in reason for reason in noted.values())
    return torch.tensor([outcome.made, len(outcome.failed), len(noted)])


def a_busy_run(rank):
    """1 if the process is told that another one is at the run, of which only the first knows."""
    with mock.patch.object(agreement, "start", side_effect=BusyError("another process")):
        try:
            agreement.start_together(Path("nowhere"), "", first=rank == 0)
        except BusyError as error:
            return torch.tensor(int(str(error) == "another process"))
    return torch.tensor(0)


def jobs(world_size):  # noqa: ARG001
    """A table with a refusal in either process or none, and a run that is taken."""
    return {
        "first": partial(a_table, refused_rank=0),
        "second": partial(a_table, refused_rank=1),
        "nobody": partial(a_table, refused_rank=None),
        "busy": a_busy_run,
        "any": lambda rank: torch.tensor(agreement.any_process(rank == 1)),
        "none": lambda _: torch.tensor(agreement.any_process(False)),
    }
