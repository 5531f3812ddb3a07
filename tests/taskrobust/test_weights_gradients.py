"""Derivatives in torch: of the functions themselves, and of the losses they weigh."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import nnls

from taskrobust import smooth_max, softmax_gap, softmax_weights
from tests.taskrobust.helpers import EPS, assert_near, losses, masked_losses, rounding, sharpness

moderate = sharpness(-2, 2)


def gradient(function, f, alpha, present=None):
    """Gradient of a scalar function of the losses, as NumPy."""
    tensor = torch.tensor(f, requires_grad=True)
    mask = None if present is None else torch.tensor(present)
    return torch.autograd.grad(function(tensor, alpha, mask), tensor)[0].numpy()


@given(f=losses(), alpha=st.one_of(moderate, sharpness(-200, 200)))
def test_gradient_of_smooth_max_is_the_weights(f, alpha):
    w = softmax_weights(f, alpha)
    assert_near(gradient(smooth_max, f, alpha), w, 0.0, rounding(f, min(alpha, 1.0)) + 64 * EPS)


@given(case=masked_losses(), alpha=moderate)
def test_masked_gradient_of_smooth_max_is_the_masked_weights(case, alpha):
    f, present = case
    f = np.where(present, f, math.nan)
    found = gradient(smooth_max, f, alpha, present)
    assert_near(found, softmax_weights(f, alpha, present), 0.0, 64 * EPS * len(f))
    assert np.all(found[~present] == 0)


@given(f=losses(bound=10.0), alpha=moderate)
def test_jacobian_of_the_weights_is_alpha_times_their_covariance(f, alpha):
    w = softmax_weights(f, alpha)
    found = torch.autograd.functional.jacobian(
        lambda tensor: softmax_weights(tensor, alpha), torch.tensor(f)
    )
    expected = alpha * (np.diag(w) - np.outer(w, w))
    assert_near(found, expected, 0.0, 4 * alpha * rounding(f, alpha))


@given(f=hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-10, 10), unique=True),
       alpha=moderate)  # fmt: skip
def test_gradient_of_the_gap(f, alpha):
    w = softmax_weights(f, alpha)
    average = np.sum(w * f)
    expected = (f == f.max()) - w - alpha * w * (f - average)
    tolerance = 4 * rounding(f, alpha) * (1 + alpha * np.ptp(f)) + 64 * EPS * alpha * 10
    assert_near(gradient(softmax_gap, f, alpha), expected, 0.0, tolerance)


@given(case=masked_losses(bound=10.0), alpha=moderate, absent=st.sampled_from([math.nan, math.inf]))
def test_gradient_of_the_masked_gap_is_that_of_the_present_tasks(case, alpha, absent):
    f, present = case
    expected = np.zeros(len(f))
    expected[present] = gradient(softmax_gap, f[present], alpha)
    found = gradient(softmax_gap, np.where(present, f, absent), alpha, present)
    tolerance = 4 * rounding(f, alpha) * (1 + alpha * np.ptp(f)) + 64 * EPS * alpha * 10
    assert_near(found, expected, 0.0, tolerance)


def weighted_sum(tensor, alpha, present=None):
    return torch.sum(softmax_weights(tensor, alpha, present) * torch.arange(1, len(tensor) + 1))


@pytest.mark.parametrize("alpha", [math.inf, np.array(math.inf)], ids=["number", "array"])
def test_gradients_at_infinite_sharpness_are_those_of_the_hard_maximum(alpha):
    f = np.array([1.0, 3.0, 3.0, -2.0])
    np.testing.assert_array_equal(gradient(smooth_max, f, alpha), [0.0, 0.5, 0.5, 0.0])
    np.testing.assert_array_equal(gradient(weighted_sum, f, alpha), np.zeros(4))
    np.testing.assert_array_equal(gradient(softmax_gap, f, alpha), np.zeros(4))


@pytest.mark.parametrize("kind", [float, np.array], ids=["number", "array"])
@pytest.mark.parametrize("alpha", [0.0, 1e-308, 1.0, 1e308])
def test_gradients_are_finite_beside_infinite_losses_and_huge_sharpness(alpha, kind):
    for f in ([1.0, -math.inf, 2.0, 2.0], [math.inf, 0.0, 1.0, 2.0]):
        assert np.all(np.isfinite(gradient(weighted_sum, np.array(f), kind(alpha))))
        if alpha > 0:
            w = softmax_weights(np.array(f), alpha)
            found = gradient(smooth_max, np.array(f), kind(alpha))
            assert_near(found, w, 0.0, 64 * EPS)
            assert np.all(np.isfinite(gradient(softmax_gap, np.array(f), kind(alpha))))


CHECKED = {
    "distinct": [[0.3, -1.2, 0.9, 0.1]],
    "ties": [[0.5, 0.5, 0.5, -1.0]],
    "batch": [[0.3, -1.2, 0.9, 0.1], [2.0, 1.0, -1.0, 0.0]],
    "far apart": [[9.0, -9.0, 0.0, 3.0]],
}


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("name", CHECKED)
def test_finite_differences_agree(name, alpha, masked):
    f = torch.tensor(CHECKED[name], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, True, False, True]) if masked else None
    assert torch.autograd.gradcheck(lambda x: softmax_weights(x, alpha, mask), f)
    assert torch.autograd.gradcheck(lambda x: smooth_max(x, alpha, mask), f)
    assert torch.autograd.gradgradcheck(lambda x: smooth_max(x, alpha, mask), f)


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize("name", sorted(CHECKED.keys() - {"ties"}))  # max f has a kink there
def test_finite_differences_of_the_gap_agree(name, masked):
    f = torch.tensor(CHECKED[name], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, True, False, True]) if masked else None
    assert torch.autograd.gradcheck(lambda x: softmax_gap(x, 1.0, mask), f)


class Tasks:
    """T quadratic losses b_t + a_t . theta + h_t |theta|^2 / 2 and their gradients."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        tasks, dim = rng.integers(1, 8), rng.integers(1, 6)
        self.slopes = torch.tensor(rng.normal(size=(tasks, dim)))
        self.offsets = torch.tensor(rng.normal(size=tasks))
        self.curvatures = torch.tensor(rng.uniform(size=tasks))
        self.theta = torch.tensor(rng.normal(size=dim), requires_grad=True)

    def losses(self) -> torch.Tensor:
        """Losses ``[T]`` at theta, with a graph."""
        square = torch.sum(self.theta**2) / 2
        return self.offsets + self.slopes @ self.theta + self.curvatures * square

    def gradients(self) -> np.ndarray:
        """Gradients ``[T, d]``, in closed form."""
        theta = self.theta.detach()
        return (self.slopes + self.curvatures[:, None] * theta).numpy()

    def gradient_of(self, objective: torch.Tensor) -> np.ndarray:
        """Gradient ``[d]`` of an objective made of the losses."""
        return torch.autograd.grad(objective, self.theta)[0].numpy()


