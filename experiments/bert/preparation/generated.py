"""Documents of a small generated English, with known tags for all nine parts of speech.

A grammar in data: templates of tags, and words of each tag. Subjects and verbs agree in number, a
document keeps to one topic (its nouns and verbs), so that there is something to learn for
masked pieces and for next sentences. No tagger and no download is needed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from experiments.bert.preparation.documents import Document, TaggedSentence

__all__ = ["GRAMMAR", "generated_documents"]

GRAMMAR = Path(__file__).with_name("grammar.yaml")


def generated_documents(count: int, seed: int) -> Iterator[Document]:
    """Documents of 5 to 15 sentences about one topic each.

    Args:
        count: number of documents.
        seed: document n depends on (seed, n) only.

    Yields:
        Documents with gold Penn Treebank tags.
    """
    grammar = yaml.safe_load(GRAMMAR.read_text(encoding="utf-8"))
    topics = sorted(grammar["topics"])
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        words = {**grammar["words"], **grammar["topics"][topics[rng.integers(len(topics))]]}
        sentences = tuple(
            _sentence(grammar["templates"], words, rng) for _ in range(rng.integers(5, 16))
        )
        yield Document(f"generated {number}", sentences)


def _sentence(
    templates: list[str], words: dict[str, list[str]], rng: np.random.Generator
) -> TaggedSentence:
    """A template filled with words; the first word gets a capital, the stop no space before it."""
    text, spans, tags = "", [], []
    for slot in templates[rng.integers(len(templates))].split():
        choices, tag = words[slot], slot.partition("/")[0]
        # Zipf's law within a tag, so that words have frequencies worth learning.
        chance = 1 / np.arange(1, len(choices) + 1)
        word = str(rng.choice(choices, p=chance / chance.sum()))
        word = word if text else word.capitalize()
        text += "" if not text or tag in {".", ","} else " "
        spans.append((len(text), len(text) + len(word)))
        tags.append(tag)
        text += word
    return TaggedSentence(text, tuple(spans), tuple(tags))
