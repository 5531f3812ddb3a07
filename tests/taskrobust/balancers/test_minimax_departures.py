"""Labelled departures from Algorithm 1 (reference risks, averages, rare tasks), and all arguments.

Ground truth is a loop over Python numbers.
"""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import Minimax, grouped_risks

FINITE = st.floats(-5, 5)


def softmax(signal, alpha):
    """Weights of {task: signal}, by a loop."""
    top = max(signal.values())
    exponentials = {t: math.exp(alpha * (v - top)) for t, v in signal.items()}
    total = math.fsum(exponentials.values())
    return {t: e / total for t, e in exponentials.items()}


def assert_weights(balancer, expected):
    found = balancer.last.weights.tolist()
    assert found == pytest.approx([expected.get(t, 0.0) for t in range(len(found))], abs=1e-12)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=6), st.floats(0, 5))
def test_a_reference_shifts_the_risks_that_weights_come_from_and_not_the_loss(pairs, alpha):
    risks, reference = zip(*pairs, strict=True)
    balancer = Minimax(len(pairs), alpha, reference=torch.tensor(reference, dtype=torch.float64))
    loss = balancer(torch.tensor(risks, dtype=torch.float64)).item()
    expected = softmax({t: f - r for t, (f, r) in enumerate(pairs)}, alpha)
    assert_weights(balancer, expected)
    assert loss == pytest.approx(math.fsum(w * risks[t] for t, w in expected.items()), abs=1e-12)


def test_a_reference_is_copied_saved_and_may_be_numbers():
    given_reference = torch.tensor([1.0, 2.0], requires_grad=True)
    balancer = Minimax(2, 1.0, reference=given_reference)
    with torch.no_grad():
        given_reference += 1
    assert balancer.state_dict()["reference"].tolist() == [1.0, 2.0]
    assert not balancer.reference.requires_grad
    other = Minimax(2, 1.0, reference=[0, 0])
    other.load_state_dict(balancer.state_dict())
    assert other.reference.tolist() == [1.0, 2.0]
    assert "reference" not in Minimax(2, 1.0).state_dict()