tasks = st.integers(0, 2**32 - 1).map(Tasks)
alphas = st.one_of(sharpness(-3, 1), st.sampled_from([0.0, math.inf]))


@given(problem=tasks, alpha=alphas)
def test_step_of_algorithm_1_is_in_the_hull_of_the_task_gradients(problem, alpha):
    losses = problem.losses()
    w = softmax_weights(losses.detach(), alpha)
    g, rows = problem.gradient_of(torch.sum(w * losses)), problem.gradients()
    rounded = 1e-12
    assert np.all(g >= rows.min(axis=0) - rounded)
    assert np.all(g <= rows.max(axis=0) + rounded)
    assert np.linalg.norm(g) <= np.max(np.linalg.norm(rows, axis=1)) + rounded
    system = np.vstack([rows.T, np.ones(len(rows))])
    assert nnls(system, np.append(g, 1.0))[1] <= 1e-9


@given(problem=tasks, alpha=sharpness(-3, 1))
def test_descent_on_the_smooth_max_is_the_step_of_algorithm_1(problem, alpha):
    losses = problem.losses()
    w = softmax_weights(losses.detach(), alpha)
    step = problem.gradient_of(torch.sum(w * losses))
    assert_near(problem.gradient_of(smooth_max(problem.losses(), alpha)), step, 0.0, 1e-12)


@given(problem=tasks, alpha=sharpness(-3, 1))
def test_attached_weights_add_alpha_times_the_covariance(problem, alpha):
    losses = problem.losses()
    attached = problem.gradient_of(torch.sum(softmax_weights(losses, alpha) * losses))
    f, rows = losses.detach().numpy(), problem.gradients()
    w = softmax_weights(f, alpha)
    step = w @ rows
    covariance = (w * (f - w @ f)) @ rows
    assert_near(attached - step, alpha * covariance, 0.0, 1e-11)


def test_attached_weights_are_not_the_step_of_algorithm_1():
    theta = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    losses = torch.cat([theta, -theta])
    weights = softmax_weights(losses, 1.0)
    attached = torch.autograd.grad(torch.sum(weights * losses), theta, retain_graph=True)[0]
    step = torch.autograd.grad(torch.sum(weights.detach() * losses), theta)[0]
    difference = 1 / math.cosh(1) ** 2  # Cov_w(f, f') = 1 - tanh(1)^2
    assert_near(attached - step, np.array([difference]), 1e-12)


@pytest.mark.parametrize("present", [None, torch.tensor([True, False, True, True])])
def test_sharpness_may_be_learned(present):
    f = torch.tensor([0.0, 9.0, 1.0, 3.0], dtype=torch.float64)
    alpha = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = softmax_weights(f, alpha, present)
    slope = torch.autograd.grad(torch.sum(weights * f), alpha)[0]
    variance = torch.sum(weights * (f - torch.sum(weights * f)) ** 2)
    assert_near(slope, variance.detach(), 1e-12)
