"""Checks a page of the report against the records that it links to, knowing nothing of its code."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from scipy import stats

METRICS = {
    "MNLI": ("dev", "matched", "accuracy"),
    "QQP": ("dev", "", "f1"),
    "QNLI": ("dev", "", "accuracy"),
    "SST-2": ("dev", "", "accuracy"),
    "CoLA": ("dev", "", "matthews"),
    "STS-B": ("dev", "", "spearman"),
    "MRPC": ("dev", "", "f1"),
    "RTE": ("dev", "", "accuracy"),
    "accuracy": ("test", "accuracy"),
    "mIoU": ("test", "mean_iou"),
    "δ1": ("test", "delta_1"),
    "rgb risk": ("held_out", "risks", "rgb", "value"),
    "depth risk": ("held_out", "risks", "depth", "value"),
    "semseg risk": ("held_out", "risks", "semseg", "value"),
    "worst (nats)": ("worst_but_interjection", "value"),
    "mean (nats)": ("mean_but_interjection", "value"),
    "worst (risk)": ("held_out", "worst"),
}
"""Where a column's number is in a record."""
HIGHER = {"MNLI", "QQP", "QNLI", "SST-2", "CoLA", "STS-B", "MRPC", "RTE", "Avg.", "accuracy",
          "mIoU", "δ1"}  # fmt: skip
VOID = {"br", "hr", "img", "input", "link", "meta"}


@dataclass
class Cell:
    text: str = ""
    links: list = field(default_factory=list)


@dataclass
class Block:
    """A table, with the heading and the paragraph before it."""

    heading: str
    anchor: str
    before: str
    rows: list = field(default_factory=list)


class Page(HTMLParser):
    """Tables, links, names and sources of a page; refuses tags that do not match."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.path = path
        self.blocks, self.links, self.names, self.sources, self.tags = [], [], [], [], []
        self._open, self._heading, self._anchor, self._paragraph = [], "", "", ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if "id" in attributes:
            self.names.append(attributes["id"])
        if "src" in attributes:
            self.sources.append(attributes["src"])
        if re.fullmatch("h[1-6]", tag):
            self._heading, self._anchor = "", attributes["id"]
        elif tag == "p":
            self._paragraph = ""
        elif tag == "table":
            self.blocks.append(Block(self._heading, self._anchor, self._paragraph))
        elif tag == "tr":
            self.blocks[-1].rows.append([])
        elif tag in {"td", "th"}:
            self.blocks[-1].rows[-1].append(Cell())
        elif tag == "a":
            self.links.append(attributes["href"])
            if "table" in self._open:
                self.blocks[-1].rows[-1][-1].links.append(attributes["href"])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open[-1:] == [tag], self._open
            self._open.pop()

    def handle_data(self, data):
        if not self._open:
            return
        if "td" in self._open or "th" in self._open:
            self.blocks[-1].rows[-1][-1].text += data
        elif any(re.fullmatch("h[1-6]", tag) for tag in self._open):
            self._heading += data
        elif "p" in self._open:
            self._paragraph += data


def number(text):
    """The first number of a text."""
    return float(re.search(r"[+−-]?\d+(?:\.\d+)?", text).group().replace("−", "-"))


def digits(text):
    return len(re.search(r"\d+(?:\.(\d+))?", text).group(1) or "")


def shows(text, value):
    """Whether the number of a text is a value, rounded."""
    return abs(number(text) - value) <= 0.5 * 10.0 ** -digits(text) + 1e-9


def at(record, title):
    """A column's number in one record."""
    name = title.rpartition(" (")[0]
    where = METRICS.get(title) or METRICS[name]
    if name in {"worst", "mean"} and "(nats)" in title:
        where = ("test" if record.get("test") else "valid", *where)
    value = record
    for step in where:
        value = value[step]
    return value * (100 if name in HIGHER else 1)


def recomputed(title, records):
    """A column's number from all records of one seed that it links to."""
    if not title.startswith("Avg."):
        return float(np.mean([at(record, title) for record in records]))
    names = {"cola": "CoLA", "rte": "RTE", "mrpc": "MRPC", "stsb": "STS-B", "sst2": "SST-2",
             "qnli": "QNLI", "qqp": "QQP", "mnli": "MNLI"}  # fmt: skip
    by_task = {}
    for record in records:
        by_task.setdefault(record["task"], []).append(at(record, f"{names[record['task']]} ()"))
    return float(np.mean([np.mean(values) for values in by_task.values()]))


