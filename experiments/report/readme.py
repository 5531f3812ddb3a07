"""The results section of a README, generated from a store between two markers."""

from collections.abc import Iterator
from pathlib import Path

from experiments.configuration import ConfigurationError
from experiments.report.cells import plain_table
from experiments.report.collect import Material, TableOf
from experiments.report.summary import SCALE, headline, table_sentences
from experiments.report.text import Links
from taskrobust._files import write_atomically

__all__ = ["END", "START", "section", "update_readme", "with_section"]

_RULES = """\
Means ± sample standard deviations over seeds of pre-training. Differences are of the seeds that \
both rows have, paired; they are decided if Student's 95 % interval leaves out 0, which by chance \
one in twenty does where there is no difference. In printed rows, \\* follows from another printed \
cell and a printed gain, · was not taken down, and † is not the mean of its row."""

START, END = "<!-- results -->", "<!-- /results -->"


def update_readme(path: Path, material: Material) -> bool:
    """Put the results section between the markers of a file.

    Args:
        path: of the README.
        material: tables of the stores.

    Returns:
        Whether the file has changed.

    Raises:
        ConfigurationError: the file or a marker is missing.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--readme {path}: {error.strerror}") from None
    new = with_section(text, section(material, path.parent), str(path))
    if new != text:
        write_atomically(path, new)
    return new != text


def with_section(text: str, content: str, name: str) -> str:
    """A text with new content between the markers.

    Args:
        text: of the README.
        content: without the markers.
        name: of the file, for the message.

    Raises:
        ConfigurationError: the markers are not there once each, in this order.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in before + after:
        raise ConfigurationError(
            f"--readme {name}: should have the line {START} and after it {END}, once each"
        )
    return f"{before}{START}\n{content}{END}{after}"


def section(material: Material, folder: Path) -> str:
    """The section: the verdict, then each table that is evidence.

    Args:
        material: tables of the stores.
        folder: that links start from.
    """
    lines = [headline(material), ""]
    links = Links(folder)
    for made in material.tables:
        if made.evidence:
            lines += [*_table(made, links), ""]
    if any(made.evidence for made in material.tables):
        lines += [f"{_RULES} {SCALE}", ""]
    return "\n".join(lines)


def _table(made: TableOf, links: Links) -> Iterator[str]:
    yield f"**{made.grid.title}**, {links.link('records', made.folder)}:"
    yield ""
    yield from plain_table(made)
    yield ""
    yield from (f"- {each}" for each in table_sentences(made))
