"""From documents to pieces with classes: what the workers of the preparation do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Features, List, Value
from transformers import AutoTokenizer

from experiments.bert.preparation.alignment import align
from experiments.bert.preparation.documents import TaggedSentence
from experiments.bert.preparation.tagger import search_nltk_data, split_sentences, tagger_named
from experiments.bert.tags import OTHER, class_of_tag

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEATURES", "STATISTICS", "Annotator", "rows_of"]

STATISTICS = ("sentences", "words", "tokens", "unknown", "unaligned", "straddling")
"""Counts that are kept with each document: of sentences with a piece, of words between white space,
of tagged tokens, and of pieces: [UNK], and others that are unaligned or straddle (`Alignment`)."""

FEATURES = Features(
    {
        "input_ids": List(Value("uint16")),
        "pos": List(Value("int8")),
        "lengths": List(Value("int32")),
        **{name: Value("int64") for name in STATISTICS},
    }
)
"""Columns of annotated documents: pieces, their classes, pieces of each sentence, counts."""


@dataclass(frozen=True)
class Annotator:
    """Tag, tokenize and align; for ``datasets`` ``map(batched=True)``.

    [UNK] is of class `OTHER`: to predict it is no task of a part of speech. The other special
    pieces, should the text spell one out, are replaced by it.

    Args:
        tokenizer: folder of a WordPiece tokenizer.
        tagger: "nltk" or "gold".
        nltk_data: a folder where NLTK's data may be, besides those that NLTK knows.
    """

    tokenizer: Path
    tagger: str
    nltk_data: Path | None = None

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Rows of `FEATURES` from rows of `sources.FEATURES`."""
        if self.nltk_data is not None:
            search_nltk_data(self.nltk_data)
        columns: dict[str, list[Any]] = {name: [] for name in FEATURES}
        for row in rows_of(batch):
            for name, value in self._annotated(_sentences(row)).items():
                columns[name].append(value)
        return columns

    def _annotated(self, sentences: Sequence[TaggedSentence]) -> dict[str, Any]:
        special, unknown = _special_pieces(self.tokenizer)
        tagger = tagger_named(self.tagger)
        texts = [sentence.text for sentence in sentences]
        encodings = _backend(self.tokenizer).encode_batch(texts, add_special_tokens=False)
        pieces: list[NDArray[np.uint16]] = []
        classes: list[NDArray[np.int8]] = []
        counts = dict.fromkeys(STATISTICS, 0)
        for sentence, encoding in zip(sentences, encodings, strict=True):
            counts["words"] += len(sentence.text.split())
            if not encoding.ids:
                continue
            spans, tags = tagger(sentence)
            aligned = align(encoding.offsets, spans, [class_of_tag(tag) for tag in tags])
            ids = np.asarray(encoding.ids)
            is_special = np.isin(ids, special)
            pieces.append(np.where(is_special, unknown, ids).astype(np.uint16))
            classes.append(np.where(is_special, OTHER, aligned.classes).astype(np.int8))
            counts["sentences"] += 1
            counts["tokens"] += len(spans)
            counts["unknown"] += int(is_special.sum())
            counts["unaligned"] += int((aligned.unaligned & ~is_special).sum())
            counts["straddling"] += int((aligned.straddling & ~is_special).sum())
        return {
            "input_ids": np.concatenate(pieces) if pieces else np.empty(0, np.uint16),
            "pos": np.concatenate(classes) if classes else np.empty(0, np.int8),
            "lengths": [len(each) for each in pieces],
            **counts,
        }


def rows_of(batch: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The rows of a batch of columns."""
    return [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]


def _sentences(row: Mapping[str, Any]) -> list[TaggedSentence]:
    """Sentences of a document, split here if it has paragraphs."""
    if row["paragraphs"]:
        return [
            TaggedSentence(text)
            for paragraph in row["sentences"]
            for text in split_sentences(paragraph)
        ]
    if not row["tags"]:
        return [TaggedSentence(text) for text in row["sentences"]]
    return [
        TaggedSentence(text, tuple(zip(ends[::2], ends[1::2], strict=True)), tuple(tags))
        for text, ends, tags in zip(row["sentences"], row["spans"], row["tags"], strict=True)
    ]


@cache
def _backend(folder: Path) -> Any:
    """The tokenizer in Rust, which neither truncates nor pads."""
    backend = AutoTokenizer.from_pretrained(str(folder)).backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


@cache
def _special_pieces(folder: Path) -> tuple[list[int], int]:
    """Ids of all special pieces, and that of [UNK]."""
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return list(tokenizer.all_special_ids), int(tokenizer.unk_token_id)
