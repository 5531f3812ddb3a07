"""The harness itself: a hang is an error, and it leaves no process behind."""

import multiprocessing

import pytest

from tests.taskrobust.distributed.harness import run_on_ranks


def no_jobs(world_size):  # noqa: ARG001
    return {}


def test_processes_that_do_not_end_are_killed(tmp_path):
    with pytest.raises(TimeoutError, match=r"1 processes did not end within 0\.1 s"):
        run_on_ranks(no_jobs, 1, tmp_path, limit_s=0.1)
    assert multiprocessing.active_children() == []
