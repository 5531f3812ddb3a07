"""The report as one HTML page that loads nothing: styles inline, pictures as data, no scripts."""

import base64
import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from experiments.report.text import anchor

__all__ = ["to_html"]

_HERE = Path(__file__).parent
_LONG = 15
"""Lines of code from which a block is folded."""
_CLASSES = {
    **dict.fromkeys(("supports", "better", "holds", "holds as corrected"), "good"),
    **dict.fromkeys(("contradicts", "worse"), "bad"),
    **dict.fromkeys(("cannot tell", "open", "refuted and corrected"), "open"),
}
"""Of cells that hold a verdict and nothing else."""


@dataclass(frozen=True)
class _Heading:
    level: int
    text: str
    name: str


def to_html(markdown: str, base: Path) -> str:
    """The page of a report.

    Args:
        markdown: its text; the part before the first heading of level 2 is the cover.
        base: folder that addresses of pictures start from.

    Returns:
        A document without references to anything but by plain links.

    Raises:
        OSError: a picture cannot be read.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("table_open", lambda *_: '<div class="scroll">\n<table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    tokens = parser.parse(markdown)
    headings = list(_name_headings(tokens))
    _inline_pictures(tokens, base)
    _mark_cells(tokens)
    cut = next((n for n, t in enumerate(tokens) if _opens(t, 2)), len(tokens))
    first, rest = (parser.renderer.render(t, parser.options, {}) for t in _split(tokens, cut))
    title = next((each.text for each in headings if each.level == 1), "Report")
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        contents=_contents([each for each in headings if each.level in {2, 3}]),
        body=f'<div class="cover">\n{first}</div>\n{rest}',
    )


def _split(tokens: list[Token], at: int) -> tuple[list[Token], list[Token]]:
    return tokens[:at], tokens[at:]


def _opens(token: Token, level: int) -> bool:
    return token.type == "heading_open" and token.tag == f"h{level}"


def _name_headings(tokens: Sequence[Token]) -> Iterator[_Heading]:
    """Give every heading the name that GitHub would, numbered if there are several."""
    used: dict[str, int] = {}
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            text = "".join(each.content for each in inside.children or ())
            first = name = anchor(text)
            while name in used:
                used[first] += 1
                name = f"{first}-{used[first]}"
            used[name] = 0
            token.attrSet("id", name)
            yield _Heading(int(token.tag[1]), text, name)


def _inline_pictures(tokens: Sequence[Token], base: Path) -> None:
    for token in tokens:
        for each in token.children or ():
            if each.type == "image":
                path = base / str(each.attrs["src"])
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                data = base64.b64encode(path.read_bytes()).decode("ascii")
                each.attrSet("src", f"data:{kind};base64,{data}")
                each.attrSet("loading", "lazy")


def _mark_cells(tokens: Sequence[Token]) -> None:
    for token, inside in pairwise(tokens):
        if token.type == "td_open" and inside.content in _CLASSES:
            token.attrSet("class", _CLASSES[inside.content])


def _fence(_: RendererHTML, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """A block of code; folded if it is long."""
    content = tokens[index].content
    block = f"<pre><code>{escape(content)}</code></pre>\n"
    lines = content.count("\n")
    if lines < _LONG:
        return block
    kind = escape(tokens[index].info or "text")
    return f"<details>\n<summary>{kind}, {lines} lines</summary>\n{block}</details>\n"


def _contents(headings: Sequence[_Heading]) -> str:
    """Nested lists of links."""
    lines, inner = ["<ul>"], False
    for number, heading in enumerate(headings):
        if heading.level == 2:
            lines += ["</ul></li>" if inner else "</li>"] if number else []
            inner = False
        elif not inner:
            lines.append("<ul>")
            inner = True
        close = "</li>" if heading.level == 3 else ""
        lines.append(f'<li><a href="#{heading.name}">{escape(heading.text)}</a>{close}')
    if headings:
        lines.append("</ul></li>" if inner else "</li>")
    return "\n".join([*lines, "</ul>"]) + "\n"
