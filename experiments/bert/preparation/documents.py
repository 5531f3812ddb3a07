"""What flows through the preparation: documents of sentences, tagged or not."""

from dataclasses import dataclass

__all__ = ["Document", "Spans", "TaggedSentence"]

Spans = tuple[tuple[int, int], ...]
"""Character spans ``[start, end)`` of tokens in a raw sentence."""


@dataclass(frozen=True)
class TaggedSentence:
    """A raw sentence, with character spans and Penn Treebank tags of its tokens where known."""

    text: str
    spans: Spans = ()
    tags: tuple[str, ...] = ()

    @property
    def tagged(self) -> bool:
        """Whether tokens and tags are known."""
        return bool(self.spans)


@dataclass(frozen=True)
class Document:
    """A document: where it is from, and its sentences."""

    name: str
    sentences: tuple[TaggedSentence, ...]
    paragraphs: bool = False
    """Whether the sentences are whole paragraphs, still to be split."""
