"""Sharpness of every step, and descent against the same written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.configuration import Arm
from experiments.mechanisms.nonconvex.descent import descend, points
from experiments.mechanisms.nonconvex.problem import Constants, sharpness
from tests.experiments.mechanisms.heads import random_head, recipe

KNOWN = Constants(radius=2.0, lipschitz=3.0, loss_bound=5.0, certified=True)


@given(st.integers(1, 3000), st.integers(2, 100))
def test_points_are_few_ascending_and_have_both_ends(steps, count):
    found = points(steps, count)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, steps)
    assert len(found) <= max(count, 3)


def test_sharpness_of_schedules():
    root = sharpness(Arm(schedule="square-root", alpha=30.0), 100, 9, None)
    assert root[-1] == 30
    assert root[24] == pytest.approx(15)
    np.testing.assert_array_equal(sharpness(Arm(alpha=3.0), 4, 9, None), [3, 3, 3, 3])
    assert np.isinf(sharpness(Arm(alpha=math.inf), 4, 9, None)).all()
    # Theorem 3.1, as printed and with the sharp constant c_9 = W(8/e)
    printed = sharpness(Arm(schedule="printed"), 9, 9, KNOWN)
    assert printed[8] == pytest.approx(4 * 3 / 6 * math.log(4 * 9 * 5 * 3 / 6))
    sharpened = sharpness(Arm(schedule="sharpened"), 9, 9, KNOWN)
    assert sharpened[8] == pytest.approx(2 * 3 * 1.0401 / 6, rel=1e-4)
    with pytest.raises(ValueError, match="needs constants"):
        sharpness(Arm(schedule="sharpened"), 9, 9, None)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([0.0, 1.0, 30.0, math.inf]), st.booleans())
def test_descent_is_gradient_descent_on_the_smooth_maximum(seed, alpha, adam):
    problem, copy = random_head(seed), random_head(seed)
    trace = descend(problem, np.full(5, alpha), recipe(5, 0.1, adam=adam, averaging=True))
    optimiser = (torch.optim.Adam if adam else torch.optim.SGD)([copy.head], lr=0.1)
    iterates = []
    for step in range(5):
        iterates.append(copy.head.detach().clone())
        risks = copy.risks()
        if alpha == 0:
            objective = risks.mean()
        elif math.isinf(alpha):  # ties share evenly, as autograd of amax has it
            objective = risks.amax()
        else:
            objective = torch.logsumexp(alpha * risks, 0) / alpha
        optimiser.zero_grad()
        objective.backward()
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 5) if adam else 0.1
        optimiser.step()
    torch.testing.assert_close(problem.head, copy.head, rtol=0, atol=1e-9)
    np.testing.assert_allclose(trace.risks[-1], copy.risks().detach(), atol=1e-9)
    with torch.no_grad():
        copy.head.copy_(torch.stack(iterates).mean(dim=0))
    assert trace.averaged_worst[-1] == pytest.approx(float(copy.risks().detach().max()), abs=1e-9)
    assert trace.moved == pytest.approx(float(problem.head.detach().norm()))


@settings(max_examples=10)
@given(st.integers(0, 1000), st.floats(0.2, 40))
def test_the_smoothing_gap_is_within_its_bounds(seed, alpha):
    trace = descend(random_head(seed), np.full(20, alpha), recipe(20, 0.2))
    assert all(0 <= gap <= math.log(3) / alpha + 1e-12 for gap in trace.smoothing)
    assert trace.alpha == [pytest.approx(alpha)] * len(trace.steps)


def test_the_average_has_no_smoothing_gap_and_infinity_is_null_in_json():
    average = descend(random_head(0), np.zeros(3), recipe(3, 0.1)).as_data()
    hard = descend(random_head(0), np.full(3, math.inf), recipe(3, 0.1)).as_data()
    assert set(average["smoothing"]) == {None}
    assert set(hard["alpha"]) == {None}
    assert set(hard["smoothing"]) == {0.0}


def test_a_head_stays_in_its_ball():
    problem = random_head(0, ridge=5.0)
    descend(problem, np.full(30, 3.0), recipe(30, 5.0))
    assert float(problem.head.detach().norm()) == pytest.approx(problem.radius)


def test_a_risk_that_is_not_finite_ends_with_a_remedy():
    problem = random_head(0)
    with torch.no_grad():
        problem.head.fill_(math.nan)
    with pytest.raises(ConfigurationError, match=r"finite.*after 0 steps.*learning rate"):
        descend(problem, np.ones(3), recipe(3, 0.1))