def seed_numbers(page, wrong):
    """Exact numbers by name of the row's heading, column and seed; adds to what is wrong."""
    found = {}
    for block in page.blocks:
        if not re.search(r", row .+$", block.heading):
            continue
        head, *rows = block.rows
        seeds = [int(cell.text.split()[1]) for cell in head[1:]]
        columns = found.setdefault(block.anchor, {})
        for title, *cells in rows:
            for seed, cell in zip(seeds, cells, strict=True):
                if cell.text == "–":
                    continue
                paths = [page.path.parent / unquote(link) for link in cell.links]
                if not paths:
                    wrong.append(f"{block.heading}/{title.text}: no record")
                    continue
                if paths[0].is_dir():
                    paths = list(paths[0].glob("*-[0-9]*.json"))
                records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
                places = {(p.parts[-3], p.parts[-2]) for p in paths}
                value = recomputed(title.text, records)
                if places != {(records[0]["arm"], f"seed-{seed}")} or not shows(cell.text, value):
                    wrong.append(f"{block.heading}/{title.text}/{seed}: {cell.text}, not {value}")
                columns.setdefault(title.text, {})[seed] = value
    return found


def check_page(path):
    """Numbers that were compared, and what is wrong with them."""
    page, wrong, checked = Page(path), [], 0
    exact = seed_numbers(page, wrong)
    checked += sum(len(seeds) for columns in exact.values() for seeds in columns.values())
    rows_of = {}
    for block in page.blocks:
        head = [cell.text for cell in block.rows[0]]
        if head[-1] == "seeds":
            checked += _check_means(block, exact, rows_of, wrong)
        elif head[-1] == "verdict" and "printed gain" in head:
            checked += _check_comparison(block, exact, rows_of, wrong)
        elif block.before.startswith("The other rows less"):
            checked += _check_differences(block, exact, rows_of, wrong)
    return checked, wrong


def _check_means(block, exact, rows_of, wrong):
    head, *rows = block.rows
    checked = 0
    for name, *cells in rows:
        for title, cell in zip(head[1:-1], cells, strict=False):
            if not cell.links:
                continue
            (link,) = cell.links
            rows_of[block.heading, name.text] = link.removeprefix("#")
            values = list(exact[link.removeprefix("#")][title.text].values())
            mean, _, deviation = cell.text.partition(" ± ")
            good = shows(mean, np.mean(values)) and bool(deviation) == (len(values) > 1)
            if deviation:
                good = good and shows(deviation, np.std(values, ddof=1))
            if not good:
                wrong.append(f"{block.heading}/{name.text}/{title.text}: {cell.text}")
            checked += 1
    return checked


def _difference(text, ours, theirs):
    """Whether a text shows the paired difference of two rows; and the side of 0 that it is on."""
    seeds = sorted(ours.keys() & theirs.keys())
    a, b = ([values[seed] for seed in seeds] for values in (ours, theirs))
    mean, _, ends = text.partition(" (")
    good = shows(mean, np.mean(np.subtract(a, b))) and bool(ends) == (len(seeds) > 1)
    if not ends:
        return good, 0
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    lower, upper = ends.rstrip(")").split(" to ")
    good = good and shows(lower, interval.low) and shows(upper, interval.high)
    return good, int(interval.low > 0) - int(interval.high < 0)


def _check_comparison(block, exact, rows_of, wrong):
    ours, others = re.match(r"(.+?) less (.+?)(?:, beside .*)?:$", block.before).groups()
    ours, others = (exact[rows_of[block.heading, name]] for name in (ours, others))
    for title, difference, printed, seeds, verdict in block.rows[1:]:
        good, side = _difference(difference.text, ours[title.text], others[title.text])
        if "(" not in difference.text:
            expected = "one seed"
        elif side == 0:
            expected = "cannot tell"
        elif printed.text == "·":
            higher = title.text.rpartition(" (")[0] in HIGHER
            expected = "better" if (side > 0) == higher else "worse"
        else:
            expected = "supports" if side * number(printed.text) > 0 else "contradicts"
        count = len(ours[title.text].keys() & others[title.text].keys())
        if not good or verdict.text != expected or int(seeds.text) != count:
            wrong.append(f"{block.before} {title.text}: {difference.text}, {verdict.text}")
    return len(block.rows) - 1


def _check_differences(block, exact, rows_of, wrong):
    head, *rows = block.rows
    reference = exact[rows_of[block.heading, "None"]]
    checked = 0
    for title, *cells in rows:
        for name, cell in zip(head[1:], cells, strict=True):
            ours = exact[rows_of[block.heading, name.text]]
            if cell.links:
                checked += 1
                if not _difference(cell.text, ours[title.text], reference[title.text])[0]:
                    wrong.append(f"{block.before} {name.text}/{title.text}: {cell.text}")
    return checked


def local_files(page, links):
    """Files that relative links lead to."""
    local = [x for x in links if not re.match(r"[a-z]+:|#", x)]
    return [Path(page.path.parent / unquote(link)) for link in local]
