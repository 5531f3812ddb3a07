"""Documents with gold tags from CoNLL-U, as Universal Dependencies are distributed.

The Penn Treebank tag is the fifth column (XPOS); tokens are found in the raw sentence of the
``# text`` line; ``# newdoc`` begins a document.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from experiments.bert.preparation.documents import Document, TaggedSentence
from experiments.bert.tags import class_of_tag
from experiments.configuration import ConfigurationError

__all__ = ["conllu_documents"]

_COLUMNS = 10


@dataclass
class _Word:
    """A syntactic word and the line it is on."""

    line: int
    form: str
    tag: str


@dataclass
class _Surface:
    """A stretch of text and the words it consists of: several for a multiword token."""

    line: int
    form: str
    words: list[_Word]


@dataclass
class _Sentence:
    """What has been read of a sentence."""

    text: str | None = None
    surfaces: list[_Surface] = field(default_factory=list)
    until: int = 0
    """Number of the last word of the multiword token that is being read."""


def conllu_documents(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Document]:
    """Documents of a CoNLL-U file; all of it is one, if it has no ``# newdoc``.

    Words of a multiword token get spans of their own if they make up its text ("don't" = do +
    n't); else the token as a whole has the tag of its first word. Empty nodes have no text and are
    left out.

    Args:
        lines: line numbers and lines without white space around them.
        name: of the file, for errors and names of documents.

    Raises:
        ConfigurationError: lines that are no CoNLL-U, tags that the tag table lacks, words that are
            not in their sentence; the message names file and line.
    """
    document = "1"
    sentences: list[TaggedSentence] = []
    sentence = _Sentence()
    number = 0
    for number, line in lines:
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "text":
                sentence.text = value.strip()
            elif key.split()[:1] == ["newdoc"]:
                if sentences:
                    yield Document(f"{name}:{document}", tuple(sentences))
                document, sentences = value.strip() or str(number), []
        elif line:
            _read_word(sentence, line, f"{name}, line {number}", number)
        elif sentence.surfaces:
            sentences.append(_tagged(sentence, name))
            sentence = _Sentence()
    if sentence.surfaces:
        sentences.append(_tagged(sentence, name))
    if sentences:
        yield Document(f"{name}:{document}", tuple(sentences))


def _read_word(sentence: _Sentence, line: str, place: str, number: int) -> None:
    """Add a line of ten columns to a sentence."""
    columns = line.split("\t")
    if len(columns) != _COLUMNS:
        raise ConfigurationError(
            f"{place}: CoNLL-U has {_COLUMNS} columns between tabs; found {len(columns)}"
        )
    identifier, form, tag = columns[0], columns[1], columns[4]
    begin, hyphen, end = identifier.partition("-")
    if "." in identifier:  # an empty node
        return
    if not begin.isdecimal() or (hyphen and not end.isdecimal()):
        raise ConfigurationError(
            f"{place}: the first column should be a number n, a range n-m or an empty node n.m; "
            f"found {identifier!r}"
        )
    if hyphen:
        sentence.surfaces.append(_Surface(number, form, []))
        sentence.until = int(end)
        return
    try:
        class_of_tag(tag)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from None
    if int(begin) > sentence.until or not sentence.surfaces:
        sentence.surfaces.append(_Surface(number, form, []))
    sentence.surfaces[-1].words.append(_Word(number, form, tag))


def _tagged(sentence: _Sentence, name: str) -> TaggedSentence:
    """The sentence with spans, found in its text one after the other."""
    if sentence.text is None:
        raise ConfigurationError(
            f"{name}, line {sentence.surfaces[0].line}: a sentence without a `# text =` line; "
            "Universal Dependencies prescribe it"
        )
    spans, tags = [], []
    position = 0
    for surface in sentence.surfaces:
        start = sentence.text.find(surface.form, position)
        if start < 0:
            raise ConfigurationError(
                f"{name}, line {surface.line}: the word {surface.form!r} is not in its sentence "
                f"from character {position} on: {sentence.text!r}"
            )
        if not surface.words:
            raise ConfigurationError(
                f"{name}, line {surface.line}: the multiword token {surface.form!r} has no words"
            )
        for begin, end, tag in _parts(surface):
            spans.append((start + begin, start + end))
            tags.append(tag)
        position = start + len(surface.form)
    return TaggedSentence(sentence.text, tuple(spans), tuple(tags))


def _parts(surface: _Surface) -> Iterator[tuple[int, int, str]]:
    """Spans within the text of a token, and their tags."""
    if "".join(word.form for word in surface.words) != surface.form:
        yield 0, len(surface.form), surface.words[0].tag
        return
    position = 0
    for word in surface.words:
        yield position, position + len(word.form), word.tag
        position += len(word.form)
