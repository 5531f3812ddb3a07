"""Pages of results as parts of the report: headings one floor down, links and pictures resolved."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from experiments.report.text import Links

__all__ = ["page_section", "page_title"]

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+(?= )")
_FENCE = re.compile(r"^\s*(```|~~~)")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|#|/)", re.IGNORECASE)


def page_title(path: Path) -> str:
    """The first heading of a page, or the name of its folder."""
    found = re.search(r"^#+ +(.+?) *$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return found[1] if found else path.parent.name


def page_section(path: Path, links: Links, picture: Callable[[Path], str], down: int = 2) -> str:
    """The text of a page for the report.

    Args:
        path: a README.md.
        links: from the report to files.
        picture: keeps a picture with the report and returns its address.
        down: how many levels its headings go down.

    Returns:
        Markdown; its first heading has level ``1 + down``.
    """

    def resolved(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if _ELSEWHERE.match(target):
            return match.group()
        address, hash_, place = target.partition("#")
        file = path.parent / unquote(address)
        address = picture(file) if mark and file.is_file() else links.to(file)
        return f"{mark}[{text}]({address}{hash_}{place})"

    def lower(match: re.Match[str]) -> str:
        return "#" * min(6, len(match.group()) + down)

    lines, code = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            code = not code
        elif not code and not line.startswith("    "):
            line = _LINK.sub(resolved, _HEADING.sub(lower, line))
        lines.append(line)
    first = next((n for n, line in enumerate(lines) if line.startswith("#")), None)
    source = f"Source: {links.link(f'{path.parent.name}/{path.name}', path)}."
    where = 0 if first is None else first + 1
    return "\n".join([*lines[:where], "", source, *lines[where:]]) + "\n"
