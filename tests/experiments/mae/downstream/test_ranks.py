"""Two processes take the depth fine-tuning steps of one, in float64."""

import pytest

from tests.experiments.mae.downstream.rank_jobs import jobs
from tests.experiments.ranks import assert_one_step
from tests.taskrobust.distributed.harness import Failure, run_on_ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results without ranks, and of the first and second of two."""
    alone = {name: job(0) for name, job in jobs().items()}
    return [alone, *run_on_ranks(jobs, 2, tmp_path_factory.mktemp("ranks"))]


def test_two_ranks_have_the_loss_and_gradients_of_one(found):
    assert_one_step(*(results["two steps"] for results in found))


def test_the_bend_is_that_of_all_ranks_where_they_are_asked(found):
    one, first, second = (results["together"]["loss"] for results in found)
    assert one == pytest.approx(first)
    assert first == second
    alone = [results["alone"]["loss"] for results in found]
    assert alone[0] == one
    assert abs(alone[1] - one) > 0.01


def test_evaluation_does_not_wait_for_other_ranks(found):
    for results in found:
        assert not isinstance(results["evaluation"], Failure), results["evaluation"]
    assert found[1]["evaluation"]["loss"] == found[0]["evaluation"]["loss"]
