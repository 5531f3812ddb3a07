"""BERT pre-training with a risk a part of speech, and the vocabulary head on masked pieces only."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertForPreTraining
from transformers.utils import ModelOutput

from experiments.bert.configuration import ModelSize
from taskrobust import cross_entropy

__all__ = ["PosBertForPreTraining", "PosBertOutput", "bert_config"]

IGNORED = -100


@dataclass
class PosBertOutput(ModelOutput):  # type: ignore[misc]
    """Losses for `TaskRobustTrainer` (see `taskrobust.trainer.outputs.output_sums`)."""

    task_values: Tensor | None = None
    """Cross-entropies in nats, float32: of the masked pieces ``[B·K]``, then, if next-sentence
    prediction is a task, of the pairs ``[B]``."""
    task_groups: Tensor | None = None
    """Task ids of the same shape; -100 where there is no masked piece."""
    auxiliary_values: Tensor | None = None
    """Next-sentence cross-entropies ``[B]``, if they are added outside the balancing."""


class PosBertForPreTraining(BertForPreTraining):  # type: ignore[misc]
    """BERT pre-training with a fixed number K of masked positions an instance.

    Parameters, names and checkpoints are those of `BertForPreTraining`, so that every
    ``AutoModel…`` class loads them. Equal loss at a fraction of the cost: the head sees B·K rows,
    not B·S.

    Args:
        config: `transformers.BertConfig`; `next_sentence` ("added", "task" or "off") and, for
            "task", its id `next_sentence_task` are read from it.
    """

    # The Trainer must not hand `num_items_in_batch` to the model, nor divide or multiply its loss.
    accepts_loss_kwargs = False

    def forward(
        self,
        input_ids: Tensor,
        masked_positions: Tensor,
        mlm_labels: Tensor,
        task_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
    ) -> PosBertOutput:
        """Losses of the masked pieces and of the sentence pairs.

        Args:
            input_ids: ``[B, S]``, masked.
            masked_positions: ``[B, K]`` indices into S; 0 where an instance has fewer.
            mlm_labels: ``[B, K]`` original pieces; -100 where an instance has fewer.
            task_ids: ``[B, K]`` task of each masked piece; ids that are no task take no part.
            attention_mask: ``[B, S]``.
            token_type_ids: ``[B, S]``.
            next_sentence_label: ``[B]``, 1 if the second segment is random.

        Returns:
            Losses by task.
        """
        hidden = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        index = masked_positions.unsqueeze(-1).expand(-1, -1, hidden[0].shape[-1])
        masked = hidden[0].gather(1, index).flatten(0, 1)
        labels = mlm_labels.flatten()
        values = cross_entropy(self.cls.predictions(masked), labels)
        groups = torch.where(labels == IGNORED, IGNORED, task_ids.flatten())
        mode = getattr(self.config, "next_sentence", "added")
        scores = self.cls.seq_relationship(hidden[1])
        if mode == "off" or next_sentence_label is None:
            # Zero gradients keep the unused head in the graph, as data parallelism wants it.
            return PosBertOutput(task_values=values + 0.0 * scores.sum(), task_groups=groups)
        pairs = cross_entropy(scores, next_sentence_label)
        if mode == "added":
            return PosBertOutput(task_values=values, task_groups=groups, auxiliary_values=pairs)
        task = torch.full_like(next_sentence_label, self.config.next_sentence_task)
        return PosBertOutput(
            task_values=torch.cat([values, pairs]), task_groups=torch.cat([groups, task])
        )


def bert_config(size: ModelSize, vocabulary: int, **options: Any) -> BertConfig:
    """BERT's configuration with sizes of ours; LayerNorm ε 1e-12, GELU, N(0, 0.02) as in BERT.

    Args:
        size: layers, widths, dropout.
        vocabulary: number of pieces.
        options: more fields, such as `next_sentence`.
    """
    return BertConfig(
        vocab_size=vocabulary,
        num_hidden_layers=size.layers,
        hidden_size=size.hidden,
        num_attention_heads=size.heads,
        intermediate_size=size.intermediate or 4 * size.hidden,
        max_position_embeddings=size.positions,
        hidden_dropout_prob=size.dropout,
        attention_probs_dropout_prob=size.dropout,
        **options,
    )
