"""Documents of each split as ``datasets`` on disk, from files, the Hub, or the grammar."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError

from experiments.bert.configuration import Preparation
from experiments.bert.preparation.documents import Document, TaggedSentence
from experiments.bert.preparation.generated import generated_documents
from experiments.bert.preparation.hub import HubTexts
from experiments.bert.preparation.text import check_no_copies, find_files, read_documents
from experiments.configuration import ConfigurationError

__all__ = ["FEATURES", "LONGEST", "SPLITS", "Sources", "read_splits", "sources"]

SPLITS = ("train", "valid", "test")

LONGEST = 1000
"""Sentences of a row; a longer document, as a book without blank lines, has several, which pairs
of sentences take for documents of their own, but which are held out together."""

FEATURES = Features(
    {
        "sentences": List(Value("string")),
        "spans": List(List(Value("int32"))),
        "tags": List(List(Value("string"))),
        "paragraphs": Value("bool"),
        "words": Value("int64"),
        "document": Value("int64"),
    }
)
"""Columns of documents: raw sentences (or paragraphs), starts and ends and Penn tags of their
tokens where known (else no rows), words between white space, and number of the document."""


@dataclass(frozen=True)
class Sources:
    """Where the documents of a preparation come from, checked as far as it goes without reading."""

    preparation: Preparation
    folder: Path
    files: dict[str, tuple[Path, ...]]
    """Files by split, for local text."""
    hub: tuple[HubTexts, ...]

    def documents(self, split: str) -> Iterator[Document]:
        """Documents of a split, before any are held out."""
        if self.files:
            yield from read_documents(self.files.get(split, ()), self.folder)
        elif split == "train" and self.hub:
            for texts in self.hub:
                yield from texts.documents()
        elif split == "train":
            yield from generated_documents(
                self.preparation.generated_documents, self.preparation.seed
            )


def sources(preparation: Preparation, data: Path | None) -> Sources:
    """Find the files, or reach the Hub.

    Args:
        preparation: the configuration.
        data: folder of local text.

    Raises:
        ConfigurationError: no such folder, file or data set, or a file in two splits.
    """
    if preparation.source == "generated":
        return Sources(preparation, Path(), {}, ())
    if preparation.source == "hub":
        if not preparation.hub:
            raise ConfigurationError(
                "`preparation.hub` should name data sets, as id[:config][@column]; found none"
            )
        return Sources(preparation, Path(), {}, tuple(map(HubTexts.load, preparation.hub)))
    if data is None or not data.is_dir():
        raise ConfigurationError(
            f"--data should be the folder of the text, for `preparation.source` 'local'; found "
            f"{'nothing' if data is None else data}"
        )
    patterns = {split: getattr(preparation, split) for split in SPLITS}
    files = {split: find_files(data, names, split) for split, names in patterns.items() if names}
    if "train" not in files:
        raise ConfigurationError("`preparation.train` should name files; found none")
    _check_disjoint(files)
    return Sources(preparation, data, files, ())


def read_splits(
    where: Sources, work: Path, read: Callable[[str, Iterator[Document]], Iterator[Document]]
) -> dict[str, Dataset]:
    """Read all documents into `work` and hold out those of the splits that have no text.

    Args:
        where: the sources.
        work: folder for the documents; what was read before an interruption is not read again.
        read: sees the name of a split and its documents go by.

    Returns:
        Documents by split, with columns `FEATURES`.

    Raises:
        ConfigurationError: text that cannot be read, is there twice, has no tags though gold tags
            are asked for, or too few documents.
    """
    check_no_copies(list(chain.from_iterable(where.files.values())), where.folder)
    given = ["train", *(name for name in SPLITS[1:] if where.files.get(name))]
    found = {name: _on_disk(where, name, work, read) for name in given}
    for name, documents in found.items():
        if len(documents) < 2:
            raise ConfigurationError(
                f"the {name} text should have at least two documents, for random next sentences "
                f"come from another one; found {len(documents)}; separate documents by blank lines"
            )
    return _held_out(found, where.preparation)


def _on_disk(
    where: Sources,
    split: str,
    work: Path,
    read: Callable[[str, Iterator[Document]], Iterator[Document]],
) -> Dataset:
    gold = where.preparation.tagger == "gold"

    def rows() -> Iterator[dict[str, Any]]:
        empty = True
        for number, document in enumerate(read(split, where.documents(split))):
            if gold:
                _check_tags(document)
            for begin in range(0, len(document.sentences), LONGEST):
                empty = False
                part = document.sentences[begin : begin + LONGEST]
                yield _row(part, document.paragraphs, number)
        if empty:
            raise ConfigurationError(f"the {split} text has no sentence; check `preparation`")

    try:
        # The fingerprint names the cache; `work` is of this configuration and these files alone.
        return Dataset.from_generator(
            rows, features=FEATURES, cache_dir=str(work / "documents"), fingerprint=split
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, ConfigurationError):
            raise error.__cause__ from None
        raise


def _row(sentences: tuple[TaggedSentence, ...], paragraphs: bool, number: int) -> dict[str, Any]:
    tagged = any(sentence.tagged for sentence in sentences)
    return {
        "sentences": [sentence.text for sentence in sentences],
        "spans": [list(chain.from_iterable(each.spans)) for each in sentences] if tagged else [],
        "tags": [each.tags for each in sentences] if tagged else [],
        "paragraphs": paragraphs,
        "words": sum(len(sentence.text.split()) for sentence in sentences),
        "document": number,
    }


def _held_out(found: dict[str, Dataset], preparation: Preparation) -> dict[str, Dataset]:
    """Take the splits without text from the training documents, whole ones, drawn by the seed."""
    missing = [name for name in SPLITS[1:] if name not in found]
    train = found["train"]
    # Rows of a long document are of one book, of which no part is trained on and another held out.
    numbers, of_row = np.unique(train.with_format("numpy")["document"][:], return_inverse=True)
    total = len(numbers)
    size = max(2, round(preparation.held_out * total)) if preparation.held_out > 0 else 0
    if size == 0 and "valid" in missing:
        raise ConfigurationError(
            "`preparation.held_out` should be above 0, or `preparation.valid` name files: "
            "training needs held-out text"
        )
    if size == 0 or not missing:
        return found
    if total < size * len(missing) + 2:
        raise ConfigurationError(
            f"`preparation.held_out` of {total} documents should leave two for training, besides "
            f"{size} each for {' and '.join(missing)}; separate documents by blank lines, give "
            f"more, or files for `preparation.{missing[0]}`"
        )
    order = np.random.default_rng([preparation.seed, total]).permutation(total)
    parts = np.split(order, [size * n for n in range(1, len(missing) + 1)])
    split = {
        name: train.select(np.flatnonzero(np.isin(of_row, chosen)))
        for name, chosen in zip([*missing, "train"], parts, strict=True)
    }
    return {**found, **split}


def _check_disjoint(files: dict[str, tuple[Path, ...]]) -> None:
    seen: dict[Path, str] = {}
    for split, paths in files.items():
        for path in paths:
            other = seen.setdefault(path.resolve(), split)
            if other != split:
                raise ConfigurationError(
                    f"{path} is in `preparation.{other}` and in `preparation.{split}`; held-out "
                    "text should not be trained on"
                )


def _check_tags(document: Document) -> None:
    for sentence in document.sentences:
        if not sentence.tagged:
            raise ConfigurationError(
                f"`preparation.tagger` 'gold' needs tags, as CoNLL-U has them; found none in "
                f"{document.name}: {sentence.text[:60]!r}; use 'nltk'"
            )
