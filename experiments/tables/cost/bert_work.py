"""The training steps of Table 1: PoS-BERT in its phases, and the tasks of GLUE."""

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from experiments.bert.arms import arm_balancer
from experiments.bert.configuration import BertStudy, ModelSize, Preparation
from experiments.bert.glue import generated
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.bert.groupings import task_names
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.tables.bert_runs import BertRuns
from experiments.tables.cost.work import Work, gradient_flops, step_flops
from experiments.tables.preset import preparation_of
from experiments.tables.store import PRETRAIN
from taskrobust.trainer.outputs import output_sums

__all__ = ["fine_tuning", "pretraining"]

PUBLISHED_VOCABULARY = 30_522
"""Pieces of google-bert/bert-base-uncased, taken for any vocabulary that is not trained."""


def pretraining(maker: BertRuns, arm: str) -> list[Work]:
    """The phases of one run.

    Args:
        maker: of the runs.
        arm: of the study.
    """
    study, found = maker.configuration, []
    how, names = study.optimisation, _names(maker.configuration, arm)
    ends = np.cumsum([phase.share for phase in study.phases]) * how.steps
    steps = np.diff(np.rint(ends).astype(int), prepend=0)
    for phase, count in zip(study.phases, steps, strict=True):
        prepared = _preparation(maker, phase.data or maker.table.reads[PRETRAIN])
        instance = _Instance(
            study.model,
            _vocabulary(prepared),
            study.next_sentence,
            len(names),
            prepared.sequence_length,
            phase.max_predictions or study.masking.max_predictions,
        )
        own = replace(study.arms[arm], reference=None)
        balancer = arm_balancer(arm, own, names, instance.model(), Path(), 0)
        more = instance.gradient_flops() if balancer.needs_task_gradients else 0
        found.append(
            Work(
                f"at {instance.length} pieces",
                "tokens",
                how.precision,
                int(count),
                how.batch_size * instance.length,
                how.batch_size * (instance.flops() + more),
                sum(each.numel() for each in instance.model().parameters()),
            )
        )
    return found


def fine_tuning(maker: BertRuns) -> list[Work]:
    """One run of every task, repeated over its seeds; all examples as long as they may be."""
    study, found = maker.configuration, []
    how = study.fine_tuning
    vocabulary = _vocabulary(_preparation(maker, maker.table.reads[PRETRAIN]))
    for name in dict.fromkeys(how.tasks):
        examples = min(_examples(maker, name), how.max_train_examples or 10**12)
        flops, parameters = _classifier_flops(
            study.model, vocabulary, TASKS[name].outputs, how.sequence_length
        )
        found.append(
            Work(
                TASKS[name].title,
                "tokens",
                how.precision,
                math.ceil(how.epochs * math.ceil(examples / how.batch_size)),
                how.batch_size * how.sequence_length,
                how.batch_size * flops,
                parameters,
                len(set(how.seeds)),
            )
        )
    return found


def _preparation(maker: BertRuns, name: str) -> Preparation:
    data = maker.data or Path()
    found: Preparation = preparation_of(BertStudy, maker.study, maker.table, name, data, maker.more)
    return found


def _vocabulary(prepared: Preparation) -> int:
    return prepared.vocabulary_size if prepared.vocabulary is None else PUBLISHED_VOCABULARY


def _examples(maker: BertRuns, task: str) -> int:
    """For training: as many as are there, or else as GLUE has."""
    name = maker.table.reads.get("glue")
    if name is None:
        return generated.SIZES["train"]
    where = (maker.data or Path()) / maker.table.data[name].path
    if maker.data is not None and where.exists():
        return len(read_task(TASKS[task], where).train)
    return TASKS[task].rows["train"]


def _names(study: BertStudy, arm: str) -> list[str]:
    return task_names(
        study.arms[arm].grouping or study.grouping,
        other_is_task=study.other_is_task,
        next_sentence_is_task=study.next_sentence == "task",
    )


@dataclass(frozen=True)
class _Instance:
    """One sentence pair through the model, without values."""

    size: ModelSize
    vocabulary: int
    next_sentence: str
    tasks: int
    length: int
    predictions: int

    @cache  # noqa: B019 - a few models, which have no values
    def model(self) -> PosBertForPreTraining:
        options = {"next_sentence": self.next_sentence, "next_sentence_task": self.tasks - 1}
        with torch.device("meta"):
            return PosBertForPreTraining(bert_config(self.size, self.vocabulary, **options))

    def sums(self) -> Tensor:
        """Losses ``[T]`` or, with an added one, ``[T + 1]``."""
        with torch.device("meta"):
            pieces = torch.zeros(1, self.length, dtype=torch.long)
            masked = torch.zeros(1, self.predictions, dtype=torch.long)
            outputs = self.model()(
                pieces,
                masked_positions=masked,
                mlm_labels=masked,
                task_ids=masked,
                token_type_ids=pieces,
                next_sentence_label=pieces[:, 0],
            )
            return output_sums(outputs, self.tasks).sums

    @cache  # noqa: B019
    def flops(self) -> int:
        """Forward and backward."""
        return step_flops(lambda: self.sums().sum())

    @cache  # noqa: B019
    def gradient_flops(self) -> int:
        """What GradNorm adds."""
        shared = list(self.model().cls.predictions.transform.dense.parameters())
        return gradient_flops(lambda: self.sums()[: self.tasks], shared)


@cache
def _classifier_flops(
    size: ModelSize, vocabulary: int, outputs: int, length: int
) -> tuple[int, int]:
    """FLOPs of an example, and parameters."""
    with torch.device("meta"):
        config = bert_config(size, vocabulary, num_labels=outputs)
        model = BertForSequenceClassification(config)
        pieces = torch.zeros(1, length, dtype=torch.long)
    flops = step_flops(lambda: model(pieces, token_type_ids=pieces).logits.sum())
    return flops, sum(each.numel() for each in model.parameters())
