"""Pieces of Markdown: links to files, tables, anchors, text that is meant as it stands."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

__all__ = ["Links", "anchor", "joined", "plain", "prose", "several", "table"]

_SPECIAL = re.compile(r"([\\`*<&|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[]))")


class Links:
    """Links from the folder of the report to files."""

    def __init__(self, out: Path) -> None:
        self.out = out.resolve()

    def to(self, path: Path) -> str:
        """Relative address of a file or folder."""
        address = quote(Path(os.path.relpath(path.resolve(), self.out)).as_posix())
        return f"{address}/" if path.is_dir() else address

    def link(self, text: str, path: Path) -> str:
        """A link to a file or folder."""
        return f"[{text}]({self.to(path)})"


def plain(text: object) -> str:
    """Text of which nothing is taken for Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def prose(text: object) -> str:
    """`plain`, but for words in backticks, which are code."""
    return plain(text).replace(r"\`", "`")


def anchor(heading: str) -> str:
    """The name under which a heading can be linked to, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Iterator[str]:
    """Lines of a table.

    Args:
        head: titles of the columns.
        rows: cells.
        left: how many columns are aligned left; the others are numbers.
    """
    yield _line(head)
    yield "|" + "".join("---|" if number < left else "---:|" for number in range(len(head)))
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def several(count: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 seed, 3 seeds."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(words: Sequence[str]) -> str:
    """Words as a list: a, b and c."""
    *others, last = words or ("none",)
    return f"{', '.join(others)} and {last}" if others else last
