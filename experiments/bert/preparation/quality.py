"""How well NLTK's tagger finds gold tags and classes, where the text came with them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from experiments.bert.preparation.annotate import Annotator, rows_of
from experiments.bert.preparation.tagger import NltkTagger
from experiments.bert.tags import CLASSES, class_of_tag

__all__ = ["TaggerQuality", "tagger_quality"]


@dataclass(frozen=True)
class TaggerQuality:
    """Tagger against gold: on the gold tokens, and as a whole, on pieces.

    Attributes:
        tokens: gold tokens.
        exact: share of them with the very tag of the gold; tags that the tagger does not have
            (HYPH, -LRB- …) count as errors.
        confusion: ``[10, 10]`` gold tokens, by class in the gold and as found.
        pieces: pieces of the same sentences, tokenized by the preparation.
        pieces_agree: share of pieces of which tagging the raw sentence finds the gold class.
    """

    tokens: int
    exact: float
    confusion: NDArray[np.int64]
    pieces: int
    pieces_agree: float

    @property
    def ten_class(self) -> float:
        """Share of tokens of which the class is found."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON; a recall or precision without a token is None."""
        hits = np.diag(self.confusion)
        gold, found = self.confusion.sum(1), self.confusion.sum(0)
        interjections = self.confusion[CLASSES.index("interjection")]
        return {
            "tokens": self.tokens,
            "exact": self.exact,
            "ten_class": self.ten_class,
            "pieces": self.pieces,
            "pieces_agree": self.pieces_agree,
            "classes": {
                name: {
                    "gold": int(gold[c]),
                    "found": int(found[c]),
                    "recall": float(hits[c] / gold[c]) if gold[c] else None,
                    "precision": float(hits[c] / found[c]) if found[c] else None,
                }
                for c, name in enumerate(CLASSES)
            },
            "interjections_as": {name: int(interjections[c]) for c, name in enumerate(CLASSES)},
        }


def tagger_quality(splits: Iterable[Dataset], annotator: Annotator) -> TaggerQuality | None:
    """Compare NLTK's tagger with gold tags.

    Args:
        splits: rows of `sources.FEATURES`; documents without tags are left out.
        annotator: the one of the preparation, for the pieces.

    Returns:
        None if no document has gold tags.
    """
    tagger = NltkTagger()
    gold_annotator = Annotator(annotator.tokenizer, "gold")
    pairs: Counter[tuple[str, str]] = Counter()
    pieces = agree = 0
    for batch in chain.from_iterable(each.iter(batch_size=32) for each in splits if _tagged(each)):
        rows = [row for row in rows_of(batch) if row["tags"]]
        if not rows:
            continue
        for row in rows:
            for words, tags in _gold(row):
                pairs.update(zip(tags, tagger.tag(words), strict=True))
        tagged = {name: [row[name] for row in rows] for name in batch}
        gold, found = (each(tagged)["pos"] for each in (gold_annotator, annotator))
        pieces += sum(map(len, gold))
        agree += sum(int((g == f).sum()) for g, f in zip(gold, found, strict=True))
    tokens = sum(pairs.values())
    if not tokens:
        return None
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for (gold_tag, found_tag), count in pairs.items():
        confusion[class_of_tag(gold_tag), class_of_tag(found_tag)] += count
    exact = sum(count for (gold_tag, found_tag), count in pairs.items() if gold_tag == found_tag)
    return TaggerQuality(tokens, exact / tokens, confusion, pieces, agree / max(pieces, 1))


def _tagged(documents: Dataset) -> bool:
    """Whether any document has tags; a look at the lengths of a column."""
    return any(len(chunk.flatten()) for chunk in documents.data.column("tags").chunks)


def _gold(row: dict[str, Any]) -> list[tuple[list[str], list[str]]]:
    """Tokens and gold tags of each sentence of a document."""
    return [
        ([text[a:b] for a, b in zip(ends[::2], ends[1::2], strict=True)], tags)
        for text, ends, tags in zip(row["sentences"], row["spans"], row["tags"], strict=True)
    ]
