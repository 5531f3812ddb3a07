"""GLUE's TSV files: tabs between columns, quotes and "NA" mean nothing, UTF-8 perhaps with a BOM.

Lines are split by hand: the csv module (QUOTE_NONE) would give the same cells, but limits their
length and stops at a carriage return within a sentence.
"""

from collections.abc import Iterator
from typing import IO

import numpy as np

from experiments.bert.glue.examples import Examples
from experiments.bert.glue.tasks import GlueTask
from experiments.configuration import ConfigurationError

__all__ = ["read_tsv"]

BROKEN_SHARE = 0.001
"""Rows at most that may be broken where broken rows are left out; GLUE's QQP has fewer."""


def read_tsv(stream: IO[bytes], name: str, task: GlueTask, *, labelled: bool) -> Examples:
    """Read a file to its end.

    Args:
        stream: its bytes.
        name: of the file, for errors.
        task: whose columns and labels are expected.
        labelled: whether it is a train or dev file; test files have an index instead.

    Raises:
        ConfigurationError: something that cannot be used; the message names file, line and value.
    """
    columns = (*task.columns, task.label_column if labelled else task.index)
    texts: list[list[str]] = [[] for _ in task.columns]
    labels: list[float] = []
    index: list[str] = []
    skipped = 0
    for line, cells in _rows(
        stream, name, task, columns, headless=labelled and bool(task.headless)
    ):
        if cells is None:
            skipped += 1
            continue
        *sentences, last = cells
        for column, sentence in zip(texts, sentences, strict=True):
            column.append(sentence)
        if labelled:
            labels.append(_label(last, task, f"{name}, line {line}"))
        else:
            index.append(last)
    if not texts[0]:
        raise ConfigurationError(f"{name}: has no examples; fetch the file again")
    if skipped > BROKEN_SHARE * (len(texts[0]) + skipped):
        raise ConfigurationError(
            f"{name}: {skipped:,} of {len(texts[0]) + skipped:,} rows have too few columns; fetch "
            "the file again"
        )
    return Examples(
        first=tuple(texts[0]),
        second=tuple(texts[1]) if len(texts) > 1 else None,
        labels=np.array(labels, np.float32) if labelled else None,
        index=tuple(index),
        skipped=skipped,
    )


def _rows(
    stream: IO[bytes], name: str, task: GlueTask, columns: tuple[str, ...], *, headless: bool
) -> Iterator[tuple[int, list[str] | None]]:
    """Line numbers from 1 and the cells of the wanted columns; None for a row to be left out."""
    lines = _lines(stream, name)
    head = list(task.headless) if headless else _head(lines, name, columns)
    places = [head.index(column) for column in columns]
    for number, text in lines:
        cells = text.split("\t")
        if len(cells) < len(head) and task.skips_broken_rows:
            yield number, None
        elif len(cells) != len(head):
            raise ConfigurationError(
                f"{name}, line {number}: should have {len(head)} columns ({', '.join(head)}); "
                f"found {len(cells)}: {_short(text)}; fetch the file again, or mend the line"
            )
        else:
            yield number, [cells[place] for place in places]


def _lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends."""
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{name}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; convert the "
                "file (iconv -f ENCODING -t UTF-8)"
            ) from None
        if text:
            yield number, text


def _head(lines: Iterator[tuple[int, str]], name: str, columns: tuple[str, ...]) -> list[str]:
    """The names of all columns."""
    number, text = next(lines, (0, ""))
    if not number:
        raise ConfigurationError(f"{name}: is empty; fetch the file again")
    head = text.split("\t")
    missing = [column for column in columns if column not in head]
    if missing:
        raise ConfigurationError(
            f"{name}, line {number}: the columns {', '.join(map(repr, missing))} are missing; "
            f"found {_short(', '.join(map(repr, head)))}; the file should be GLUE's, with a header "
            "line and tabs between columns"
        )
    return head


def _label(text: str, task: GlueTask, place: str) -> float:
    """Class id or score."""
    if not task.is_regression:
        if text not in task.labels:
            hint = "; this file should have no header line" if text == task.label_column else ""
            raise ConfigurationError(
                f"{place}: the label should be one of {', '.join(task.labels)}; found "
                f"{text!r}{hint}"
            )
        return float(task.labels.index(text))
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 5:
        raise ConfigurationError(
            f"{place}: the {task.label_column} should be a number from 0 to 5; found {text!r}"
        )
    return score


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"
