"""Sentence pairs for next-sentence prediction, as BERT makes them (Devlin et al., 2019).

Pairs never straddle documents. Sentences are collected up to a target length; a random cut ends
segment A; B is the rest, or, half of the time (always, if there is but one sentence), a run of
sentences of another document, and the sentences that B would have had go back to the pool.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Pair", "Sentence", "make_pairs"]

Sentence = Sequence[tuple[int, int]]
"""Pieces of a sentence, each with its part-of-speech class."""


@dataclass(frozen=True)
class Pair:
    """Two segments, without special pieces; at least one piece each."""

    first: tuple[tuple[int, int], ...]
    second: tuple[tuple[int, int], ...]
    is_random: bool


def make_pairs(
    documents: Sequence[Sequence[Sentence]],
    index: int,
    rng: np.random.Generator,
    *,
    sequence_length: int,
    short_pair_probability: float,
) -> Iterator[Pair]:
    """All pairs that start in one document.

    Args:
        documents: documents of sentences, none of which is empty; random segments come from the
            others (from the same one, if there is no other).
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
    document = documents[index]
    chunk: list[Sentence] = []
    position = 0
    while position < len(document):
        chunk.append(document[position])
        last = position == len(document) - 1
        if last or sum(map(len, chunk)) >= target:
            cut = int(rng.integers(1, len(chunk))) if len(chunk) > 1 else 1
            first = [piece for sentence in chunk[:cut] for piece in sentence]
            is_random = len(chunk) == 1 or rng.random() < 0.5
            if is_random:
                second = _random_segment(documents, index, rng, target - len(first))
                position -= len(chunk) - cut  # what B would have had is used again
            else:
                second = [piece for sentence in chunk[cut:] for piece in sentence]
            _truncate(first, second, largest, rng)
            yield Pair(tuple(first), tuple(second), is_random)
            chunk = []
        position += 1


def _random_segment(
    documents: Sequence[Sequence[Sentence]], index: int, rng: np.random.Generator, wanted: int
) -> list[tuple[int, int]]:
    """Sentences of another document from a random one on, until they fill what is wanted."""
    other = index
    for _ in range(10):
        other = int(rng.integers(0, len(documents)))
        if other != index:
            break
    document = documents[other]
    segment: list[tuple[int, int]] = []
    for sentence in document[int(rng.integers(0, len(document))) :]:
        segment += sentence
        if len(segment) >= wanted:
            break
    return segment


def _truncate(
    first: list[tuple[int, int]],
    second: list[tuple[int, int]],
    largest: int,
    rng: np.random.Generator,
) -> None:
    """Drop pieces of the longer segment, front or back at random, until both fit."""
    while len(first) + len(second) > largest:
        longer = first if len(first) > len(second) else second
        del longer[0 if rng.random() < 0.5 else -1]
