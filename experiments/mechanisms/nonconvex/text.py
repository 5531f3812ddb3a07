"""The network's problem: a tiny PoS-BERT on all of a generated text, with masks drawn once."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from experiments.bert.configuration import BertStudy, Masking, ModelSize, Preparation
from experiments.bert.data import Prepared, collator, grouping
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.preparation.prepare import prepare
from experiments.bert.tags import NUM_TASKS, TASKS
from experiments.configuration import ConfigurationError
from experiments.mechanisms.nonconvex.configuration import NonconvexStudy, Text
from experiments.mechanisms.nonconvex.problem import Problem
from experiments.progress import Stages
from experiments.quiet import quiet
from taskrobust import grouped_risks

__all__ = ["TextTasks", "prepared_text"]

Batch = Mapping[str, Tensor]


def prepared_text(text: Text, folder: Path) -> Prepared:
    """Generate the text, or find it generated before.

    Args:
        text: the configuration.
        folder: where it is kept.

    Raises:
        ConfigurationError: the folder holds something else.
    """
    preparation = Preparation(
        source="generated",
        tagger="gold",
        generated_documents=text.documents,
        vocabulary_size=text.vocabulary_size,
        sequence_length=text.sequence_length,
        held_out=text.held_out,
    )
    with quiet():
        prepare(preparation, None, folder, stages=Stages(Console(quiet=True)))
    return Prepared(folder)


class TextTasks(Problem):
    """Nine risks, one a part of speech, of a tiny BERT; a seed gives masks and initial weights.

    Args:
        study: the configuration.
        prepared: of `prepared_text`.
        seed: of masks and initial weights.

    Raises:
        ConfigurationError: too few instances, or a part of speech that is never masked.
    """

    num_tasks = NUM_TASKS

    def __init__(self, study: NonconvexStudy, prepared: Prepared, seed: int) -> None:
        text, size = study.text, study.network
        bert = BertStudy(
            masking=Masking(
                probability=text.mask_probability, max_predictions=text.max_predictions, seed=seed
            ),
            model=ModelSize(
                layers=size.layers,
                hidden=size.hidden,
                heads=size.heads,
                positions=text.sequence_length,
                dropout=0.0,
            ),
            next_sentence="off",
        )
        self.batch = _batch(bert, prepared, "train", text.instances)
        self.held_out = _batch(bert, prepared, "valid", text.instances)
        torch.manual_seed(seed)
        config = bert_config(
            bert.model,
            len(prepared.tokenizer),
            next_sentence="off",
            initializer_range=size.initial_scale,
        )
        self.model = PosBertForPreTraining(config).double().eval()
        self.parameters = list(self.model.parameters())

    def risks(self) -> Tensor:
        """Mean cross-entropy ``[9]`` of each part of speech, nats."""
        return self._risks(self.batch)

    @torch.no_grad()
    def held_out_risks(self) -> Tensor:
        """The same on the held-out documents."""
        return self._risks(self.held_out)

    @torch.no_grad()
    def features(self) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states of the encoder ``[n, d]`` at masked pieces, these, and their tasks."""
        batch = self.batch
        hidden = self.model.bert(
            batch["input_ids"],
            attention_mask=batch["attention_mask"],
            token_type_ids=batch["token_type_ids"],
        )[0]
        positions = batch["masked_positions"].unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        states = hidden.gather(1, positions).flatten(0, 1)
        tasks = batch["task_ids"].flatten()
        kept = (tasks >= 0) & (tasks < NUM_TASKS)
        return states[kept], batch["mlm_labels"].flatten()[kept], tasks[kept]

    def _risks(self, batch: Batch) -> Tensor:
        output = self.model(**batch)
        return grouped_risks(output.task_values, output.task_groups, NUM_TASKS).risks


def _batch(bert: BertStudy, prepared: Prepared, split: str, wanted: int) -> Batch:
    rows = prepared.split(split)
    if split == "train" and len(rows) < wanted:
        raise ConfigurationError(
            f"`text.instances` should be at most {len(rows)}, which {prepared.folder} has; found "
            f"{wanted}: lower it, or raise `text.documents`"
        )
    masking = collator(bert, prepared, grouping(bert, prepared))
    chosen = range(min(wanted, len(rows)))
    batch = masking([{**rows[index], "index": index} for index in chosen])
    tasks = batch["task_ids"].flatten().numpy()
    counts = np.bincount(tasks[(tasks >= 0) & (tasks < NUM_TASKS)], minlength=NUM_TASKS)
    if not counts.all():
        absent = ", ".join(TASKS[task] for task in np.flatnonzero(counts == 0))
        raise ConfigurationError(
            f"every part of speech should be masked somewhere in the {split} text; never masked: "
            f"{absent}; raise `text.instances` or `text.documents`"
        )
    return {name: value for name, value in batch.items() if name != "next_sentence_label"}
