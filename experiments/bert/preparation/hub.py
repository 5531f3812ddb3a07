"""Documents from data sets in the format of the Hugging Face Hub, remote or in a local folder."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Value, load_dataset
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

from experiments.bert.preparation.documents import Document, TaggedSentence
from experiments.bert.preparation.tagger import split_sentences
from experiments.configuration import ConfigurationError

__all__ = ["HubTexts", "parse"]

_PEEK = 1000
"""Rows from which we tell whether rows are sentences or whole documents."""
_RUN = 100
"""Rows that make a document, where rows are sentences and no blank row separates documents."""


@dataclass(frozen=True)
class HubTexts:
    """The texts of a data set: a row is a document of paragraphs, or a sentence.

    Wikipedia has an article a row. Books come as one sentence a row, without marks between books;
    there, 100 rows in a row count as a document.
    """

    name: str
    rows: Dataset
    column: str
    rows_are_sentences: bool

    @staticmethod
    def load(source: str) -> "HubTexts":
        """Load the training split; downloads are cached by ``datasets``, and work offline then.

        Args:
            source: ``id[:config][@column]``; without a column "text", or the only one with strings.

        Raises:
            ConfigurationError: the data set cannot be loaded or has no such column.
        """
        name, config, column = parse(source)
        try:
            rows = load_dataset(name, config, split="train")
        except (OSError, ValueError, RuntimeError, DatasetNotFoundError) as error:
            raise _failure(source, error) from error
        except DatasetGenerationError as error:
            raise _failure(source, error.__cause__ or error) from error
        column = _text_column(rows, column, source)
        rows = rows.select_columns([column])
        return HubTexts(source, rows, column, _rows_are_sentences(rows, column))

    @property
    def fingerprint(self) -> str:
        """What ``datasets`` says identifies the rows."""
        return str(self.rows._fingerprint)

    def documents(self) -> Iterator[Document]:
        """All documents, those of articles with paragraphs still to be split into sentences."""
        texts = (text for rows in self.rows.iter(1000) for text in rows[self.column])
        if not self.rows_are_sentences:
            for number, text in enumerate(texts):
                paragraphs = tuple(TaggedSentence(line) for line in _lines(text))
                if paragraphs:
                    yield Document(f"{self.name}:{number}", paragraphs, paragraphs=True)
            return
        run: list[TaggedSentence] = []
        for number, text in enumerate(texts):
            lines = _lines(text)
            run += map(TaggedSentence, lines)
            if run and (not lines or len(run) >= _RUN):
                yield Document(f"{self.name}:{number}", tuple(run))
                run = []
        if run:
            yield Document(f"{self.name}:end", tuple(run))


def parse(source: str) -> tuple[str, str | None, str | None]:
    """Id (or folder), configuration and column of ``id[:config][@column]``."""
    rest, at, column = source.rpartition("@")
    rest, column = (rest, column) if at and not Path(source).is_dir() else (source, "")
    if Path(rest).is_dir():
        return rest, None, column or None
    name, _, config = rest.rpartition(":") if ":" in rest else (rest, "", "")
    return name, config or None, column or None


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _rows_are_sentences(rows: Dataset, column: str) -> bool:
    """Whether at most one of ten rows with text, among the first thousand, has two sentences."""
    filled = [lines for text in islice(rows[column], _PEEK) if (lines := _lines(text))]
    several = sum(len(lines) > 1 or len(split_sentences(lines[0])) > 1 for lines in filled)
    return several <= 0.1 * len(filled)


def _text_column(rows: Dataset, column: str | None, source: str) -> str:
    texts = [
        name
        for name, feature in rows.features.items()
        if isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    ]
    if column is None and "text" in texts:
        column = "text"
    elif column is None and len(texts) == 1:
        column = texts[0]
    if column is None or column not in texts:
        near = difflib.get_close_matches(column or "", texts, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"`preparation.hub`: {source!r} should name a column of strings after @; found "
            f"{column!r} among {', '.join(texts) or 'no such columns'}{hint}"
        )
    return column


def _failure(source: str, error: Any) -> ConfigurationError:
    return ConfigurationError(
        f"`preparation.hub`: {source!r} cannot be loaded ({type(error).__name__}: {error}); check "
        "id and configuration and the network, or download the data set and give its folder. "
        "Loading scripts are not run: find a copy in Parquet or text"
    )
