"""Taggers: NLTK's averaged perceptron on raw sentences, or the gold tags of the input.

The perceptron was trained on the Penn Treebank and guesses content words for marks it never saw: a
plain " came out as a noun or an adjective 9 times in 10. So it is shown the Treebank's own tokens
(`` and '' for quotes, round brackets, -- for dashes); spans are those of the raw sentence.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import nltk
from nltk.tag.perceptron import PerceptronTagger
from nltk.tokenize import NLTKWordTokenizer, PunktTokenizer

from experiments.bert.preparation.documents import Spans, TaggedSentence
from experiments.bert.preparation.perceptron import ArrayPerceptron
from experiments.configuration import ConfigurationError

__all__ = [
    "GoldTagger",
    "NltkTagger",
    "Tagger",
    "search_nltk_data",
    "split_sentences",
    "tagger_named",
]

# Same number of characters, so that spans stay: typographic marks, as the tokenizer knows them.
_PLAIN_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»", '"'),
        **dict.fromkeys("’‛", "'"),
        "‘": "`",
        **dict.fromkeys("‐‑", "-"),
    }
)
# WikiText's unknown word, so that the words around it are not tagged as if in brackets.
_UNKNOWN = ("[UNK]", " UNK ")
_PENN_TOKENS = {
    **dict.fromkeys("[{", "("),
    **dict.fromkeys("]}", ")"),
    **dict.fromkeys("–—―", "--"),
    "…": "...",
}
_QUOTES = ("``", "''")
_QUOTE_MARKS = ('"', "``", "''")


class Tagger(Protocol):
    """Tokens of a sentence and their Penn Treebank tags."""

    def __call__(self, sentence: TaggedSentence) -> tuple[Spans, Sequence[str]]:
        """Spans in the raw sentence, ascending, and a tag each."""

    def digest(self) -> str:
        """What identifies the model."""


class NltkTagger:
    """NLTK's averaged perceptron on the original, cased sentence; loading takes a second.

    Raises:
        ConfigurationError: NLTK does not find its model.
    """

    def __init__(self) -> None:
        self._words = NLTKWordTokenizer()
        try:
            self._tagger = PerceptronTagger()
        except LookupError:
            raise _missing("averaged_perceptron_tagger_eng") from None
        self._tagger.model = ArrayPerceptron(self._tagger.model)

    def __call__(self, sentence: TaggedSentence) -> tuple[Spans, Sequence[str]]:
        """Tokenize a raw sentence as the Penn Treebank does, and tag it."""
        plain = sentence.text.replace(*_UNKNOWN).translate(_PLAIN_CHARACTERS)
        tokens = self._words.tokenize(plain)
        spans = tuple(_spans(tokens, plain))
        shown = [_PENN_TOKENS.get(token, token) for token in tokens]
        tags = self.tag(shown)
        return (
            tuple(span for span in spans if span is not None),
            [tag for tag, span in zip(tags, spans, strict=True) if span is not None],
        )

    def tag(self, tokens: Sequence[str]) -> list[str]:
        """Penn Treebank tags of given tokens."""
        return [tag for _, tag in self._tagger.tag(tokens)]

    def digest(self) -> str:
        """Hash of the model."""
        weights, known, classes = self._tagger.encode_json_obj()
        content = json.dumps([weights, known, sorted(classes)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


class GoldTagger:
    """The tags that a sentence came with."""

    def __call__(self, sentence: TaggedSentence) -> tuple[Spans, Sequence[str]]:
        """Spans and tags of the input."""
        return sentence.spans, sentence.tags

    def digest(self) -> str:
        """There is no model."""
        return "gold"


@cache
def tagger_named(name: str) -> Tagger:
    """The tagger "nltk" or "gold", loaded once a process."""
    return NltkTagger() if name == "nltk" else GoldTagger()


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph, by NLTK's Punkt model for English.

    Raises:
        ConfigurationError: NLTK does not find the model.
    """
    sentences: list[str] = _punkt().tokenize(paragraph)
    return sentences


def search_nltk_data(folder: Path) -> None:
    """Let NLTK look for its data in a folder too, if there is such a folder."""
    if folder.is_dir() and str(folder) not in nltk.data.path:
        nltk.data.path.append(str(folder))


@cache
def _punkt() -> PunktTokenizer:
    try:
        return PunktTokenizer("english")
    except LookupError:
        raise _missing("punkt_tab") from None


def _missing(resource: str) -> ConfigurationError:
    return ConfigurationError(
        f'NLTK does not find its data {resource!r}. Fetch it once with python -c "import nltk; '
        f"nltk.download('{resource}')\", or set NLTK_DATA to a folder that has it; looked in: "
        f"{', '.join(nltk.data.path)}"
    )


def _spans(tokens: Sequence[str], text: str) -> Iterator[tuple[int, int] | None]:
    """Where the tokens are, one after the other; None for one that cannot be found.

    As NLTK's own `span_tokenize`, but a quote that the tokenizer rewrote never raises.
    """
    position = 0
    for token in tokens:
        forms = _QUOTE_MARKS if token in _QUOTES else (token,)
        found = [(text.find(form, position), len(form)) for form in forms]
        places = [(start, start + length) for start, length in found if start >= 0]
        if not places:
            yield None
            continue
        span = min(places)
        position = span[1]
        yield span
