"""Risks of PoS-BERT and of GLUE as functions of the encoder that they share.

Shared are embeddings and transformer layers. BERT's pooler belongs to the heads: no masked-piece
risk depends on it. The vocabulary head has a copy of the table of pieces, so that gradients of the
table are those of its use as input alone, which is the only use that downstream tasks make of it.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from transformers import DataCollatorWithPadding

from experiments.bert.configuration import BertStudy
from experiments.bert.data import Prepared, held_out_batches
from experiments.bert.glue.encoding import Encoded
from experiments.bert.glue.examples import Examples, TaskData
from experiments.bert.model import PosBertForPreTraining
from experiments.bert.tags import CLASSES, OTHER, TASKS
from experiments.configuration import ConfigurationError
from experiments.mechanisms.hull.configuration import Settings
from experiments.mechanisms.hull.gradients import Measured, Sums, measure
from experiments.mechanisms.hull.heads import Fitted, chosen, fit_head, halves_batch
from experiments.quiet import quiet

__all__ = ["BLOCKS", "RELATED", "bert_parameters", "glue_risk", "load_bert", "upstream_risks"]

BLOCKS = "encoder.layer."
"""Begins the names of the parameters of the transformer layers."""
NEXT_SENTENCE = "next sentence"
RELATED = (CLASSES[OTHER], NEXT_SENTENCE)
"""Risks of pre-training that are none of the nine tasks."""


def load_bert(folder: Path, prepared: Prepared) -> PosBertForPreTraining:
    """A pre-trained model in evaluation mode, its vocabulary head untied from the embeddings.

    Raises:
        ConfigurationError: it cannot be read, or is of another vocabulary.
    """
    try:
        with quiet():
            model, info = PosBertForPreTraining.from_pretrained(
                str(folder), output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"--model {folder}: cannot be loaded ({reason}); give a run of `bert pretrain`"
        ) from error
    if info["missing_keys"]:
        raise ConfigurationError(
            f"--model {folder}: lacks {', '.join(sorted(info['missing_keys'])[:3])}; the heads of "
            "pre-training are needed, give a run of `bert pretrain`"
        )
    if model.config.vocab_size != len(prepared.tokenizer):
        raise ConfigurationError(
            f"--model {folder}: should have the {len(prepared.tokenizer):,} pieces of "
            f"{prepared.folder}; found {model.config.vocab_size:,}"
        )
    head = model.cls.predictions.decoder
    head.weight = nn.Parameter(head.weight.detach().clone())
    model.eval()
    untied: PosBertForPreTraining = model
    return untied


def bert_parameters(model: PosBertForPreTraining) -> dict[str, Tensor]:
    """The shared parameters by name."""
    return {
        name: values
        for name, values in model.bert.named_parameters()
        if not name.startswith("pooler.")
    }


def upstream_risks(
    model: PosBertForPreTraining, study: BertStudy, prepared: Prepared, how: Settings
) -> Measured:
    """Cross-entropy by part of speech, of other pieces and of sentence pairs, on held-out text.

    Args:
        model: from `load_bert`.
        study: whose masking is used.
        prepared: whose validation text is used.
        how: examples and batches.
    """
    whole = held_out_batches(study, prepared, "valid", how.batch_size)
    rows = chosen(len(whole.dataset), how.examples, how.seed)  # type: ignore[arg-type]
    batches = DataLoader(
        Subset(whole.dataset, rows),
        batch_size=halves_batch(len(rows), how.batch_size),
        collate_fn=whole.collate_fn,
    )

    def sums(batch: dict[str, Tensor]) -> Sums:
        output = model(**batch)
        labels = batch["mlm_labels"].flatten()
        values = output.task_values[: len(labels)]
        groups = output.task_groups[: len(labels)]
        of_class = (groups == torch.arange(len(CLASSES))[:, None]).to(values)
        rest = output.auxiliary_values
        pairs = output.task_values[len(labels) :] if rest is None else rest
        return Sums(
            torch.cat([of_class @ values, pairs.sum()[None]]),
            torch.cat([of_class.sum(1), torch.tensor([float(len(pairs))])]),
        )

    names = (*TASKS, *RELATED)
    return measure(names, bert_parameters(model), batches, sums)


def glue_risk(
    model: PosBertForPreTraining, data: TaskData, tokenizer: Any, study: BertStudy, how: Settings
) -> tuple[Measured, Fitted]:
    """Risk of a GLUE task on its dev set, with a head fitted on the frozen encoder.

    The head is pooler and classifier, as in fine-tuning; the pooler starts from the pre-trained
    one, the classifier from 0. It is fitted on training examples, in evaluation mode.

    Args:
        model: from `load_bert`.
        data: of the task.
        tokenizer: of the model.
        study: whose `fine_tuning.sequence_length` is used.
        how: examples, steps and rates.

    Raises:
        ConfigurationError: fitting diverged.
    """
    task = data.task
    classifier = nn.Linear(model.config.hidden_size, task.outputs)
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    head = nn.Sequential(copy.deepcopy(model.bert.pooler), classifier)
    collate = DataCollatorWithPadding(tokenizer)

    def batches(examples: Examples, count: int, *, halves: bool) -> list[dict[str, Tensor]]:
        rows = chosen(len(examples), count, how.seed)
        encoded = Encoded(
            examples,
            tokenizer,
            study.fine_tuning.sequence_length,
            whole_labels=not task.is_regression,
        )
        size = halves_batch(len(rows), how.batch_size) if halves else how.batch_size
        loader = DataLoader(Subset(encoded, rows), batch_size=size, collate_fn=collate)
        return list(loader)

    def losses(states: Tensor, labels: Tensor) -> Tensor:
        outputs = head(states)
        if task.is_regression:
            return functional.mse_loss(outputs.squeeze(-1), labels, reduction="none")
        return functional.cross_entropy(outputs, labels, reduction="none")

    with torch.no_grad():
        frozen = [
            (_encoded(model, batch), batch["labels"])
            for batch in batches(data.train, how.head_examples, halves=False)
        ]
    fitted = fit_head(task.title, head, frozen, lambda batch: losses(*batch).mean(), how)

    def sums(batch: dict[str, Tensor]) -> Sums:
        values = losses(_encoded(model, batch), batch["labels"])
        return Sums(values.sum()[None], torch.tensor([float(len(values))]))

    held_out = [
        batch
        for part in data.dev.values()
        for batch in batches(part, how.examples // len(data.dev), halves=True)
    ]
    return measure([task.title], bert_parameters(model), held_out, sums), fitted


def _encoded(model: PosBertForPreTraining, batch: dict[str, Tensor]) -> Tensor:
    """States of the last layer, which the pooler takes the first of."""
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    states: Tensor = model.bert(**inputs)[0]
    return states[:, :1]
