"""The preparation as a whole: from text to a folder that pre-training reads.

Everything is done in a hidden folder beside the result, named after all that goes in; an
interrupted preparation goes on there. The result appears at once, by a rename, when it is complete.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from experiments.bert.configuration import Preparation
from experiments.bert.preparation import annotate, pairs
from experiments.bert.preparation.annotate import Annotator
from experiments.bert.preparation.blocks import map_in_blocks
from experiments.bert.preparation.corpus import Corpus
from experiments.bert.preparation.destination import (
    RECORD,
    is_finished,
    partial_folder,
    resolved,
    work_folder,
)
from experiments.bert.preparation.documents import Document
from experiments.bert.preparation.identity import cache_key, identity, versions
from experiments.bert.preparation.pairs import PairMaker
from experiments.bert.preparation.quality import TaggerQuality, tagger_quality
from experiments.bert.preparation.report import class_shares, describe_split, to_data, to_markdown
from experiments.bert.preparation.sources import SPLITS, Sources, read_splits, sources
from experiments.bert.preparation.tagger import search_nltk_data, tagger_named
from experiments.bert.preparation.text import NLTK_DATA
from experiments.bert.preparation.wordpiece import load_wordpiece, train_wordpiece
from experiments.configuration import ConfigurationError
from experiments.progress import Stages, without_other_bars

__all__ = ["BLOCK", "prepare"]

BLOCK = 250_000
"""Words that are tagged before they are kept: what an interruption can cost at most."""


def prepare(
    preparation: Preparation,
    data: Path | None,
    out: Path,
    *,
    block: int = BLOCK,
    stages: Stages | None = None,
) -> Path:
    """Prepare text for pre-training, or go on where an interrupted preparation stopped.

    The result depends on configuration and text only: neither on the number of processes nor on
    interruptions.

    Args:
        preparation: the configuration.
        data: folder of the text, for source "local"; a folder ``nltk_data`` in it is found, too.
        out: folder to be made, or an empty one; of a symbolic link, what it points to. A finished
            preparation of the same is left as it is.
        block: see `BLOCK`; more, where that would make over 256 blocks.
        stages: shows the progress; on standard error if None.

    Returns:
        `out`, with ``train/``, ``valid/``, ``test/`` (see `pairs.FEATURES`), ``tokenizer/``,
        ``preparation.yaml``, ``report.json`` and ``report.md``.

    Raises:
        ConfigurationError: text, tagger or vocabulary cannot be used, or `out` holds something
            else; nothing has been written then.
    """
    stages = stages or Stages()
    if preparation.source == "generated" and data is not None:
        raise ConfigurationError(
            f"--data {data} would not be read: `preparation.source` is 'generated'; leave it out, "
            "or --set preparation.source=local --set preparation.tagger=nltk"
        )
    nltk_data = None if data is None else data.resolve() / NLTK_DATA
    if nltk_data is not None:
        search_nltk_data(nltk_data)
    tagger_named(preparation.tagger)
    where = sources(preparation, data)
    given = load_wordpiece(preparation.vocabulary) if preparation.vocabulary else None
    place = resolved(out)
    found = identity(where, given)
    if is_finished(out, found):
        shutil.rmtree(partial_folder(place), ignore_errors=True)
        stages.console.print(f"{out}: prepared already", soft_wrap=True)
        return out
    work = work_folder(place, cache_key(found))
    run = _Run(preparation, work, nltk_data, block, stages)
    try:
        with without_other_bars():
            run.write(work / "result", where, given, found)
    except ConfigurationError:  # once it is corrected, nothing of this can be used
        shutil.rmtree(work.parent)
        raise
    if place.is_dir():
        place.rmdir()
    (work / "result").rename(place)
    shutil.rmtree(work.parent)
    stages.console.print(class_shares(json.loads((out / "report.json").read_text("utf-8"))))
    stages.console.print(f"report in {out / 'report.md'}", highlight=False, soft_wrap=True)
    return out


@dataclass(frozen=True)
class _Run:
    """The stages of one preparation; each finds what an earlier attempt has left."""

    preparation: Preparation
    work: Path
    nltk_data: Path | None
    block: int
    stages: Stages

    def write(
        self,
        result: Path,
        where: Sources,
        given: PreTrainedTokenizerBase | None,
        found: dict[str, Any],
    ) -> None:
        """Do everything, and write it to a folder."""
        splits = read_splits(where, self.work, self.read)
        tokenizer = self.tokenizer(splits["train"], given)
        annotated = {name: self.annotated(name, splits[name]) for name in SPLITS if name in splits}
        instances = {
            name: self.instances(name, each, tokenizer) for name, each in annotated.items()
        }
        facts = {
            "tag_table": found["tag_table"],
            "sequence_length": self.preparation.sequence_length,
            "tagger": self.preparation.tagger,
            "vocabulary": len(tokenizer),
        }
        reports = {name: describe_split(annotated[name], instances[name]) for name in annotated}
        report = to_data(reports, self.quality(splits.values()), facts)
        shutil.rmtree(result, ignore_errors=True)
        for name, rows in instances.items():
            # Selecting all gives a fingerprint that does not depend on processes.
            every = rows.select(range(len(rows)), new_fingerprint=f"{self.work.name}{name}")
            every.save_to_disk(str(result / name))
        tokenizer.save_pretrained(str(result / "tokenizer"))
        record = yaml.safe_dump({**found, "versions": versions()}, sort_keys=False)
        (result / RECORD).write_text(record, encoding="utf-8")
        (result / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (result / "report.md").write_text(to_markdown(report), encoding="utf-8")

    def read(self, split: str, documents: Iterable[Document]) -> Iterator[Document]:
        """Pass documents on, and show how far we are."""
        with self.stages.stage(f"read {split}", "words") as advance:
            for document in documents:
                yield document
                advance(sum(len(each.text.split()) for each in document.sentences), False)

    @property
    def annotator(self) -> Annotator:
        return Annotator(self.work / "tokenizer", self.preparation.tagger, self.nltk_data)

    def tokenizer(
        self, train: Dataset, given: PreTrainedTokenizerBase | None
    ) -> PreTrainedTokenizerBase:
        """The tokenizer, trained on the training text if none is given."""
        folder = self.work / "tokenizer"
        if not folder.is_dir():
            new = given or self._trained(train)
            part = self.work / "tokenizer.partial"
            new.save_pretrained(str(part))
            part.rename(folder)
        return AutoTokenizer.from_pretrained(str(folder))

    def _trained(self, train: Dataset) -> PreTrainedTokenizerBase:
        passes = 3
        total = passes * int(_words(train).sum())
        title = f"train WordPiece, {passes} passes"
        with self.stages.stage(title, "words", total) as advance:

            def texts() -> Iterator[list[str]]:
                for rows in train.iter(batch_size=100):
                    yield [text.replace("[UNK]", " ") for row in rows["sentences"] for text in row]
                    advance(sum(rows["words"]), False)

            return train_wordpiece(texts, self.preparation.vocabulary_size)

    def annotated(self, name: str, documents: Dataset) -> Dataset:
        """Pieces and classes of documents."""
        words = _words(documents)
        with self.stages.stage(f"tag and tokenize {name}", "words", int(words.sum())) as advance:
            return map_in_blocks(
                documents,
                self.annotator,
                annotate.FEATURES,
                self.work / "annotated" / name,
                weights=words,
                block=self.block,
                processes=self.preparation.processes,
                advance=advance,
            )

    def instances(
        self, name: str, annotated: Dataset, tokenizer: PreTrainedTokenizerBase
    ) -> Dataset:
        """Sentence pairs of documents."""
        corpus = Corpus(annotated)
        if len(corpus) < 2:
            raise ConfigurationError(
                f"the {name} text should have at least two documents with a visible character; "
                f"found {len(corpus)}"
            )
        maker = PairMaker(
            corpus,
            tokenizer.cls_token_id,
            tokenizer.sep_token_id,
            self.preparation.sequence_length,
            self.preparation.short_pair_probability,
            (self.preparation.seed, SPLITS.index(name)),
        )
        total = int(corpus.sizes.sum())
        with self.stages.stage(f"pair sentences of {name}", "pieces", total) as advance:
            return map_in_blocks(
                Dataset.from_dict({"document": np.arange(len(corpus))}),
                maker,
                pairs.FEATURES,
                self.work / "instances" / name,
                weights=corpus.sizes,
                block=10 * self.block,  # pairing is about ten times as fast as tagging
                processes=self.preparation.processes,
                advance=advance,
            )

    def quality(self, splits: Iterable[Dataset]) -> TaggerQuality | None:
        """The tagger against gold tags, if there are any."""
        if self.preparation.tagger == "gold":
            return None
        return tagger_quality(splits, self.annotator)


def _words(documents: Dataset) -> NDArray[np.int64]:
    """Words of each document."""
    words: NDArray[np.int64] = documents.with_format("numpy")["words"][:]
    return words
