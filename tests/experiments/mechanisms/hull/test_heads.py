import pytest
import torch
from torch import nn

from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.configuration import Settings
from experiments.mechanisms.hull.heads import fit_head

HOW = Settings(head_steps=400, head_learning_rate=0.05, head_weight_decay=0.0)


def regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 4, generator=generator)
    targets = inputs @ torch.randn(4, 1, generator=generator)
    targets = targets + 0.3 * torch.randn(120, 1, generator=generator)
    return inputs, targets


def fitted(how=HOW, factor=1.0):
    inputs, targets = regression()
    torch.manual_seed(0)
    encoder, head = nn.Identity(), nn.Linear(4, 1)

    def risk(batch):
        return factor * (head(encoder(batch[0])) - batch[1]).square().mean()

    batches = list(zip(inputs.split(40), targets.split(40), strict=True))
    return head, fit_head("regression", head, batches, risk, how)


def test_a_linear_head_comes_to_the_least_squares_of_its_training_examples():
    inputs, targets = regression()
    design = torch.cat([inputs, torch.ones(120, 1)], 1)
    solution = torch.linalg.lstsq(design, targets).solution
    best = (design @ solution - targets).square().mean().item()
    head, found = fitted()
    assert found.end == pytest.approx(best, rel=0.02)
    assert found.start > 2 * found.end
    torch.testing.assert_close(head.weight.T, solution[:4], atol=0.03, rtol=0)


def test_the_same_seed_gives_the_same_head():
    assert torch.equal(fitted()[0].weight, fitted()[0].weight)


def test_a_head_that_diverges_is_said_to():
    with pytest.raises(ConfigurationError, match="regression: fitting the head diverged; lower"):
        fitted(factor=float("nan"))
