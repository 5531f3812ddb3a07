"""Without validation nothing is read back from the device: no value decides what is computed.

Meta tensors have a shape and no values, and vmap hides them, so that any branch on a value raises.
"""

import math

import pytest
import torch

from taskrobust import smooth_max, softmax_gap, softmax_weights

FUNCTIONS = pytest.mark.parametrize("function", [softmax_weights, smooth_max, softmax_gap])


def shape_of(function, batch):
    return (*batch, 3) if function is softmax_weights else batch


@FUNCTIONS
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int32], ids=str)
def test_unchecked_calls_work_on_tensors_without_values(function, dtype):
    f = torch.zeros(2, 3, dtype=dtype, device="meta")
    alpha = torch.ones(2, device="meta")
    present = torch.ones(3, dtype=torch.bool, device="meta")
    for arguments in ((f, 2.0), (f, math.inf), (f, alpha), (f, alpha, present)):
        found = function(*arguments, validate=False)
        assert found.device.type == "meta"
        assert found.shape == shape_of(function, (2,))


@FUNCTIONS
def test_arguments_move_to_the_device_of_the_losses(function):
    f = torch.zeros(2, 3, device="meta")
    present = torch.ones(3, dtype=torch.bool)
    found = function(f, torch.ones(2), present, validate=False)
    assert found.device.type == "meta"


@FUNCTIONS
def test_checked_calls_read_values_and_so_would_fail_here(function):
    with pytest.raises(RuntimeError, match="meta"):
        function(torch.zeros(2, 3, device="meta"), 2.0)
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(function)(torch.zeros(2, 3), torch.ones(2))


@FUNCTIONS
def test_one_trace_serves_every_special_value(function):
    inf, nan = math.inf, math.nan
    f = torch.tensor(
        [[0.0, 1.0, 3.0], [3.0, 3.0, 0.0], [inf, 0.0, inf], [-inf, -inf, -inf], [0.0, nan, 1.0]],
        dtype=torch.float64,
    )
    alpha = torch.tensor([[2.0], [1e308], [inf], [1e-300]], dtype=torch.float64)
    present = torch.tensor([[True, True, True], [True, True, False]])

    def unchecked(*arguments):
        return function(*arguments, validate=False)

    over_masks = torch.func.vmap(unchecked, in_dims=(None, None, 0))
    over_alphas = torch.func.vmap(over_masks, in_dims=(None, 0, None))
    found = torch.func.vmap(over_alphas, in_dims=(0, None, None))(f, alpha[:, 0], present)
    assert found.shape == shape_of(function, (5, 4, 2))
    for i, row in enumerate(f):
        for j, sharp in enumerate(alpha[:, 0]):
            for k, mask in enumerate(present):
                expected = unchecked(row, sharp, mask)
                assert torch.equal(found[i, j, k].nan_to_num(-7), expected.nan_to_num(-7))


@FUNCTIONS
def test_gradients_are_traceable(function):
    f = torch.tensor([[0.0, 1.0, 3.0], [3.0, 3.0, 0.0]], dtype=torch.float64)

    def total(row):
        return torch.sum(function(row, 2.0, validate=False) * torch.arange(1.0, 4.0))

    found = torch.func.vmap(torch.func.grad(total))(f)
    for row, gradient in zip(f, found, strict=True):
        torch.testing.assert_close(gradient, torch.func.grad(total)(row))
