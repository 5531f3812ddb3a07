"""What the risks of a pre-training batch have to do with the plain losses of BERT, in float64."""

import numpy as np
import pytest
import torch

from experiments.bert.configuration import ModelSize
from experiments.bert.groupings import PosGroups, WithoutOther
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.tags import NUM_TASKS, OTHER
from taskrobust import create_balancer, grouped_risks
from tests.experiments.bert.instances import VOCABULARY, collator, instances

ABSENT = 8
"""A class without a masked piece, as interjections often are."""


@pytest.fixture(scope="module")
def losses():
    """Of the masked pieces of a batch: cross-entropies, tasks (-100: none), and classes."""
    batch = collator(task_of_piece=WithoutOther(PosGroups()))(instances(24))
    labels, tasks = batch["mlm_labels"].flatten(), batch["task_ids"].flatten()
    is_other = (labels != -100) & (tasks == -100)
    tasks[tasks == ABSENT] = 1
    torch.manual_seed(0)
    size = ModelSize(layers=1, hidden=16, heads=2, positions=40)
    model = PosBertForPreTraining(bert_config(size, VOCABULARY)).double().eval()
    # Spread the losses, which are all near ln V at first.
    torch.nn.init.normal_(model.cls.predictions.bias, std=2.0)
    with torch.no_grad():
        outputs = model(**batch)
    values, groups = outputs.task_values, outputs.task_groups
    assert torch.equal(groups, tasks)
    used = labels != -100
    classes = torch.where(is_other, OTHER, groups)
    return values[used], groups[used], classes[used]


def balanced(name, values, groups, tasks=NUM_TASKS, **options):
    """Loss of a balancer, the gradient in the values, and its weights."""
    values = values.clone().requires_grad_()
    balancer = create_balancer(name, tasks, **options).double()
    found = grouped_risks(values, groups, tasks)
    loss = balancer(found.risks, found.present, counts=found.counts)
    (gradient,) = torch.autograd.grad(loss, values)
    return loss.item(), gradient, balancer.last.weights


def class_means(values, classes):
    """By class, in a loop."""
    return {
        c: float(np.mean([v for v, k in zip(values, classes, strict=True) if k == c]))
        for c in sorted(set(classes.tolist()))
    }


def test_the_batch_has_unequal_classes_an_absent_one_and_pieces_outside(losses):
    values, groups, classes = losses
    counts = torch.bincount(classes, minlength=OTHER + 1)
    assert counts[ABSENT] == 0
    assert (counts == 0).sum() == 1
    assert (groups == -100).sum() == counts[OTHER] > 0
    assert counts[:ABSENT].max() > counts[:ABSENT].min()
    assert values.min() > 0


def test_class_means_recombine_to_the_mean_over_pieces_with_and_without_other(losses):
    values, groups, classes = losses
    tagged = groups != -100
    loss, gradient, _ = balanced("example-mean", values, groups)
    assert loss == pytest.approx(values[tagged].mean().item(), rel=1e-14)
    torch.testing.assert_close(gradient, tagged.double() / tagged.sum(), rtol=1e-13, atol=0)
    plain, gradient, _ = balanced("example-mean", values, classes, OTHER + 1)
    assert plain == pytest.approx(values.mean().item(), rel=1e-14)
    torch.testing.assert_close(gradient, torch.full_like(values, 1 / len(values)))
    assert abs(plain - loss) > 1e-3


def test_without_sharpness_it_is_the_mean_of_the_classes_that_are_there_not_of_the_pieces(losses):
    values, groups, _ = losses
    means = class_means(values[groups != -100], groups[groups != -100])
    expected = sum(means.values()) / 8
    for name, options in (("minimax", {"alpha": 0.0}), ("average", {})):
        assert balanced(name, values, groups, **options)[0] == pytest.approx(expected, rel=1e-13)
    assert abs(balanced("example-mean", values, groups)[0] - expected) > 1e-3
    over_nine = sum(means.values()) / 9  # as if the absent class had a loss of zero
    assert abs(over_nine - expected) > 0.1


def test_large_sharpness_is_the_hard_maximum(losses):
    values, groups, _ = losses
    means = class_means(values[groups != -100], groups[groups != -100])
    worst = max(means, key=means.get)
    hard, gradient, weights = balanced("hard-max", values, groups)
    assert hard == pytest.approx(means[worst], rel=1e-13)
    assert weights.tolist() == [float(t == worst) for t in range(NUM_TASKS)]
    members = groups == worst
    torch.testing.assert_close(gradient, members.double() / members.sum())
    soft = balanced("minimax", values, groups, alpha=1e4)
    assert soft[0] == pytest.approx(hard, rel=1e-12)
    torch.testing.assert_close(soft[1], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 3.0])
def test_weights_are_the_softmax_of_class_means_and_no_constant_changes_them(losses, alpha):
    values, groups, _ = losses
    _, gradient, weights = balanced("minimax", values, groups, alpha=alpha)
    means = class_means(values[groups != -100], groups[groups != -100])
    exponentials = {c: np.exp(alpha * mean) for c, mean in means.items()}
    expected = [exponentials.get(t, 0.0) / sum(exponentials.values()) for t in range(NUM_TASKS)]
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights.sum().item() == pytest.approx(1.0, rel=1e-14)
    raised, raised_gradient, same = balanced("minimax", values + 5, groups, alpha=alpha)
    torch.testing.assert_close(same, weights, rtol=1e-12, atol=0)
    torch.testing.assert_close(raised_gradient, gradient, rtol=1e-12, atol=0)
    assert raised > 5


@pytest.mark.parametrize("name", ["minimax", "average", "hard-max", "example-mean"])
def test_the_order_of_the_pieces_changes_nothing(losses, name):
    values, groups, _ = losses
    loss, gradient, weights = balanced(name, values, groups)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    again, permuted, same = balanced(name, values[order], groups[order])
    assert again == pytest.approx(loss, rel=1e-13)
    torch.testing.assert_close(permuted, gradient[order], rtol=1e-12, atol=0)
    torch.testing.assert_close(same, weights, rtol=1e-12, atol=0)
