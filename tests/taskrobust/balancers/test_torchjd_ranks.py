import pytest
import torch

from tests.taskrobust.balancers.torchjd_cases import EVERY_METHOD
from tests.taskrobust.balancers.torchjd_ranks import OWNERS, jobs, train
from tests.taskrobust.distributed.harness import Failure, run_on_ranks


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    return run_on_ranks(jobs, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_two_ranks_take_the_step_of_one_process(two_ranks, method):
    first, second = (found[method] for found in two_ranks)
    assert not isinstance(first, Failure), first
    assert torch.equal(first, second)
    torch.testing.assert_close(first, train(method, OWNERS >= 0), rtol=1e-8, atol=1e-10)
