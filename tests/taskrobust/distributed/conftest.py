"""The processes are started once per number of ranks for the whole test session."""

import os

import pytest
import torch
from filelock import FileLock

from tests.taskrobust.distributed.harness import Failure, run_on_ranks
from tests.taskrobust.distributed.jobs import jobs


@pytest.fixture(scope="session")
def on_ranks(tmp_path_factory):
    """A function: number of ranks and name of a job -> its results by rank."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # the first worker that asks starts them for all
        folder = folder.parent
    known = {}

    def results(world_size, name):
        if world_size not in known:
            place = folder / f"ranks-{world_size}"
            with FileLock(f"{place}.lock"):
                known[world_size] = _once(place, world_size)
        found = [rank[name] for rank in known[world_size]]
        for rank, result in enumerate(found):
            if isinstance(result, Failure):
                pytest.fail(f"{name} on rank {rank} of {world_size}:\n{result}", pytrace=False)
        return found

    return results


def _once(place, world_size):
    """Results of all jobs, from processes or from the file that another test worker left."""
    file = place / "all.pt"
    if not place.exists():
        place.mkdir()
        torch.save(run_on_ranks(jobs, world_size, place), file)
    if not file.exists():
        pytest.fail(f"the {world_size} processes failed (see the worker that started them)")
    return torch.load(file, weights_only=False)
