"""What a configuration asks for is what is trained."""

import os
from unittest import mock

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertForPreTraining

from experiments.bert import pretrain as pretraining
from experiments.bert.model import PosBertForPreTraining
from experiments.bert.pretrain import pretrain, pretraining_trainer
from experiments.bert.tags import TASKS
from experiments.configuration import ConfigurationError
from experiments.records import run_folder
from tests.experiments.bert.runs import Recorded, losses, weights

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = (
    "optimisation={steps: 5, batch_size: 8, learning_rate: 0.01, warmup_steps: 2, "
    "weight_decay: 0.3, betas: [0.7, 0.95], epsilon: 0.01, max_gradient_norm: NORM}"
)


def task_mean(model, batch):
    """Mean of the class means plus that of the pairs, from the logits of all positions."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    outputs = BertForPreTraining.forward(model, **{name: batch[name] for name in names})
    rows = torch.arange(len(batch["input_ids"]))[:, None]
    logits = outputs.prediction_logits[rows, batch["masked_positions"]]
    means = [
        cross_entropy(
            logits[batch["task_ids"] == task], batch["mlm_labels"][batch["task_ids"] == task]
        )
        for task in range(len(TASKS))
        if (batch["task_ids"] == task).any()
    ]
    pairs = cross_entropy(outputs.seq_relationship_logits, batch["next_sentence_label"])
    return torch.stack(means).mean() + pairs


@pytest.mark.parametrize("norm", ["0.0", "0.2"])
def test_a_run_is_adamw_with_decay_of_matrices_only_and_a_linear_schedule(
    monkeypatch, tmp_path, tiny, prepared_folder, norm
):
    recorded, study = Recorded(), tiny("model.dropout=0.0", RECIPE.replace("NORM", norm))
    monkeypatch.setattr(pretraining, "OrderedTrainer", recorded.trainer())
    pretrain(study, prepared_folder, tmp_path, "average", 0)
    (initial,), (batches,) = recorded.parameters.values(), recorded.batches.values()
    model = PosBertForPreTraining.from_pretrained(run_folder(tmp_path, "average", 0) / "model")
    model.load_state_dict(initial)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]  # biases and LayerNorm
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.7, 0.95), eps=0.01, weight_decay=0.3)
    for rate, batch in zip([0.0, 0.005, 0.01, 0.02 / 3, 0.01 / 3], batches, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        task_mean(model, batch).backward()
        if float(norm):
            assert torch.nn.utils.clip_grad_norm_(model.parameters(), float(norm)) > float(norm)
        optimizer.step()
    found = weights(run_folder(tmp_path, "average", 0))
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-5, msg=name)
    assert not torch.equal(found["bert.pooler.dense.weight"], initial["bert.pooler.dense.weight"])


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", (False, False)), ("bf16", (True, False))],
)
def test_precision_and_compilation_reach_the_trainer(
    tmp_path, tiny, prepared_folder, precision, expected
):
    for compiled in (False, True):
        study = tiny(f"optimisation.precision={precision}", f"optimisation.compile={compiled}")
        with mock.patch.dict(os.environ):  # arguments set variables
            trainer, *_ = pretraining_trainer(study, prepared_folder, tmp_path, "average", 0)
        arguments = trainer.args
        assert (arguments.bf16, arguments.fp16) == expected
        assert arguments.torch_compile == compiled


def test_micro_batches_change_nothing_but_the_rounding(tmp_path, tiny, prepared_folder):
    # Without dropout; the exact two passes make one large batch of the parts.
    overrides = ("model.dropout=0.0", "optimisation.steps=4")
    ends = []
    for number, size in enumerate(("8", "2")):
        study = tiny(*overrides, f"optimisation.micro_batch_size={size}")
        ends.append(losses(pretrain(study, prepared_folder, tmp_path / str(number), "minimax", 0)))
    for (_, one), (_, other) in zip(*ends, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes fp16")
def test_half_precision_without_a_gpu_is_refused(tmp_path, tiny, prepared_folder):
    study = tiny("optimisation.precision=fp16")
    with pytest.raises(ConfigurationError, match=r"`optimisation\.precision` fp16 needs a GPU"):
        pretrain(study, prepared_folder, tmp_path, "average", 0)
    assert not run_folder(tmp_path, "average", 0).exists()
