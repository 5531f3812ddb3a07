"""Losses of tasks on one model in every arrangement, and their gradients by one pass a task."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from taskrobust.risks import TaskSums, global_risks, task_sums
from taskrobust.task_gradients import SharedLayer

TASKS, EXAMPLES, TOKENS, INPUTS, WIDTH = 5, 3, 4, 7, 6


def naive(losses, parameters):
    """One backward pass a task."""
    rows = []
    for loss in losses.unbind():
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        parts = [
            torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)
        ]
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def assert_right(losses, shared):
    layer = SharedLayer(shared)
    expected = naive(losses, layer.parameters())
    assert expected.norm() > 0
    for found in (layer.gradients(losses), layer.global_gradients(losses)):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    for found in (layer.norms(losses), layer.global_norms(losses)):
        torch.testing.assert_close(found, expected.norm(dim=1), rtol=1e-12, atol=1e-13)
    return layer


class Model(nn.Module):
    """A trunk, a shared linear layer, and heads from its output to a number."""

    def __init__(self, tasks=TASKS):
        super().__init__()
        self.trunk = nn.Linear(INPUTS, INPUTS)
        self.shared = nn.Linear(INPUTS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, 1)) for _ in range(tasks)
        )

    def forward(self, x=None):
        x = torch.randn(EXAMPLES, TOKENS, INPUTS) if x is None else x
        return self.shared(torch.tanh(self.trunk(x)))

    def losses(self, features):
        return [head(features).square().mean() for head in self.heads]


def stacked(features_of):
    """Losses of heads on some features of the shared layer's output."""

    def case(model):
        return torch.stack(model.losses(features_of(model))), model.shared

    return case


def rescaled(model):
    risks = torch.stack(model.losses(model())) / torch.rand(TASKS)
    return torch.where(torch.arange(TASKS) > 1, 2 * risks.clone(), 0.0), model.shared


def of_global_risks(model):
    sums = TaskSums(torch.stack(model.losses(model())), torch.arange(1.0, TASKS + 1))
    return global_risks(sums).risks, model.shared


def token_groups(model):
    values = model.heads[0](model()).square().squeeze(2)
    groups = torch.arange(values.numel()).view_as(values) % (TASKS + 1) - 1
    return global_risks(task_sums(values, groups, TASKS)).risks, model.shared


def shared_head(model):
    return model.norm(model()).square().sum((0, 1)), model.shared


def two_groups_of_tasks(model):
    low, high = (functional.gelu(model.norm(model())) for _ in range(2))
    features = [low, low, high, high, high]
    losses = [head(f).mean() for head, f in zip(model.heads, features, strict=True)]
    return torch.stack(losses), model.shared


def inputs_of_their_own(model):
    features = [model(torch.randn(t + 1, INPUTS)) for t in range(TASKS)]
    losses = [head(f).mean() for head, f in zip(model.heads, features, strict=True)]
    return torch.stack(losses), model.shared


def constant_and_equal_losses(model):
    losses = model.losses(model())
    losses[1], losses[3] = torch.tensor(2.0), model.heads[3][0].weight.square().sum()
    return torch.stack([*losses, losses[0]]), model.shared


def several_depths(model):
    features = model()
    losses = [x + features[:, t % 2].pow(3).sum() for t, x in enumerate(model.losses(features))]
    losses[0] = losses[0] + model.norm(features).square().mean()
    losses[2] = losses[2] + model.norm(features)[0].pow(3).mean()
    return torch.stack(losses), model.shared


def called_twice_in_a_row(model):
    once = torch.tanh(model())
    return torch.stack(model.losses(model.shared(once @ torch.rand(WIDTH, INPUTS)))), model.shared


def called_twice_side_by_side(model):
    first, second = model(), model()
    return torch.stack(model.losses(model.norm(first * second + first))), model.shared


def weight_not_transposed(model):
    features = torch.randn(8, WIDTH) @ model.shared.weight @ torch.randn(INPUTS, WIDTH)
    return torch.stack(model.losses(features)), [model.shared.weight]


def weight_used_elsewhere(model):
    features = model()
    own = (features @ model.shared.weight).square().mean()
    return torch.stack([loss + own for loss in model.losses(features)]), model.shared


def product_with_itself(model):
    weight = model.shared.weight
    losses = model.losses(model() + functional.linear(weight.mT @ weight, weight).mean())
    return torch.stack(losses), model.shared


def scaled_product(model):
    x, weight, bias = torch.randn(3, INPUTS), model.shared.weight, model.shared.bias
    features = torch.addmm(bias, x, weight.t(), alpha=2.0, beta=3.0)
    return torch.stack(model.losses(features)), model.shared


