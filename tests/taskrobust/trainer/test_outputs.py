"""Sums and counts from the forms a model may return, against loops over Python numbers."""

import re
import warnings
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.utils import ModelOutput

from taskrobust.trainer.outputs import output_sums, warn_of_half_precision

TASKS = 3
VALUES = torch.tensor([1.0, 2.0, 4.0, 8.0])
GROUPS = torch.tensor([0, 2, 0, -100])


def test_values_and_groups_of_any_shape():
    outputs = {"task_values": VALUES.view(2, 2), "task_groups": GROUPS.view(2, 2)}
    found = output_sums(outputs, TASKS)
    assert found.sums.tolist() == [5.0, 0.0, 2.0]
    assert found.counts.tolist() == [2.0, 0.0, 1.0]


def test_sums_and_counts_pass_through():
    outputs = {
        "task_sums": torch.tensor([5.0, 0.0, 2.0], requires_grad=True),
        "task_counts": torch.tensor([2, 0, 1]),
    }
    found = output_sums(outputs, TASKS)
    assert found.sums is outputs["task_sums"]
    assert found.counts.tolist() == [2.0, 0.0, 1.0]
    assert found.counts.dtype == torch.float32


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=TASKS, max_size=TASKS),
    st.lists(st.booleans(), min_size=TASKS, max_size=TASKS),
    st.integers(1, 64),
)
def test_risks_count_as_many_examples_as_the_batch_holds(risks, present, size):
    outputs = {"task_risks": torch.tensor(risks), "task_present": torch.tensor(present)}
    found = output_sums(outputs, TASKS, size)
    expected = [r * size if there else 0.0 for r, there in zip(risks, present, strict=True)]
    assert found.sums.tolist() == pytest.approx(expected)
    assert found.counts.tolist() == [size * there for there in present]


def test_risks_are_all_present_and_of_one_example_unless_said_otherwise():
    found = output_sums({"task_risks": torch.tensor([1.0, 2.0, 3.0])}, TASKS)
    assert found.sums.tolist() == [1.0, 2.0, 3.0]
    assert found.counts.tolist() == [1.0, 1.0, 1.0]


def test_an_absent_risk_may_be_anything_and_gets_no_gradient():
    risks = torch.tensor([1.0, torch.nan, 3.0], requires_grad=True)
    found = output_sums({"task_risks": risks, "task_present": torch.tensor([1, 0, 1])}, TASKS, 4)
    found.sums.sum().backward()
    assert found.sums.tolist() == [4.0, 0.0, 12.0]
    assert risks.grad.tolist() == [4.0, 0.0, 4.0]


@pytest.mark.parametrize("form", ["values", "sums", "risks"])
def test_auxiliary_losses_come_last(form):
    outputs = {
        "values": {"task_values": VALUES, "task_groups": GROUPS},
        "sums": {"task_sums": VALUES[:3], "task_counts": torch.ones(3)},
        "risks": {"task_risks": VALUES[:3]},
    }[form]
    extra = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = output_sums({**outputs, "auxiliary_values": extra}, TASKS, 4)
    alone = output_sums(outputs, TASKS, 4)
    assert found.sums.tolist() == [*alone.sums.tolist(), 10.0]
    assert found.counts.tolist() == [*alone.counts.tolist(), 4.0]


@dataclass
class Output(ModelOutput):
    """As transformers' models return."""

    task_values: torch.Tensor | None = None
    task_groups: torch.Tensor | None = None
    auxiliary_values: torch.Tensor | None = None
    hidden_states: torch.Tensor | None = None


@dataclass
class Plain:
    """A dataclass that is no mapping."""

    task_values: torch.Tensor
    task_groups: torch.Tensor
    auxiliary_values: torch.Tensor | None = None


@pytest.mark.parametrize("kind", [Output, Plain])
def test_model_outputs_and_dataclasses_are_read_by_field(kind):
    found = output_sums(kind(task_values=VALUES, task_groups=GROUPS), TASKS)
    assert found.sums.tolist() == [5.0, 0.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["values", "sums", "risks"])
