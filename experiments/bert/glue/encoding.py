"""Examples as pieces of a model's vocabulary."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from experiments.bert.glue.examples import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Encoded"]

_CHUNK = 10_000
"""Examples tokenised at once; bounds the memory for offsets and masks, which are not kept."""


class Encoded(torch.utils.data.Dataset[dict[str, Any]]):
    """A split, tokenised once and not padded.

    Args:
        examples: the split; without labels, items have none.
        tokenizer: of the model.
        length: pieces at most, special ones included; the longer sentence of a pair is cut first.
        whole_labels: whether labels are class ids.
    """

    def __init__(
        self,
        examples: Examples,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        *,
        whole_labels: bool,
    ) -> None:
        self.columns: dict[str, list[NDArray[np.int32]]] = {}
        self.cut = 0
        for start in range(0, len(examples), _CHUNK):
            chosen = slice(start, start + _CHUNK)
            second = None if examples.second is None else list(examples.second[chosen])
            encoded = tokenizer(
                list(examples.first[chosen]),
                second,
                truncation="longest_first",
                max_length=length,
                return_attention_mask=False,
            )
            self.cut += sum(bool(each.overflowing) for each in encoded.encodings)
            for name, rows in encoded.items():
                self.columns.setdefault(name, []).extend(np.array(row, np.int32) for row in rows)
        labels = None if examples.labels is None else examples.labels.tolist()
        self.labels = [int(each) for each in labels] if labels and whole_labels else labels
        self.size = len(examples)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {name: rows[index].tolist() for name, rows in self.columns.items()}
        if self.labels is not None:
            item["labels"] = self.labels[index]
        return item
