import pytest
import torch

from taskrobust.task_gradients import Sketch
from tests.taskrobust.distributed.harness import Failure, run_on_ranks
from tests.taskrobust.task_gradient_ranks import (
    OWNERS,
    SKETCHED,
    TASKS,
    WRAPPERS,
    found,
    jobs,
    norms_above,
    train,
)

EVERYTHING = OWNERS >= 0


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    return run_on_ranks(jobs, 2, tmp_path_factory.mktemp("ranks"))


def results(two_ranks, name):
    for rank in two_ranks:
        assert not isinstance(rank[name], Failure), rank[name]
    first, second = (rank[name] for rank in two_ranks)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    return first


@pytest.mark.parametrize("block_bytes", [1, 600, 2**28])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_over_two_ranks_are_those_of_one_process(two_ranks, reduction, block_bytes):
    expected = found(EVERYTHING, reduction, 2**28)
    assert expected["norms"].min() > 1e-3
    assert expected["gradients"].shape == (TASKS, 35)
    torch.testing.assert_close(
        results(two_ranks, f"{reduction}, {block_bytes}"), expected, rtol=1e-12, atol=1e-14
    )


def test_sketches_over_two_ranks_are_those_of_one_process(two_ranks):
    expected = found(EVERYTHING, **SKETCHED, sketch=Sketch(3, seed=7))
    assert expected["gradients"].shape == (TASKS, 5 * 3 + 5)
    exact = found(EVERYTHING, **SKETCHED)["norms"]
    assert (expected["norms"] / exact - 1).abs().max() > 0.01
    torch.testing.assert_close(results(two_ranks, "sketch"), expected, rtol=1e-12, atol=1e-14)


def test_ranks_with_sketches_of_their_own_would_add_up_what_does_not_fit(two_ranks):
    expected = found(EVERYTHING, **SKETCHED, sketch=Sketch(3, seed=7))["norms"]
    other = results(two_ranks, "sketches of their own")["norms"]
    assert (other / expected - 1).abs().max() > 0.05


def test_training_with_sketches_under_data_parallelism_is_training_in_one_process(two_ranks):
    expected = train(EVERYTHING, lambda model: model, sketch_size=3)
    exact = train(EVERYTHING, lambda model: model)
    assert (expected["weights"] - exact["weights"]).abs().max() > 0.01
    torch.testing.assert_close(
        results(two_ranks, "trained, sketch"), expected, rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_training_under_data_parallelism_is_training_in_one_process(two_ranks, wrapper):
    expected = train(EVERYTHING, lambda model: model)
    assert (expected["weights"] - 1).abs().min() > 0.01
    torch.testing.assert_close(results(two_ranks, wrapper), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("wrapper", ["plain", "find unused"])
def test_heads_outside_of_the_wrapped_model_are_still_taken_apart(two_ranks, wrapper):
    expected = norms_above(lambda model: model)
    torch.testing.assert_close(results(two_ranks, f"above, {wrapper}"), expected)


def test_a_static_graph_is_refused_where_it_would_break(two_ranks):
    for rank in two_ranks:
        assert rank["above, static graph"].startswith("in the first step of Distributed")
