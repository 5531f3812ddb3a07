"""Two processes take the pre-training step of one, loss and gradients, in float64."""

import pytest

from tests.experiments.bert.rank_jobs import BALANCERS, MODES, jobs
from tests.experiments.ranks import assert_one_step, direction, distance
from tests.taskrobust.distributed.harness import run_on_ranks


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Results of one rank, and of the first and second of two."""
    one, two = (run_on_ranks(jobs, n, tmp_path_factory.mktemp(f"ranks-{n}")) for n in (1, 2))
    return [*one, *two]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("balancer", BALANCERS)
def test_two_ranks_have_the_loss_and_gradients_of_one(found, balancer, mode):
    one, first, second = (results[f"{balancer} {mode}"] for results in found)
    assert_one_step(one, first, second)


def test_risks_of_each_rank_alone_give_another_gradient(found):
    one, first, _ = (results["minimax added"] for results in found)
    alone, local, _ = (results["local"] for results in found)
    assert distance(one, alone) < 1e-12
    assert distance(direction(first), direction(local)) > 1e-3
