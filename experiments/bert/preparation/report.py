"""What a preparation found, for people (Markdown) and programs (JSON)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from rich.table import Table

from experiments.bert.preparation.annotate import STATISTICS
from experiments.bert.preparation.quality import TaggerQuality
from experiments.bert.tags import CLASSES

__all__ = ["SplitReport", "class_shares", "describe_split", "to_data", "to_markdown"]


@dataclass(frozen=True)
class SplitReport:
    """Counts of a split; shares follow from them."""

    documents: int
    """With at least one piece."""
    sentences: int
    words: int
    """Between white space."""
    tokens: int
    """That were tagged."""
    pieces: int
    unknown: int
    """Pieces that are [UNK]."""
    unaligned: int
    """Pieces that begin in no token."""
    straddling: int
    """Pieces that begin in a token and end outside it."""
    classes: dict[str, int]
    """Pieces of each class."""
    instances: int
    random_next: int
    """Instances with a random second segment."""
    instance_pieces: int
    """Pieces of all instances, special ones included."""


def describe_split(annotated: Dataset, instances: Dataset) -> SplitReport:
    """Count.

    Args:
        annotated: rows of `annotate.FEATURES`.
        instances: rows of `pairs.FEATURES`.
    """
    counts = {name: int(np.sum(_column(annotated, name))) for name in STATISTICS}
    lists = annotated.data.column("pos").chunks
    classes = sum(
        (np.bincount(each.flatten().to_numpy(), minlength=len(CLASSES)) for each in lists),
        np.zeros(len(CLASSES), np.int64),
    )
    lengths = [len(each.flatten()) for each in instances.data.column("input_ids").chunks]
    return SplitReport(
        documents=int((_column(annotated, "sentences") > 0).sum()),
        pieces=int(classes.sum()),
        classes={name: int(classes[c]) for c, name in enumerate(CLASSES)},
        instances=len(instances),
        random_next=int(_column(instances, "next_sentence_label").sum(dtype=np.int64)),
        instance_pieces=sum(lengths),
        **counts,
    )


def to_data(
    splits: Mapping[str, SplitReport], quality: TaggerQuality | None, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything as plain data for JSON.

    Args:
        splits: the counts of each split.
        quality: of the tagger, where there are gold tags.
        facts: about the preparation as a whole.
    """
    return {
        **facts,
        "splits": {
            name: {
                **asdict(split),
                "class_shares": {c: n / max(split.pieces, 1) for c, n in split.classes.items()},
            }
            for name, split in splits.items()
        },
        "tagger_quality": None if quality is None else quality.as_data(),
    }


def class_shares(data: Mapping[str, Any]) -> Table:
    """The shares of the parts of speech, for the terminal.

    Args:
        data: from `to_data`.
    """
    splits = data["splits"]
    shown = Table(title="Parts of speech (share of pieces)")
    shown.add_column("")
    for name in splits:
        shown.add_column(name, justify="right")
    for c in CLASSES:
        shown.add_row(c, *_shares(splits, c))
    return shown


def to_markdown(data: Mapping[str, Any]) -> str:
    """The report as Markdown.

    Args:
        data: from `to_data`.
    """
    splits = data["splits"]
    lines = [
        "# Prepared text",
        "",
        (
            f"Tagger: {data['tagger']}; vocabulary: {data['vocabulary']:,} pieces; instances of at "
            f"most {data['sequence_length']} pieces; tag table {data['tag_table']}."
        ),
        "",
        *_table(["", *splits], [[label, *map(text, splits.values())] for label, text in _ROWS]),
        "",
        "## Parts of speech (share of pieces)",
        "",
        *_table(["class", *splits], [[c, *_shares(splits, c)] for c in CLASSES]),
    ]
    if data["tagger_quality"] is not None:
        lines += ["", *_quality(data["tagger_quality"])]
    return "\n".join(lines) + "\n"


_ROWS = [
    ("documents", lambda split: f"{split['documents']:,}"),
    ("sentences", lambda split: f"{split['sentences']:,}"),
    ("words", lambda split: f"{split['words']:,}"),
    ("words a sentence", lambda split: f"{split['words'] / max(split['sentences'], 1):.1f}"),
    ("pieces", lambda split: f"{split['pieces']:,}"),
    ("pieces a word", lambda split: f"{split['pieces'] / max(split['words'], 1):.2f}"),
    ("[UNK]", lambda split: _percent(split["unknown"], split["pieces"])),
    ("pieces in no token", lambda split: _percent(split["unaligned"], split["pieces"])),
    ("pieces across tokens", lambda split: _percent(split["straddling"], split["pieces"])),
    ("instances", lambda split: f"{split['instances']:,}"),
    ("pieces an instance", lambda s: f"{s['instance_pieces'] / max(s['instances'], 1):.1f}"),
    ("random next sentence", lambda split: _percent(split["random_next"], split["instances"])),
]


def _shares(splits: Mapping[str, Any], name: str) -> list[str]:
    return [_percent(split["classes"][name], split["pieces"], 3) for split in splits.values()]


def _quality(quality: Mapping[str, Any]) -> list[str]:
    found = quality["interjections_as"]
    gold = quality["classes"]["interjection"]["gold"]
    confused = ", ".join(
        f"{name} {_percent(count, gold)}"
        for name, count in sorted(found.items(), key=lambda item: -item[1])
        if count
    )
    rows = [
        [name, f"{each['gold']:,}", f"{each['found']:,}", *map(_ratio, _both(each))]
        for name, each in quality["classes"].items()
    ]
    return [
        "## Tagger against gold tags",
        "",
        (
            f"{quality['tokens']:,} gold tokens: {_ratio(quality['exact'])} with the gold tag, "
            f"{_ratio(quality['ten_class'])} with its class. From the raw sentences, "
            f"{_ratio(quality['pieces_agree'])} of {quality['pieces']:,} pieces have its class."
        ),
        "",
        *_table(["class", "gold", "found", "recall", "precision"], rows),
        "",
        f"Gold interjections were taken for: {confused or 'there are none'}.",
    ]


def _both(each: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return each["recall"], each["precision"]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    return [line(header), line(["---", *["---:"] * (len(header) - 1)]), *map(line, rows)]


def _percent(part: int, whole: int, digits: int = 2) -> str:
    return f"{100 * part / max(whole, 1):.{digits}f} %"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _column(rows: Dataset, name: str) -> Any:
    return rows.data.column(name).to_numpy()
