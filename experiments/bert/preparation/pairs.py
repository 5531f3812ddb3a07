"""Sentence pairs for next-sentence prediction, as BERT makes them (Devlin et al., 2019).

Pairs never straddle documents. Sentences are collected up to a target length; a random cut ends
segment A; B is the rest, or, half of the time (always, if there is but one sentence), a run of
sentences of another document, and the sentences that B would have had go back to the pool.

Segments are runs of pieces of a document, so that only the edges of the sentences are needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from experiments.bert.preparation.corpus import Corpus
from experiments.bert.tags import OTHER

__all__ = ["FEATURES", "Pair", "PairMaker", "Segment", "make_pairs"]

Edges = NDArray[np.int64]
"""``[sentences + 1]`` edges of the sentences of a document, in pieces; the first is 0."""

FEATURES = Features(
    {
        "input_ids": List(Value("uint16")),
        "pos": List(Value("int8")),
        "first_length": Value("uint16"),
        "next_sentence_label": Value("int8"),
    }
)
"""Columns of instances: [CLS] A [SEP] B [SEP], classes (`OTHER` for special pieces), pieces of
[CLS] A [SEP], and 1 if B is random."""


class Segment(NamedTuple):
    """Pieces ``[begin, end)`` of a document; at least one."""

    document: int
    begin: int
    end: int


class Pair(NamedTuple):
    """Two segments, and whether the second is from a random document."""

    first: Segment
    second: Segment
    is_random: bool


@dataclass(frozen=True)
class PairMaker:
    """All instances of documents; for ``datasets`` ``map(batched=True)``.

    Args:
        corpus: the annotated documents; rows are numbered as it numbers them.
        cls_id: piece of [CLS].
        sep_id: piece of [SEP].
        sequence_length: pieces of an instance at most.
        short_pair_probability: see `make_pairs`.
        seed: with the number of a document, it decides on all that is drawn for it.
    """

    corpus: Corpus
    cls_id: int
    sep_id: int
    sequence_length: int
    short_pair_probability: float
    seed: tuple[int, ...]

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Rows of `FEATURES` from a column "document"."""
        columns: dict[str, list[Any]] = {name: [] for name in FEATURES}
        for document in batch["document"]:
            pairs = make_pairs(
                self.corpus,
                document,
                np.random.default_rng([*self.seed, document]),
                sequence_length=self.sequence_length,
                short_pair_probability=self.short_pair_probability,
            )
            for pair in pairs:
                for name, value in self._instance(pair).items():
                    columns[name].append(value)
        return columns

    def _instance(self, pair: Pair) -> dict[str, Any]:
        other = np.array([OTHER], np.int8)
        cls, sep = (np.array([piece], np.uint16) for piece in (self.cls_id, self.sep_id))
        first, second = (self.corpus.pieces(*segment) for segment in pair[:2])
        pos, next_pos = (self.corpus.classes(*segment) for segment in pair[:2])
        return {
            "input_ids": np.concatenate([cls, first, sep, second, sep]),
            "pos": np.concatenate([other, pos, other, next_pos, other]),
            "first_length": len(first) + 2,
            "next_sentence_label": int(pair.is_random),
        }


def make_pairs(
    documents: Sequence[Edges],
    index: int,
    rng: np.random.Generator,
    *,
    sequence_length: int,
    short_pair_probability: float,
) -> Iterator[Pair]:
    """All pairs that start in one document.

    Args:
        documents: edges of sentences, none of which is empty; random segments come from the others
            (from the same one after ten draws of it, as BERT's do, or if there is no other).
        index: the document that is cut up.
        rng: draws everything, so that a document's pairs depend on nothing else.
        sequence_length: pieces of a pair with its three special ones, at most.
        short_pair_probability: chance, once a document, of a target length drawn uniformly from
            2 up to the largest.

    Yields:
        Pairs of at most ``sequence_length - 3`` pieces.
    """
    largest = sequence_length - 3
    short = rng.random() < short_pair_probability
    target = int(rng.integers(2, largest + 1)) if short else largest
    edges = documents[index]
    sentences = len(edges) - 1
    begin = 0
    while begin < sentences:
        filled = int(np.searchsorted(edges, edges[begin] + target))
        end = min(filled, sentences)
        cut = begin + (int(rng.integers(1, end - begin)) if end - begin > 1 else 1)
        first = Segment(index, int(edges[begin]), int(edges[cut]))
        is_random = end - begin == 1 or rng.random() < 0.5
        if is_random:
            wanted = target - (first.end - first.begin)
            second = _random_segment(documents, index, rng, wanted)
            begin = cut  # what B would have had is used again
        else:
            second = Segment(index, int(edges[cut]), int(edges[end]))
            begin = end
        yield Pair(*_truncated(first, second, largest, rng), is_random)


def _random_segment(
    documents: Sequence[Edges], index: int, rng: np.random.Generator, wanted: int
) -> Segment:
    """Sentences of another document from a random one on, until they fill what is wanted."""
    other = index
    for _ in range(10):
        other = int(rng.integers(0, len(documents)))
        if other != index:
            break
    edges = documents[other]
    sentences = len(edges) - 1
    begin = int(rng.integers(0, sentences))
    end = min(max(begin + 1, int(np.searchsorted(edges, edges[begin] + wanted))), sentences)
    return Segment(other, int(edges[begin]), int(edges[end]))


def _truncated(
    first: Segment, second: Segment, largest: int, rng: np.random.Generator
) -> tuple[Segment, Segment]:
    """Drop pieces of the longer segment, front or back at random, until both fit."""
    (a, a_end), (b, b_end) = first[1:], second[1:]
    while a_end - a + b_end - b > largest:
        front = rng.random() < 0.5
        if a_end - a > b_end - b:
            a, a_end = (a + 1, a_end) if front else (a, a_end - 1)
        else:
            b, b_end = (b + 1, b_end) if front else (b, b_end - 1)
    return Segment(first.document, a, a_end), Segment(second.document, b, b_end)
