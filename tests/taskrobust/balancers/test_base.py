"""What `Balancer` itself does: arguments, errors by name, the log, parameter groups, counters.

What every balancer promises is in test_every_balancer.py.
"""

import math

import pytest
import torch
from torch import nn

from taskrobust import Average, Minimax, NonFiniteRiskError, TaskRisks
from taskrobust.balancers._arguments import positive
from taskrobust.balancers._simplex import on_simplex
from taskrobust.balancers.base import Balancer

LOSSES = torch.tensor([1.0, 2.0, 6.0])


class Learned(Balancer):
    """Two parameters, one of them frozen; the loss is the sum of the risks."""

    def __init__(self):
        super().__init__(3)
        self.free = nn.Parameter(torch.zeros(3))
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)

    def _combine(self, risks, present, counts, task_gradients):  # noqa: ARG002
        return risks.sum(), on_simplex(risks.detach(), present), risks.new_tensor(1.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_tasks": 0}, ValueError, "`num_tasks` should be an integer of at least 1; found 0"),
        ({"num_tasks": -1}, ValueError, "`num_tasks` should be .* found -1"),
        ({"num_tasks": 2.0}, ValueError, r"`num_tasks` should be an integer.* found 2\.0"),
        ({"num_tasks": True}, ValueError, "`num_tasks` should be an integer.* found True"),
        ({"num_tasks": "3"}, ValueError, "`num_tasks` should be an integer.* found '3'"),
        ({"nonfinite": "warn"}, ValueError, "`nonfinite` should be 'raise', 'skip' or .* 'warn'"),
        ({"scale": 0}, ValueError, "`scale` should be positive and finite; found 0"),
        ({"scale": -1.0}, ValueError, r"`scale` should be positive and finite; found -1\.0"),
        ({"scale": math.inf}, ValueError, "`scale` should be positive and finite; found inf"),
        ({"scale": math.nan}, ValueError, "`scale` should be positive and finite; found nan"),
        ({"scale": True}, TypeError, "`scale` should be a number; found True"),
        ({"scale": "2"}, TypeError, "`scale` should be a number; found '2'"),
        ({"task_names": ["a", "b"]}, ValueError, "`task_names` should be 3 different names; .*'b'"),
        ({"task_names": ["a", "b", "a"]}, ValueError, "`task_names` should be 3 different names"),
    ],
    ids=repr,
)
def test_wrong_arguments_of_the_constructor_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Average(**{"num_tasks": 3, **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"losses": LOSSES.long()}, TypeError, r"`losses` should be floating; found .*int64"),
        ({"losses": LOSSES.cfloat()}, TypeError, r"`losses` should be floating; found .*complex"),
        ({"losses": LOSSES.tolist()}, TypeError, "`losses` should be .*; found"),
        ({"losses": LOSSES[:2]}, ValueError, r"`losses` should have shape \(3,\).* found \(2,\)"),
        ({"losses": LOSSES[None]}, ValueError, r"`losses` should have shape .* found \(1, 3\)"),
        ({"losses": LOSSES.sum()}, ValueError, r"`losses` should have shape .* found \(\)"),
        ({"present": LOSSES > 9}, None, None),
        ({"present": LOSSES}, TypeError, r"`present` should be boolean; found .*float32"),
        ({"present": [True] * 3}, TypeError, "`present` should be .*; found"),
        (
            {"present": torch.ones(2, dtype=torch.bool)},
            ValueError,
            r"`present` should have shape \(3,\); found \(2,\)",
        ),
        ({"counts": LOSSES[:1]}, ValueError, r"`counts` should have shape \(3,\); found \(1,\)"),
        ({"counts": [1, 1, 1]}, TypeError, "`counts` should be .*; found"),
    ],
    ids=lambda p: "-".join(p) if isinstance(p, dict) else "",
)
def test_wrong_arguments_of_a_call_are_named_and_change_nothing(arguments, error, message):
    balancer = Average(3)
    if error is None:
        assert balancer(**{"losses": LOSSES, **arguments}) == 0
        return
    with pytest.raises(error, match=message):
        balancer(**{"losses": LOSSES, **arguments})
    assert balancer.step == 0
    assert balancer.last is None


