"""Pre-training steps side by side: transformers' `BertForPreTraining` and ours, on equal masks.

Stock BERT computes the vocabulary head at all B·S positions, with labels -100 where nothing is
masked; ours at the B·K masked ones. Both hold the same initial parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertForPreTraining

from experiments.bert.batches import MaskingCollator
from experiments.bert.configuration import ModelSize
from experiments.bert.groupings import PosGroups, WithoutOther
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.tags import CLASSES, NUM_TASKS, OTHER, TASKS
from taskrobust import Minimax
from taskrobust.accumulation import balanced_loss
from taskrobust.risks import global_risks
from taskrobust.trainer.outputs import output_sums

Batch = dict[str, Tensor]
Step = Callable[[], None]

VOCABULARY = 30_522
PAD, CLS, SEP, MASK = 0, 101, 102, 103
"""Special pieces of bert-base-uncased."""
ORDINARY = 1000
"""The first ordinary piece."""
SHARES = (0.150, 0.249, 0.074, 0.106, 0.047, 0.059, 0.143, 0.033, 0.00028)
"""Shares of the nine classes in the Brown corpus as NLTK tags it; the rest is `OTHER`."""
STEP_SIZE = 1e-6

STOCK = "stock, head at all positions"
MEAN = "masked positions, plain mean"
AGAIN = "masked positions, plain mean, again"
MINIMAX = "masked positions, Minimax by part of speech"


@dataclass(frozen=True)
class Case:
    """One size of step: a model 768 wide with the vocabulary of BERT-base."""

    layers: int
    batch: int
    sequence: int = 128
    predictions: int = 20
    full: bool = False
    """Whether all instances fill the sequence; else the first of each ten fills three quarters."""

    @property
    def name(self) -> str:
        return f"{self.layers} layers, {self.batch} × {self.sequence}"

    @property
    def size(self) -> ModelSize:
        return ModelSize(layers=self.layers)


def masked_batch(case: Case, device: torch.device, seed: int = 0) -> Batch:
    """A masked batch of random instances, as pre-training's collator makes it."""
    rng = np.random.default_rng(seed)
    collator = MaskingCollator(
        vocabulary=VOCABULARY,
        mask_id=MASK,
        pad_id=PAD,
        special_ids=(CLS, SEP, PAD),
        sequence_length=case.sequence,
        max_predictions=case.predictions,
        probability=0.15,
        seed=seed,
        task_of_piece=WithoutOther(PosGroups()),
    )
    batch = collator([_instance(case, rng, index) for index in range(case.batch)])
    return {name: values.to(device) for name, values in batch.items()}


def _instance(case: Case, rng: np.random.Generator, index: int) -> dict[str, object]:
    length = case.sequence if case.full or index % 10 else 3 * case.sequence // 4
    first = length // 2
    pieces = rng.integers(ORDINARY, VOCABULARY, size=length)
    pieces[[0, first - 1, -1]] = CLS, SEP, SEP
    pos = rng.choice(len(CLASSES), size=length, p=[*SHARES, 1 - sum(SHARES)])
    pos[[0, first - 1, -1]] = OTHER
    return {
        "input_ids": pieces,
        "pos": pos,
        "first_length": first,
        "next_sentence_label": int(rng.integers(2)),
        "index": index,
    }


def stock_batch(batch: Batch) -> Batch:
    """The same batch as `BertForPreTraining` takes it, with labels ``[B, S]``."""
    # Unused columns point at position 0, [CLS], which is never masked: they write -100 there.
    labels = torch.full_like(batch["input_ids"], -100)
    labels.scatter_(1, batch["masked_positions"], batch["mlm_labels"])
    names = ("input_ids", "attention_mask", "token_type_ids", "next_sentence_label")
    return {**{name: batch[name] for name in names}, "labels": labels}


def models(case: Case, device: torch.device) -> tuple[PosBertForPreTraining, BertForPreTraining]:
    """Ours and the stock model with the same parameters, in training mode."""
    torch.manual_seed(0)
    config = bert_config(case.size, VOCABULARY)
    ours = PosBertForPreTraining(config)
    stock = BertForPreTraining(config)
    stock.load_state_dict(ours.state_dict())
    return ours.to(device).train(), stock.to(device).train()


def plain_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean over the masked pieces and mean over the pairs: the loss of the stock model."""
    outputs = model(**batch)
    count = (batch["mlm_labels"] != -100).sum()
    loss: Tensor = outputs["task_values"].sum() / count + outputs["auxiliary_values"].mean()
    return loss


def stock_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Of `BertForPreTraining`."""
    loss: Tensor = model(**batch)["loss"]
    return loss


def minimax_loss(balancer: Minimax) -> Callable[[nn.Module, Batch], Tensor]:
    """What `TaskRobustTrainer` makes of a batch: risks by class, weighted; pairs added."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        sums = output_sums(model(**batch), NUM_TASKS, len(batch["input_ids"]))
        return balanced_loss(balancer, global_risks(sums))

    return loss


def check_equal_losses(
    ours: nn.Module, stock: nn.Module, batch: Batch, relative: float = 1e-4
) -> float:
    """Larger relative difference of the losses, and of the gradients' norms, without dropout.

    Raises:
        RuntimeError: they differ, so that the steps do not compare.
    """
    found = []
    for model, loss, given in ((ours, plain_loss, batch), (stock, stock_loss, stock_batch(batch))):
        model.eval()
        value = loss(model, given)
        value.backward()
        gradients = [parameter.grad.norm() for parameter in model.parameters()]
        found.append(torch.stack([value.detach(), torch.stack(gradients).norm()]))
        model.train()
        model.zero_grad()
    difference = float(((found[0] - found[1]) / found[1]).abs().max())
    if not difference <= relative:
        raise RuntimeError(
            f"the losses or gradients of the two models differ by {difference:.1e} of their "
            f"value; found {found[0].tolist()} and {found[1].tolist()}"
        )
    return difference


def steps(
    ours: nn.Module, stock: nn.Module, batch: Batch, *, precision: torch.dtype | None = None
) -> dict[str, Step]:
    """Forward, backward and fused AdamW of every variant, each with an optimiser of its own."""
    device = batch["input_ids"].device
    balancer = Minimax(NUM_TASKS, alpha=1.0, task_names=TASKS).to(device)
    variants: dict[str, tuple[nn.Module, Callable[[nn.Module, Batch], Tensor], Batch]] = {
        STOCK: (stock, stock_loss, stock_batch(batch)),
        MEAN: (ours, plain_loss, batch),
        AGAIN: (ours, plain_loss, batch),
        MINIMAX: (ours, minimax_loss(balancer), batch),
    }
    return {
        name: _step(model, loss, given, precision)
        for name, (model, loss, given) in variants.items()
    }


def _step(
    model: nn.Module,
    loss: Callable[[nn.Module, Batch], Tensor],
    batch: Batch,
    precision: torch.dtype | None,
) -> Step:
    device = batch["input_ids"].device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=STEP_SIZE, weight_decay=0.01, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype=precision, enabled=precision is not None):
            value = loss(model, batch)
        value.backward()
        optimizer.step()

    return step