def test_a_reference_of_half_precision_is_kept_in_single():
    balancer = Minimax(2, 1.0, reference=torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    assert balancer.reference.dtype == torch.float32


@st.composite
def histories(draw):
    """Risks of a few steps, tasks missing now and then; None is absent."""
    tasks = draw(st.integers(1, 5))
    entry = st.one_of(st.none(), FINITE)
    step = st.lists(entry, min_size=tasks, max_size=tasks).filter(lambda s: set(s) != {None})
    return draw(st.lists(step, min_size=1, max_size=6))


@given(histories(), st.floats(0, 0.99), st.booleans(), st.integers(0, 5))
def test_averaged_risks_leave_out_the_current_batch(history, ema, referenced, evaluated):
    tasks, alpha = len(history[0]), 1.5
    reference = [0.5 * t for t in range(tasks)] if referenced else None
    balancer = Minimax(tasks, alpha, ema=ema, reference=reference).double()
    averages = {}
    for step, risks in enumerate(history):
        balancer.train(step != evaluated)
        there = {t: v for t, v in enumerate(risks) if v is not None}
        losses = torch.tensor([there.get(t, math.nan) for t in range(tasks)], dtype=torch.float64)
        balancer(losses, torch.tensor([t in there for t in range(tasks)]))
        signal = {t: averages.get(t, v) - (0.5 * t if referenced else 0) for t, v in there.items()}
        assert_weights(balancer, softmax(signal, alpha))
        if balancer.training:
            for t, v in there.items():
                averages[t] = ema * averages[t] + (1 - ema) * v if t in averages else v
    found = [balancer.averaged[t].item() for t in averages]
    assert found == pytest.approx(list(averages.values()), abs=1e-12)
    assert balancer.seen.tolist() == [t in averages for t in range(tasks)]


def test_weights_from_averages_do_not_depend_on_the_current_risks():
    balancer = Minimax(3, 2.0, ema=0.9)
    balancer(torch.tensor([1.0, 2.0, 3.0]))
    found = []
    for risks in ([0.0, 0.0, 0.0], [9.0, 1.0, 5.0]):
        copied = copy.deepcopy(balancer)
        copied(torch.tensor(risks))
        found.append(copied.last.weights)
    assert torch.equal(*found)
    assert found[0].tolist() == pytest.approx(torch.softmax(torch.tensor([2.0, 4, 6]), 0).tolist())


@given(st.lists(st.tuples(FINITE, st.integers(0, 6)), min_size=1, max_size=6), st.integers(1, 5))
def test_tasks_with_few_examples_get_no_weight_unless_all_have_few(pairs, min_count):
    balancer = Minimax(len(pairs), 1.5, min_count=min_count)
    counts = torch.tensor([n for _, n in pairs])
    losses = torch.tensor([v for v, _ in pairs], dtype=torch.float64)
    balancer(losses, counts > 0, counts=counts)
    there = {t: v for t, (v, n) in enumerate(pairs) if n > 0}
    enough = {t: v for t, v in there.items() if pairs[t][1] >= min_count}
    signal = enough or there
    assert_weights(balancer, softmax(signal, 1.5) if signal else {})


def test_counts_come_with_grouped_risks():
    values, groups = torch.tensor([1.0, 1.0, 9.0]), torch.tensor([0, 0, 1])
    balancer = Minimax(3, 1.0, min_count=2)
    assert balancer(grouped_risks(values, groups, 3)) == 1
    assert balancer.last.weights.tolist() == [1, 0, 0]
    assert balancer.last.present.tolist() == [True, True, False]


def test_a_task_too_rare_for_weight_is_averaged_all_the_same():
    balancer = Minimax(2, 1.0, min_count=2, ema=0.5)
    balancer(torch.tensor([1.0, 9.0]), counts=torch.tensor([2, 1]))
    assert balancer.averaged.tolist() == [1.0, 9.0]


def test_rare_tasks_need_counts():
    with pytest.raises(ValueError, match="`min_count` = 2 needs `counts`"):
        Minimax(2, 1.0, min_count=2)(torch.ones(2))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "exactly one of `alpha` and `tolerance` should be given"),
        ({"alpha": 1.0, "tolerance": 1.0}, ValueError, r"exactly one .*alpha=1\.0, tolerance=1\.0"),
        ({"alpha": -1.0}, ValueError, r"`alpha` should be a number of at least 0; found -1\.0"),
        ({"alpha": math.nan}, ValueError, "`alpha` should be a number of at least 0; found nan"),
        ({"alpha": True}, ValueError, "`alpha` should be a number of at least 0; found True"),
        ({"alpha": "1"}, ValueError, "`alpha` should be a number of at least 0; found '1'"),
        ({"alpha": {}}, ValueError, r"`alpha` should name a schedule \(paper, sharpened\).* None"),
        ({"alpha": {"schedule": "cosine"}}, ValueError, "`alpha` should name .* found 'cosine'"),
        ({"alpha": {"schedule": "sharpened"}}, ValueError, "`alpha`: schedule 'sharpened': .*radi"),
        (
            {"alpha": {"schedule": "sharpened", "radius": 1, "lipschitz": 1, "loss_bound": 1}},
            ValueError,
            "`alpha`: schedule 'sharpened': .*loss_bound",
        ),
        (
            {"alpha": {"schedule": "sharpened", "radius": -1, "lipschitz": 1}},
            ValueError,
            "`radius` should be",
        ),
        (
            {"alpha": {"schedule": "sharpened", "radius": 1, "lipschitz": 1, "num_tasks": 3}},
            ValueError,
            "`alpha`: schedule 'sharpened': .*num_tasks",
        ),
        ({"tolerance": 0}, ValueError, "`tolerance` should be positive and finite; found 0"),
        ({"tolerance": math.inf}, ValueError, "`tolerance` should be positive and finite; .*inf"),
        ({"tolerance": "1"}, TypeError, "`tolerance` should be a number; found '1'"),
        ({"alpha": 1.0, "mode": "argmax"}, ValueError, "`mode` should be 'softmax', .* 'argmax'"),
        ({"alpha": 1.0, "mode": "hard"}, ValueError, "`mode` 'hard' is infinite sharpness"),
        ({"tolerance": 1.0, "mode": "hard"}, ValueError, "`mode` 'hard' is infinite sharpness"),
        ({"alpha": 1.0, "mode": "attached", "ema": 0.5}, ValueError, "`mode` 'attached' is the"),
        ({"alpha": 1.0, "mode": "attached", "min_count": 2}, ValueError, "`mode` 'attached' is"),
        ({"alpha": 1.0, "mode": "attached", "reference": [0, 0, 0]}, ValueError, "'attached' is"),
        ({"alpha": 1.0, "ema": 1.0}, ValueError, r"`ema` should be in \[0, 1\); found 1\.0"),
        ({"alpha": 1.0, "ema": -0.1}, ValueError, r"`ema` should be in \[0, 1\); found -0\.1"),
        ({"alpha": 1.0, "ema": math.nan}, ValueError, r"`ema` should be in \[0, 1\); found nan"),
        ({"alpha": 1.0, "min_count": 0}, ValueError, "`min_count` should be an integer .* found 0"),
        ({"alpha": 1.0, "min_count": 1.5}, ValueError, r"`min_count` should be .* found 1\.5"),
        ({"alpha": 1.0, "min_count": True}, ValueError, "`min_count` should be .* found True"),
        (
            {"alpha": 1.0, "reference": [1.0]},
            ValueError,
            r"`reference` should be 3 finite .*\[1\.0",
        ),
        ({"alpha": 1.0, "reference": [1, math.nan, 2]}, ValueError, "`reference` should be 3 fin"),
        ({"alpha": 1.0, "reference": 1.0}, ValueError, r"`reference` should be 3 finite .* 1\.0"),
    ],
    ids=repr,
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        Minimax(3, **options)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_schedule_out_of_range_raises_with_its_step_and_changes_nothing(value):
    balancer = Minimax(2, lambda step: value if step == 2 else 1.0, ema=0.5)
    for _ in range(2):
        balancer(torch.ones(2))
    before = copy.deepcopy(balancer.state_dict())
    with pytest.raises(ValueError, match=rf"`alpha` should be at least 0; found {value} at step 2"):
        balancer(torch.zeros(2))
    torch.testing.assert_close(balancer.state_dict(), before, rtol=0, atol=0)


def test_the_error_of_a_schedule_names_the_step_that_was_asked_for():
    with pytest.raises(ValueError, match=r"found -1\.0 at step 7"):
        Minimax(2, lambda step: -1.0).alpha(7)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 2.0},
        {"tolerance": 0.1},
        {"mode": "hard"},
        {"alpha": {"schedule": "sharpened", "radius": 1.0, "lipschitz": 1.0}, "ema": 0.5},
    ],
    ids=str,
)
def test_a_balancer_can_be_pickled(options):
    balancer = Minimax(3, **options)
    balancer(torch.tensor([1.0, 2.0, 3.0]))
    clone = pickle.loads(pickle.dumps(balancer))
    losses = torch.tensor([3.0, 1.0, 2.5])
    assert torch.equal(clone(losses), balancer(losses))
    assert clone.step == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"alpha": 2}, "Minimax(num_tasks=3, mode='softmax', alpha=2)"),
        (
            {"mode": "hard", "ema": 0.9, "min_count": 4},
            "Minimax(num_tasks=3, mode='hard', alpha=inf, ema=0.9, min_count=4)",
        ),
    ],
)
def test_representation_shows_what_was_chosen(options, expected):
    assert repr(Minimax(3, **options)) == expected
