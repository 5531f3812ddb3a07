"""Results of a study on one page."""

from dataclasses import dataclass

from rich.table import Table

__all__ = ["Page"]


@dataclass(frozen=True)
class Page:
    """Tables of finished runs."""

    tables: tuple[Table, ...]
    """For the terminal."""
    markdown: str
    """The same with configuration, commands and versions."""