@pytest.mark.parametrize("twice", ["present", "counts"])
def test_task_risks_bring_their_mask_and_counts(twice):
    risks = TaskRisks(LOSSES, LOSSES > 1, torch.ones(3))
    assert Average(3)(risks) == 4
    with pytest.raises(ValueError, match=r"`losses` already bring `present` and `counts`"):
        Average(3)(risks, **{twice: risks.present})


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="_combine"):
        Balancer(3)


def test_non_finite_risks_can_be_ignored():
    balancer = Average(3, nonfinite="ignore")
    assert math.isnan(balancer(torch.tensor([1.0, math.nan, 2.0])))
    assert balancer.step == 1


def test_an_error_names_the_tasks_by_number_without_names():
    balancer = Average(3)
    balancer(LOSSES)
    with pytest.raises(NonFiniteRiskError, match="at step 1: task 1 = nan, task 2 = -inf;"):
        balancer(torch.tensor([1.0, math.nan, -math.inf]))
    with pytest.raises(ArithmeticError, match="task 0 = inf;"):
        balancer(torch.tensor([math.inf, math.nan, 1.0]), torch.tensor([True, False, True]))


def test_steps_count_calls_in_training_mode_and_skipped_ones_apart():
    balancer = Average(3, nonfinite="skip")
    bad = LOSSES * math.nan
    for losses in (LOSSES, bad, LOSSES, bad, bad):
        balancer(losses)
    balancer.eval()
    balancer(LOSSES)
    assert (balancer.step, balancer.skipped) == (2, 3)
    other = Average(3)
    other(LOSSES)
    other.load_state_dict(balancer.state_dict())
    assert (other.step, other.skipped) == (2, 3)
    assert other.last is None


@pytest.mark.parametrize("scale", [0.5, 1, 3.0])
def test_scale_multiplies_the_loss_and_not_the_weights(scale):
    balancer, reference = Minimax(3, 2.0, scale=scale), Minimax(3, 2.0)
    assert balancer(LOSSES).item() == pytest.approx(scale * reference(LOSSES).item())
    assert torch.equal(balancer.last.weights, reference.last.weights)
    assert balancer.last.scale == scale


def test_parameter_groups_hold_what_is_learned_and_are_never_decayed():
    assert Average(3).param_groups(lr=0.1) == []
    balancer = Learned()
    (group,) = balancer.param_groups(lr=0.1, weight_decay=0.3)
    assert group.keys() == {"lr", "params", "weight_decay"}
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.0)
    assert [id(p) for p in group["params"]] == [id(balancer.free)]
    optimizer = torch.optim.AdamW(balancer.param_groups(lr=1.0), weight_decay=0.5)
    with torch.no_grad():
        balancer.free.fill_(2.0)
    balancer.free.grad = torch.zeros(3)
    optimizer.step()
    assert balancer.free.tolist() == [2.0, 2.0, 2.0]


def test_task_gradients_are_not_for_those_who_do_not_look_at_them():
    assert not Average.needs_task_gradients
    with pytest.raises(NotImplementedError, match="Average needs no task gradients"):
        Average(3).task_gradients(LOSSES)


def test_the_end_of_an_epoch_means_nothing_to_most():
    balancer = Minimax(3, 1.0, ema=0.5)
    balancer(LOSSES)
    before = {key: value.clone() for key, value in balancer.state_dict().items()}
    balancer.end_epoch()
    torch.testing.assert_close(balancer.state_dict(), before, rtol=0, atol=0)


def test_representation_shows_what_was_chosen():
    assert repr(Average(3)) == "Average(num_tasks=3)"
    assert repr(Average(3, scale=3)) == "Average(num_tasks=3, scale=3)"


def test_positive_numbers_come_back_as_floats():
    assert positive("step_size", 2) == 2.0
    assert isinstance(positive("step_size", 2), float)
    with pytest.raises(ValueError, match="`step_size` should be positive and finite; found -2"):
        positive("step_size", -2)
