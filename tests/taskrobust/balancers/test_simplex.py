"""Softmax weights in few operations, against those for any risks, and their normalisation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from taskrobust import softmax_weights
from taskrobust.balancers._simplex import on_simplex, softmax
from tests.taskrobust.helpers import losses, masked_losses

SHARPNESS = st.one_of(
    st.sampled_from([0.0, 1.0, math.inf, 1e-45, 1e-300, 1e35, 1e300]), st.floats(1e-3, 1e3)
)


@given(f=losses(), alpha=SHARPNESS)
def test_finite_risks_have_the_weights_that_they_would_have_among_any(f, alpha):
    found = softmax(torch.as_tensor(f), alpha, None, finite=True)
    np.testing.assert_allclose(found, softmax_weights(f, alpha), rtol=1e-14, atol=1e-300)


@given(case=masked_losses(), alpha=SHARPNESS, finite=st.booleans(), junk=st.floats(width=32))
def test_values_of_absent_tasks_do_not_matter(case, alpha, finite, junk):
    f, present = case
    mask = torch.as_tensor(present)
    found = softmax(torch.as_tensor(np.where(present, f, junk)), alpha, mask, finite=finite)
    np.testing.assert_allclose(found, softmax_weights(f, alpha, present), rtol=1e-14, atol=1e-300)
    assert not found[~mask].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("alpha", [0.0, 1e-40, 0.5, 1.0, 1e3, 1e35, math.inf])
@pytest.mark.parametrize("share", [1e-3, 0.4, 0.9])
def test_risks_of_any_size_and_sign_neither_overflow_nor_lose_precision(dtype, alpha, share):
    size = share * torch.finfo(dtype).max
    risks = torch.tensor([size, -size, size, 0.0], dtype=dtype)
    found = softmax(risks, alpha, None, finite=True)
    torch.testing.assert_close(found, softmax_weights(risks, alpha), rtol=1e-6, atol=0)


@given(f=losses(bound=20.0), alpha=st.floats(0.01, 100.0))
def test_single_precision_loses_nothing_to_a_common_offset(f, alpha):
    risks = torch.as_tensor(np.round(8 * f) / 8 + 1024, dtype=torch.float32)
    found = softmax(risks, alpha, None, finite=True).double()
    expected = softmax_weights(risks.double(), alpha)
    torch.testing.assert_close(found, expected, rtol=1e-5 * (1 + alpha), atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1e35, math.inf])
@pytest.mark.parametrize("finite", [False, True])
def test_without_any_present_task_all_weights_are_zero(alpha, finite):
    mask = torch.zeros(3, dtype=torch.bool)
    assert softmax(torch.ones(3), alpha, mask, finite=finite).tolist() == [0, 0, 0]


@pytest.mark.parametrize("alpha", [0.5, 1.0, math.inf])
def test_infinite_risks_share_the_weight_unless_they_were_said_to_be_finite(alpha):
    risks = torch.tensor([math.inf, 1.0, math.inf, -math.inf])
    assert softmax(risks, alpha, None, finite=False).tolist() == [0.5, 0, 0.5, 0]
    assert softmax(-risks, alpha, None, finite=False).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("weights", "present", "expected"),
    [
        ([1.0, 3.0, 4.0], [True, True, False], [0.25, 0.75, 0.0]),
        ([1.0, math.nan, 4.0], [True, False, False], [1.0, 0.0, 0.0]),
        ([1.0, 3.0, 4.0], [False, False, False], [0.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [True, True, True], [0.0, 0.0, 0.0]),
    ],
)
def test_normalisation_onto_the_simplex_of_present_tasks(weights, present, expected):
    assert on_simplex(torch.tensor(weights), torch.tensor(present)).tolist() == expected
    if all(present):
        assert on_simplex(torch.tensor(weights), None).tolist() == expected
