"""A process of torchrun that is refused something leaves no other waiting for it."""

import pytest

from experiments.agreement import refusal_of_any
from tests.experiments.agreement_jobs import jobs
from tests.taskrobust.distributed.harness import run_on_ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of both of two processes."""
    return run_on_ranks(jobs, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("refused", ["first", "second"])
def test_a_refusal_of_one_process_ends_the_chain_in_both(found, refused):
    # pre-training of the one chain, and all three runs of the other; the failure is noted once
    assert [results[refused].tolist() for results in found] == [[4, 1, 1], [4, 1, 1]]


def test_without_a_refusal_everything_is_made(found):
    assert [results["nobody"].tolist() for results in found] == [[6, 0, 0], [6, 0, 0]]


def test_a_run_that_is_taken_is_left_by_both(found):
    assert [results["busy"].item() for results in found] == [1, 1]


def test_what_one_has_seen_is_so_for_both(found):
    assert [(results["any"].item(), results["none"].item()) for results in found] == [
        (True, False),
        (True, False),
    ]


def test_a_process_alone_agrees_with_itself():
    assert refusal_of_any(None) is None
    assert refusal_of_any("full") == "full"
