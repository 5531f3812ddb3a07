"""TorchJD's smooth Tchebycheff scalarization as the independent reference of `Minimax`.

STCH(μ, λ, z) is μ log Σ exp(λ (f - z) / μ): with μ = 1/α and λ = 1 the smooth maximum, whose
gradient are the weights of Eq. (7).
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchjd.scalarization import STCH

from taskrobust import Minimax
from tests.taskrobust.helpers import losses, masked_losses, sharpness

ABSOLUTE = 1e-12


def value_and_gradient(function, risks):
    leaf = torch.as_tensor(risks).clone().requires_grad_()
    value = function(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient.numpy()


def smooth_maximum(alpha, num_tasks, reference=None):
    return STCH(1 / alpha, torch.ones(num_tasks, dtype=torch.float64), reference)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ABSOLUTE)


@given(f=losses(), alpha=sharpness())
def test_the_gradient_is_that_of_smooth_tchebycheff_with_weights_one(f, alpha):
    _, ours = value_and_gradient(Minimax(len(f), alpha), f)
    _, theirs = value_and_gradient(smooth_maximum(alpha, len(f)), f)
    assert_same(ours, theirs)


@given(f=losses(), alpha=sharpness())
def test_logged_weights_are_that_gradient(f, alpha):
    balancer = Minimax(len(f), alpha)
    balancer(torch.as_tensor(f))
    _, theirs = value_and_gradient(smooth_maximum(alpha, len(f)), f)
    assert_same(balancer.last.weights.numpy(), theirs)


@given(f=losses(), alpha=sharpness())
def test_the_loss_is_smooth_tchebycheff_less_the_entropy_of_the_weights(f, alpha):
    ours, weights = value_and_gradient(Minimax(len(f), alpha), f)
    theirs, _ = value_and_gradient(smooth_maximum(alpha, len(f)), f)
    entropy = -sum(w * np.log(w) for w in weights if w > 0)
    assert ours + entropy / alpha == pytest.approx(theirs, rel=1e-12, abs=1e-12 * (50 + 1 / alpha))


@given(f=losses(), alpha=sharpness())
def test_their_default_weights_are_a_softer_maximum_at_a_smaller_scale(f, alpha):
    tasks = len(f)
    _, ours = value_and_gradient(Minimax(tasks, alpha / tasks, scale=1 / tasks), f)
    _, theirs = value_and_gradient(STCH(1 / alpha), f)
    assert_same(ours, theirs)


@given(f=losses(), alpha=sharpness(), seed=st.integers(0, 2**32 - 1))
def test_the_ideal_point_is_the_reference_of_excess_risks(f, alpha, seed):
    reference = torch.as_tensor(np.random.default_rng(seed).uniform(-50, 50, len(f)))
    _, ours = value_and_gradient(Minimax(len(f), alpha, reference=reference), f)
    _, theirs = value_and_gradient(smooth_maximum(alpha, len(f), reference), f)
    assert_same(ours, theirs)


@given(f=losses(), alpha=sharpness(), seed=st.integers(0, 2**32 - 1))
def test_preferences_are_factors_on_the_risks(f, alpha, seed):
    preference = torch.as_tensor(np.random.default_rng(seed).uniform(0.1, 2, len(f)))
    ours = Minimax(len(f), alpha)
    _, found = value_and_gradient(lambda risks: ours(preference * risks), f)
    _, theirs = value_and_gradient(STCH(1 / alpha, preference), f)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=2 * ABSOLUTE)


@given(case=masked_losses(), alpha=sharpness())
def test_absent_tasks_are_as_if_they_had_never_been_there(case, alpha):
    f, present = case
    balancer = Minimax(len(f), alpha)
    _, ours = value_and_gradient(lambda risks: balancer(risks, torch.as_tensor(present)), f)
    _, theirs = value_and_gradient(smooth_maximum(alpha, present.sum()), f[present])
    assert np.all(ours[~present] == 0)
    assert_same(ours[present], theirs)


@given(f=losses(), gap=st.floats(1e-3, 10))
def test_the_hard_maximum_is_smooth_tchebycheff_far_below_the_gap(f, gap):
    worst = int(np.argmax(f))
    f[worst] += gap
    _, ours = value_and_gradient(Minimax(len(f), mode="hard"), f)
    _, theirs = value_and_gradient(smooth_maximum(1e3 / gap, len(f)), f)
    np.testing.assert_array_equal(ours, theirs)


@given(f=losses(bound=10.0, min_tasks=2), tolerance=st.floats(1e-2, 10))
def test_the_tolerance_is_kept_beside_their_bound_of_the_maximum(f, tolerance):
    balancer = Minimax(len(f), tolerance=tolerance)
    ours, _ = value_and_gradient(balancer, f)
    smooth, _ = value_and_gradient(smooth_maximum(balancer.alpha(), len(f)), f)
    assert ours - 1e-12 <= f.max() <= smooth + 1e-12 * (10 + tolerance)
    assert f.max() - ours <= tolerance * (1 + 1e-12) + 1e-12


@pytest.mark.parametrize("alpha", [0.5, 3.0, 20.0])
def test_training_runs_take_the_same_path(alpha):
    tasks = 5
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, 8, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(tasks, 8, generator=generator, dtype=torch.float64)

    def train(combine):
        theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([theta], lr=0.05, momentum=0.9)
        for _ in range(50):
            optimizer.zero_grad()
            combine((x @ theta - y).square().mean(1)).backward()
            optimizer.step()
        return theta.detach().numpy()

    ours = train(Minimax(tasks, alpha))
    theirs = train(smooth_maximum(alpha, tasks))
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("num_tasks", [3, 30])
def test_the_sharpness_of_each_step_of_a_schedule_is_one_over_their_mu(num_tasks):
    schedule = {"schedule": "sharpened", "radius": 2.0, "lipschitz": 1.0}
    balancer = Minimax(num_tasks, schedule)
    f = np.random.default_rng(0).uniform(0, 2, num_tasks)
    found = []
    for _ in range(20):
        alpha = balancer.alpha()
        _, ours = value_and_gradient(balancer, f)
        _, theirs = value_and_gradient(smooth_maximum(alpha, num_tasks), f)
        assert_same(ours, theirs)
        found.append(alpha)
    assert sorted(set(found)) == found


def test_single_precision_agrees_to_single_precision():
    f = torch.linspace(-3, 3, 7)
    _, ours = value_and_gradient(Minimax(7, 2.0), f)
    _, theirs = value_and_gradient(STCH(0.5, torch.ones(7)), f)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=0)