def test_sums_and_counts_are_in_full_precision(form, dtype):
    outputs = {
        "values": {
            "task_values": torch.ones(999, dtype=dtype),
            "task_groups": torch.zeros(999, dtype=torch.long),
        },
        "sums": {"task_sums": torch.ones(3, dtype=dtype), "task_counts": torch.full((3,), 999)},
        "risks": {"task_risks": torch.ones(3, dtype=dtype)},
    }[form]
    found = output_sums(outputs, TASKS, 999)
    assert found.sums.dtype == found.counts.dtype == torch.float32
    assert found.counts[0] == 999  # 1000 in bfloat16


RISKS = torch.ones(TASKS)
WRONG = {
    "nothing": ({"loss": RISKS}, "the model should return `task_values` with `task_groups`"),
    "nothing but": ({"loss": RISKS}, "found ['loss']"),
    "a tensor": (RISKS, "found Tensor"),
    "a tuple": ((RISKS, RISKS), "found tuple"),
    "two forms": (
        {"task_values": RISKS, "task_groups": RISKS.long(), "task_risks": RISKS},
        "found ['task_groups', 'task_risks', 'task_values']",
    ),
    "no groups": (
        {"task_values": RISKS},
        "the model returned `task_values` without `task_groups`; it should return both",
    ),
    "no counts": ({"task_sums": RISKS}, "returned `task_sums` without `task_counts`"),
    "other groups": (
        {"task_values": RISKS, "task_groups": torch.ones(2).long()},
        "`groups` should have the shape (3,) of `values`; found (2,)",
    ),
    "four risks": ({"task_risks": torch.ones(4)}, "`task_risks` should have shape (3,)"),
    "a matrix of risks": ({"task_risks": torch.ones(1, 3)}, "one entry a task of the balancer"),
    "four sums": (
        {"task_sums": torch.ones(4), "task_counts": torch.ones(4)},
        "`task_sums` should have shape (3,), one entry a task of the balancer; found (4,)",
    ),
    "four counts": (
        {"task_sums": RISKS, "task_counts": torch.ones(4)},
        "`task_counts` should have shape (3,), one entry a task of the balancer; found (4,)",
    ),
    "one presence": (
        {"task_risks": RISKS, "task_present": torch.ones(1)},
        "`task_present` should have shape (3,), one entry a task of the balancer; found (1,)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_outputs_are_refused_by_name(case):
    outputs, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        output_sums(outputs, TASKS)


@pytest.mark.parametrize("name", ["task_risks", "task_sums", "task_values"])
def test_integer_losses_are_refused(name):
    integers = torch.ones(TASKS, dtype=torch.long)
    outputs = {name: integers, "task_counts": integers, "task_groups": integers}
    with pytest.raises(TypeError, match=r"should be floating; found dtype torch.int64"):
        output_sums(outputs, TASKS)


THIRDS = torch.tensor([0.0, 1 / 3, 5 / 3])


@pytest.mark.parametrize("name", ["task_values", "task_sums", "task_risks", "auxiliary_values"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_in_half_precision_are_warned_of(name, dtype):
    message = f"`{name}` was computed in half precision.*taskrobust.cross_entropy.*float"
    with pytest.warns(UserWarning, match=message):
        warn_of_half_precision({name: THIRDS.to(dtype)}, mixed=False)
    with pytest.warns(UserWarning, match=message):  # the Trainer has converted them
        warn_of_half_precision({name: THIRDS.to(dtype).float()}, mixed=True)


@pytest.mark.parametrize(
    ("values", "mixed"),
    [
        (THIRDS, True),
        (THIRDS.double(), True),
        (THIRDS.to(torch.bfloat16).float(), False),  # whatever they are, it was not autocast
        (torch.zeros(3), True),  # a batch without examples
        (torch.tensor([torch.nan, 1 / 3]), True),
        (torch.ones(3, dtype=torch.long), True),  # refused elsewhere
    ],
)
def test_losses_in_full_precision_are_not_warned_of(values, mixed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_half_precision({"task_values": values, "logits": THIRDS.half()}, mixed=mixed)
