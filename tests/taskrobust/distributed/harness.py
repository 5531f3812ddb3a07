"""Real processes that talk through gloo: started once, they run every job and hand back tensors.

A job is a function of the rank that all ranks call in the same order. Imports no test framework:
every process pays for what this module imports.
"""

import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

Job = Callable[[int], Any]
Jobs = Callable[[int], Mapping[str, Job]]
"""Jobs by name for a number of ranks, in order; importable, so that processes find it."""

PATIENCE = timedelta(seconds=60)
"""How long a rank waits for the others within a job."""


class Failure(str):
    """The traceback of a job that failed on every rank."""

    __slots__ = ()


def run_on_ranks(
    jobs: Jobs, world_size: int, folder: Path, limit_s: float = 300.0
) -> list[dict[str, Any]]:
    """Results of all jobs by rank and name; a `Failure` where a job raised on all ranks.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a rank failed alone; with its traceback.
        TimeoutError: the processes did not end in time; they are killed.
    """
    context = multiprocessing.start_processes(
        _work, (jobs, world_size, str(folder)), world_size, join=False, start_method="spawn"
    )
    assert context is not None
    deadline = time.monotonic() + limit_s
    try:
        while not context.join(max(deadline - time.monotonic(), 0.0)):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{world_size} processes did not end within {limit_s:g} s")
    finally:
        for process in context.processes:
            process.kill()
            process.join()
    results = []
    for rank in range(world_size):
        saved = torch.load(folder / f"rank-{rank}.pt", weights_only=True)
        failed = {name: Failure(text) for name, text in saved["failures"].items()}
        results.append({**saved["results"], **failed})
    return results


def _work(rank: int, jobs: Jobs, world_size: int, folder: str) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    store = dist.FileStore(str(Path(folder, "store")), world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
    results, failures = {}, {}
    for name, job in jobs(world_size).items():
        try:
            results[name] = job(rank)
        except Exception as error:
            failures[name] = traceback.format_exc()
            store.set(f"{name}/{rank}", "failed")
            _wait_for_the_others(store, name, world_size, error)
        else:
            store.set(f"{name}/{rank}", "done")
    torch.save({"results": results, "failures": failures}, Path(folder, f"rank-{rank}.pt"))
    dist.barrier()
    dist.destroy_process_group()


def _wait_for_the_others(store: dist.Store, name: str, world_size: int, error: Exception) -> None:
    """Go on only if no rank is left in a collective operation of the job that failed here."""
    try:
        store.wait([f"{name}/{rank}" for rank in range(world_size)], PATIENCE / 3)
    except RuntimeError:
        raise RuntimeError(f"{name!r} failed on one rank and hangs on another") from error
