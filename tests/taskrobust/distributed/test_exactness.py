"""Two and three real processes do the step of one process on the concatenated batch.

Everything in float64; the same test fails where each rank weights its own risks.
"""

from functools import cache, partial

import pytest
import torch

from tests.taskrobust.balancers.cases import CASES, examples
from tests.taskrobust.distributed.batches import (
    COURSE,
    SIXTEEN,
    UNBALANCED,
    UNEVEN,
    shards,
    together,
    with_nan,
)
from tests.taskrobust.distributed.jobs import message_of_error, plain_step, train

every_case = pytest.mark.parametrize("case", CASES)
both_worlds = pytest.mark.parametrize("world_size", [2, 3])

CONSTANT = {"average", "average-sum", "example-mean"}
"""Cases whose weights depend on no risk."""


@cache
def one_process(case, course, world_size):
    def batch_of(step):
        return together(shards(course, world_size, step))

    return train(case, partial(plain_step, batch_of=batch_of), len(course))


@cache
def one_batch_of_sixteen(case):
    return train(case, partial(plain_step, batch_of=lambda step: examples(SIXTEEN, step)))


@cache
def one_process_with_nan(case, world_size):
    def batch_of(step):
        first, *others = shards(UNBALANCED, world_size, step)
        return together([with_nan(first, step), *others])

    return train(case, partial(plain_step, batch_of=batch_of), nonfinite="skip")


def assert_same(found, expected):
    """Same course of training on every rank as in one process; ranks agree to the bit."""
    for record in found:
        torch.testing.assert_close(record, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
        for name in ("state", "weights", "parameters"):
            if name in record:
                torch.testing.assert_close(
                    record[name], found[0][name], rtol=0, atol=0, equal_nan=True
                )


def distance(found, expected):
    return max((record["gradients"] - expected["gradients"]).abs().max() for record in found)


@both_worlds
@every_case
def test_data_parallel_training_is_training_on_the_concatenated_batch(on_ranks, case, world_size):
    found = on_ranks(world_size, f"course: {case}")
    assert found[0]["gradients"].abs().amax(1).min() > 1e-3
    assert_same(found, one_process(case, COURSE, world_size))


@both_worlds
@every_case
def test_weights_from_the_risks_of_each_rank_are_another_training(on_ranks, case, world_size):
    found = on_ranks(world_size, f"per rank, unbalanced: {case}")
    assert distance(found, one_process(case, UNBALANCED, world_size)) > 1e-3


@both_worlds
@every_case
def test_even_with_equal_counts_only_constant_weights_survive_it(on_ranks, case, world_size):
    found = on_ranks(world_size, f"per rank, balanced: {case}")
    expected = one_process(case, ("balanced",) * 3, world_size)
    if case in CONSTANT:
        assert distance(found, expected) < 1e-12
    else:
        assert distance(found, expected) > 1e-3


@both_worlds
@pytest.mark.parametrize("case", [c for c in CASES if c.startswith(("minimax", "hard"))])
def test_with_one_task_a_rank_it_silently_becomes_the_average(on_ranks, case, world_size):
    scenario = "one task a rank"
    found = on_ranks(world_size, f"per rank, {scenario}: {case}")
    assert distance(found, one_process("average", (scenario,) * 3, world_size)) < 1e-12
    assert distance(found, one_process(case, (scenario,) * 3, world_size)) > 1e-3


@both_worlds
@every_case
def test_gradients_may_be_added_instead_of_averaged(on_ranks, case, world_size):
    found = on_ranks(world_size, f"sum: {case}")
    assert_same(found, one_process(case, UNEVEN, world_size))


@every_case
def test_a_process_group_bounds_who_takes_part(on_ranks, case):
    first, second, outsider = on_ranks(3, f"pair: {case}")
    assert_same([first, second], one_process(case, UNEVEN, 2))
    assert outsider is None


@both_worlds
@every_case
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulation_over_micro_batches_and_ranks_is_one_batch(
    on_ranks, case, reduction, world_size
):
    name = "plan" if reduction == "mean" else "plan, sum"
    found = on_ranks(world_size, f"{name}: {case}")
    expected = one_batch_of_sixteen(case)
    values = [record["losses"][:, 0] for record in found]
    assert_same([{**r, "losses": v} for r, v in zip(found, values, strict=True)], expected)


@both_worlds
@every_case
def test_the_first_pass_leads_to_no_synchronisation(on_ranks, case, world_size):
    # Else a step synchronises at each micro-batch, and hangs if ranks have different numbers.
    for counts in on_ranks(world_size, f"communication: {case}"):
        assert counts.tolist() == [1, 2, 3]


@both_worlds
@every_case
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_values_of_micro_batches_add_up_to_that_of_the_step(on_ranks, case, reduction, world_size):
    name = "plan" if reduction == "mean" else "plan, sum"
    found = on_ranks(world_size, f"{name}: {case}")
    total = sum(record["losses"][:, 1] for record in found)
    expected = one_batch_of_sixteen(case)["losses"]
    factor = world_size if reduction == "mean" else 1
    torch.testing.assert_close(total / factor, expected, rtol=1e-12, atol=1e-12)


@both_worlds
@every_case
def test_all_ranks_skip_a_step_that_is_non_finite_on_one(on_ranks, case, world_size):
    found = on_ranks(world_size, f"skip: {case}")
    expected = one_process_with_nan(case, world_size)
    assert_same(found, expected)
    assert not found[0]["gradients"][1].any()
    assert found[0]["gradients"].abs().amax(1)[[0, 2]].min() > 1e-3


@both_worlds
def test_all_ranks_raise_what_is_non_finite_on_one(on_ranks, world_size):
    for message in on_ranks(world_size, "raise: minimax"):
        assert message.startswith("non-finite task risk at step 1: task 1 = nan;")


def test_a_training_without_nan_raises_nothing():
    def batch_of(step):
        return together(shards(UNBALANCED, 2, step))

    assert message_of_error("minimax", partial(plain_step, batch_of=batch_of)) == "no error"
