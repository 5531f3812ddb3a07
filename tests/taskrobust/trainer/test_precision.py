"""Mixed precision and compilation: risks and weights stay in float32."""

import warnings

import pytest
import torch

from taskrobust import Minimax, cross_entropy
from tests.taskrobust.trainer.models import NAMES, TASKS, Examples, Net, state, trained

CLASSES = 5


class Classifier(Net):
    """Logits in the precision of the autocast, losses in float32, unless `sloppy`."""

    def __init__(self, *, sloppy=False):
        super().__init__()
        self.heads = torch.nn.Linear(8, CLASSES)
        self.sloppy = sloppy
        self.seen = None

    def forward(self, x, y, g):
        logits = self.heads(self.trunk(x)) * 5
        targets = (y.abs() * 3).long().clamp(max=CLASSES - 1)
        self.seen = (logits.detach(), targets, g)
        if self.sloppy:
            values = -torch.log_softmax(logits, 1, dtype=logits.dtype).gather(1, targets[:, None])
            return {"task_values": values[:, 0], "task_groups": g}
        return {"task_values": cross_entropy(logits, targets), "task_groups": g}


def run(out, model, **options):
    balancer = Minimax(TASKS, alpha=2.0, task_names=NAMES)
    data = Examples(96, dtype=torch.float32)
    return trained(out, model=model, balancer=balancer, data=data, **options)


def weights_by_hand(logits, targets, groups, alpha=2.0):
    """Weights in float64 from given logits."""
    losses = -torch.log_softmax(logits.double(), 1).gather(1, targets[:, None])[:, 0]
    risks = torch.stack([losses[groups == t].mean() for t in range(TASKS)])
    return risks, torch.softmax(alpha * risks, 0)


def test_weights_from_logits_in_half_precision_are_those_of_the_logits(tmp_path):
    trainer = run(tmp_path, Classifier(), bf16=True)
    logits, targets, groups = trainer.model.seen
    assert logits.dtype == torch.bfloat16
    last = trainer.balancer.last
    assert last.weights.dtype == last.risks.dtype == torch.float32
    risks, weights = weights_by_hand(logits, targets, groups)
    torch.testing.assert_close(last.risks.double(), risks, rtol=1e-6, atol=0)
    torch.testing.assert_close(last.weights.double(), weights, rtol=0, atol=1e-6)
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())


def test_accumulation_under_autocast_weights_the_whole_step(tmp_path):
    one = run(tmp_path, Classifier(), bf16=True, max_steps=1)
    options = {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 4}
    four = run(tmp_path, Classifier(), bf16=True, max_steps=1, **options)
    torch.testing.assert_close(
        four.balancer.last.weights, one.balancer.last.weights, rtol=1e-6, atol=0
    )


def test_losses_rounded_by_the_model_are_warned_of_once(tmp_path):
    with pytest.warns(UserWarning, match="taskrobust.cross_entropy") as caught:
        trainer = run(tmp_path, Classifier(sloppy=True), bf16=True)
    assert len(caught) == 1
    assert trainer.balancer.last.weights.dtype == torch.float32


def test_losses_in_full_precision_are_not_warned_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(tmp_path, Classifier(), bf16=True)
        run(tmp_path, Classifier(sloppy=True))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_compiled_model_trains_as_an_eager_one(tmp_path, steps):
    size = {"gradient_accumulation_steps": steps, "per_device_train_batch_size": 16 // steps}
    eager = trained(tmp_path, **size)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = trained(tmp_path, torch_compile=True, torch_compile_backend="aot_eager", **size)
    losses = [[r["loss"] for r in t.state.log_history if "loss" in r] for t in (eager, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for key, value in state(eager).items():
        torch.testing.assert_close(state(compiled)[key], value, rtol=1e-9, atol=1e-12)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