def bias_of_another_shape(model):
    bias = nn.Parameter(torch.randn(3, WIDTH))
    features = torch.addmm(bias, torch.randn(3, INPUTS), model.shared.weight.t())
    return torch.stack(model.losses(features)), [model.shared.weight, bias]


def not_contiguous(model):
    features = model.shared(torch.randn(INPUTS, TOKENS, EXAMPLES).transpose(0, 2))
    return torch.stack(model.losses(features)), model.shared


def vector_input(model):
    return torch.stack(model.losses(model(torch.randn(INPUTS)))), model.shared


def bias_of_a_frozen_weight(model):
    model.shared.weight.requires_grad_(requires_grad=False)
    return torch.stack(model.losses(model())), model.shared


def two_layers(model):
    parameters = [*model.shared.parameters(), *model.trunk.parameters()]
    return torch.stack(model.losses(model())), parameters


def normalisation(model):
    return torch.stack(model.losses(model.norm(model()).mean(1))), model.norm


def convolution(model):
    layer = nn.Conv1d(TOKENS, 2, 3, padding=1)
    return torch.stack(model.losses(layer(model()))), layer


def embedding(model):
    layer = nn.Embedding(9, WIDTH)
    return torch.stack(model.losses(layer(torch.randint(9, (EXAMPLES, TOKENS))))), layer


def batch_normalisation_above(model):
    features = nn.BatchNorm1d(WIDTH)(model().flatten(0, 1))
    return torch.stack(model.losses(features)), model.shared


def attention_above(model):
    block = nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.0, batch_first=True)
    return torch.stack(model.losses(block(model()))), model.shared


def whole_block(model):
    block = nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.0, batch_first=True)
    return torch.stack(model.losses(block(model()))), block


def recurrent(model):
    layer = nn.GRU(WIDTH, WIDTH)
    return torch.stack(model.losses(layer(model())[0])), layer


def parametrized(model):
    nn.utils.parametrizations.weight_norm(model.shared)
    return torch.stack(model.losses(model())), model.shared


def hooks_of_the_user(model):
    model.shared.weight.register_hook(lambda g: 2 * g)
    features = model()
    features.register_hook(lambda g: 3 * g)
    above = model.norm(features)
    above.register_hook(torch.sin)
    return torch.stack(model.losses(above)), model.shared


def hooks_between_two_calls(model):
    once = model()
    once.register_hook(lambda g: 3 * g)
    twice = model.shared(torch.tanh(once @ torch.rand(WIDTH, INPUTS)))
    twice.register_hook(lambda g: 5 * g)
    return torch.stack(model.losses(twice)), model.shared


def module_hooks(model):
    model.shared.register_full_backward_hook(lambda module, inner, outer: None)
    return torch.stack(model.losses(model())), model.shared


def checkpointed(model):
    features = checkpoint(model, torch.randn(8, INPUTS), use_reentrant=False)
    return torch.stack(model.losses(features)), model.shared


def checkpointed_heads(model):
    features = model()
    losses = [checkpoint(head, features, use_reentrant=False).mean() for head in model.heads]
    return torch.stack(losses), model.shared


def unbound_and_stacked(model):
    return torch.stack(list(model().square().sum((0, 1)).unbind())), model.shared


def not_stacked(model):
    return torch.cat([loss[None] for loss in model.losses(model())]), model.shared


def one_task(model):
    return torch.stack(model.losses(model())[:1]), model.shared


CASES = [
    stacked(lambda model: model()),
    stacked(lambda model: model().mean(1)),
    stacked(lambda model: model()[:, 0]),
    stacked(lambda model: model.norm(model()).mean(1)),
    stacked(lambda model: model.norm(model())[:, 0]),
    stacked(lambda model: model(torch.randn(50, INPUTS))),
    stacked(lambda model: functional.dropout(model(), 0.3)),
    rescaled,
    of_global_risks,
    token_groups,
    shared_head,
    two_groups_of_tasks,
    inputs_of_their_own,
    constant_and_equal_losses,
    several_depths,
    called_twice_in_a_row,
    called_twice_side_by_side,
    weight_not_transposed,
    weight_used_elsewhere,
    product_with_itself,
    scaled_product,
    bias_of_another_shape,
    not_contiguous,
    vector_input,
    bias_of_a_frozen_weight,
    two_layers,
    normalisation,
    convolution,
    embedding,
    batch_normalisation_above,
    attention_above,
    whole_block,
    recurrent,
    parametrized,
    hooks_of_the_user,
    hooks_between_two_calls,
    module_hooks,
    checkpointed,
    checkpointed_heads,
    unbound_and_stacked,
    not_stacked,
    one_task,
]
