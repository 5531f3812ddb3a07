"""Ours against the benchmark's straightforward model, which no code is shared with."""

import copy
from dataclasses import replace

import pytest
import torch

from experiments.mae.configuration import DEPTH, RGB, LabelModality
from tests.benchmarks.mae_steps import (
    Case,
    check_equal_losses,
    models,
    our_risks,
    random_batch,
    straightforward_losses,
)
from tests.benchmarks.mae_straightforward import load_ours
from tests.experiments.mae.samples import SIZE, VISIBLE, kept

CPU = torch.device("cpu")
ORDINARY = [[0, 3, 7, 12, 16], [1, 2, 8, 9, 17]]
CORNERS = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
"""All of rgb is visible and none of semseg; all of depth and nothing else."""


def case(void):
    semseg = LabelModality(name="semseg", classes=3, class_width=6, void=void)
    size = replace(SIZE, norm_rgb=False, modalities=(RGB, DEPTH, semseg))
    return Case("test", size, VISIBLE, 2)


def pair(case, dtype):
    ours, straightforward = (model.to(dtype) for model in models(case, CPU))
    torch.manual_seed(1)
    with torch.no_grad():  # away from zeros and ones, which would hide what they multiply or add
        for parameter in ours.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    load_ours(straightforward, ours.state_dict())
    return ours, straightforward


def batch(case, dtype, visible):
    found = random_batch(case, CPU)
    for name in ("rgb", "depth"):
        found["modalities"][name] = found["modalities"][name].to(dtype)
    return {**found, **kept(visible)}


@pytest.mark.parametrize("visible", [ORDINARY, CORNERS])
@pytest.mark.parametrize("void", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_losses_and_gradients_are_those_of_a_straightforward_model(dtype, tolerance, void, visible):
    ours, straightforward = pair(case(void), dtype)
    given = batch(case(void), dtype, visible)
    found, expected = our_risks(ours, given).risks, straightforward_losses(straightforward, given)
    assert expected.min() > 0.1
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=0)
    found.sum().backward()
    expected.sum().backward()
    arranged = copy.deepcopy(straightforward)
    load_ours(arranged, {name: each.grad for name, each in ours.named_parameters()})
    for (name, gradient), parameter in zip(
        arranged.named_parameters(), straightforward.parameters(), strict=True
    ):
        torch.testing.assert_close(
            gradient, parameter.grad, rtol=100 * tolerance, atol=tolerance, msg=name
        )


def test_steps_of_models_with_different_losses_are_not_compared():
    ours, straightforward = pair(case(void=True), torch.float64)
    given = batch(case(void=True), torch.float64, ORDINARY)
    assert check_equal_losses(ours, straightforward, given) < 1e-10
    with torch.no_grad():
        straightforward.decoders["depth"].modalities[1, 0, 0] += 1.0
    with pytest.raises(RuntimeError, match="the two models differ by"):
        check_equal_losses(ours, straightforward, given)
