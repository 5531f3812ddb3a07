"""The report as Markdown, in sections, with its pictures beside it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.report.background import (
    data_section,
    how_section,
    not_run_section,
    provenance_section,
)
from experiments.report.collect import Material
from experiments.report.forest import forest_plot
from experiments.report.pages import page_section
from experiments.report.summary import headline, summary
from experiments.report.tables_section import (
    figure3_section,
    records_section,
    table3_section,
    tables_section,
)
from experiments.report.text import Links
from experiments.report.theory_section import figures_section, ledger_section
from experiments.tables.render import to_csv
from taskrobust._files import write_atomically

__all__ = ["TITLE", "Section", "cover", "make_sections"]

TITLE = "Task-robust pre-training: what holds"

_INTRODUCTION = """\
*Task-Robust Pre-Training for Worst-Case Downstream Adaptation* \
([arXiv 2306.12070](https://arxiv.org/abs/2306.12070)) pre-trains on the worst of several upstream \
tasks instead of their average. This page says which of its claims held when they were checked; \
every number links to its record."""

PICTURES = "pictures"
"""Folder of the pictures, beside the report."""


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    text: str
    """Markdown without the title; headings of level 3 and deeper."""


class _Pictures:
    """Pictures that are kept with the report."""

    def __init__(self, out: Path) -> None:
        self._folder = out / PICTURES
        self._folder.mkdir(parents=True, exist_ok=True)

        self._copied: dict[str, Path] = {}

    def add(self, name: str, content: bytes) -> str:
        write_atomically(self._folder / name, content)
        return f"{PICTURES}/{name}"

    def copy(self, path: Path) -> str:
        name, number = f"{path.parent.name}-{path.name}", 1
        while self._copied.setdefault(name, path) != path:  # of another folder of this name
            number += 1
            name = f"{path.parent.name}-{number}-{path.name}"
        return self.add(name, path.read_bytes())


def cover(material: Material) -> str:
    """The first paragraphs: what this is, and the verdict."""
    lines = [
        _INTRODUCTION,
        "",
        f"**{headline(material)}**",
        "",
        *(f"- {each}" for each in summary(material)),
        "",
        f"Made by rule from the numbers on {time.strftime('%Y-%m-%d')}; nobody edited the above.",
    ]
    return "\n".join(lines) + "\n"


def make_sections(material: Material, out: Path) -> list[Section]:
    """Everything after the cover; pictures and CSV are written on the way.

    Args:
        material: of the report.
        out: folder of the report.
    """
    links, pictures = Links(out), _Pictures(out)
    return list(_sections(material, out, links, pictures))


def _sections(
    material: Material, out: Path, links: Links, pictures: _Pictures
) -> Iterator[Section]:
    yield Section("Theory: the ledger", ledger_section(material.ledger, links))
    if material.figures:
        kept = {path: pictures.copy(path) for path in material.figures}
        text = figures_section(material.figures, kept, links)
        yield Section("Theory: figures", text)
    plots = {}
    for made in material.tables:
        write_atomically(out / f"{made.name}.csv", to_csv(made.grid))
        plot = forest_plot(made)
        if plot is not None:
            plots[made.name] = pictures.add(f"forest-{made.name}.png", plot)
    yield Section("Tables 1 and 2", tables_section(material.tables, plots, links))
    drawn = {path: pictures.copy(path) for path in material.figure3}
    yield Section("Figure 3", figure3_section(drawn, links))
    if material.table3 is not None:
        yield Section("Table 3: cost of a step", table3_section(material.table3, links))
    if material.pages:
        parts = [page_section(path, links, pictures.copy) for path in material.pages]
        yield Section("Studies and mechanisms", "\n".join(parts))
    yield Section("What was not run", not_run_section(material, links))
    yield Section("Data sets and licences", data_section())
    yield Section("How to run it", how_section())
    yield Section("Provenance", provenance_section(material.tables, links))
    if material.tables:
        yield Section("Every number, seed by seed", records_section(material.tables, links))
