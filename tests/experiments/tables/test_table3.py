"""The measured table: rows, JSON, Markdown and what is printed."""

import dataclasses
import io
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from experiments.tables import table3, terminal
from experiments.tables.step_cost import steps
from tests.experiments.tables.helpers import TRUNKS, row

SETTINGS = table3.Settings(tasks=(2, 3), repeats=2, trunks=TRUNKS)
COMMAND = "python -m experiments table3 --tasks 2 3"


@pytest.fixture(scope="module")
def measured():
    return table3.run(SETTINGS, COMMAND)


def printed(monkeypatch, table, out, width):
    file = io.StringIO()
    monkeypatch.setattr(terminal, "_console", lambda: Console(file=file, width=width))
    terminal.print_table3(table, out)
    return file.getvalue()


def test_there_is_a_row_for_every_method_and_setting(measured):
    for sizes, tasks, rows in measured.sections():
        assert [(r.balancer, r.execution, r.variant) for r in rows] == [
            (m.balancer, m.execution, m.variant) for m in steps.methods()
        ]
        assert {(r.trunk, r.tasks) for r in rows} == {(sizes.kind, tasks)}
    assert len(measured.rows) == 4 * len(steps.methods())


def test_ratios_are_to_the_average_of_the_same_setting_and_round(measured):
    for _, _, rows in measured.sections():
        base = rows[0]
        assert base.flops_ratio == 1
        for each in rows:
            assert each.flops_ratio == each.flops / base.flops
            assert each.extra_flops == each.flops - base.flops
            assert len(each.seconds) == SETTINGS.repeats
            np.testing.assert_allclose(
                each.wall_ratios, np.array(each.seconds) / np.array(base.seconds)
            )


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_the_same_settings_count_the_same_and_threads_are_as_before(measured):
    ticks = []
    settings = dataclasses.replace(SETTINGS, repeats=1, trunks=TRUNKS[1:])
    again = table3.run(settings, COMMAND, lambda: ticks.append(torch.get_num_threads()))
    assert torch.get_num_threads() == 2
    assert ticks == [1, 1]  # told after the round of each number of tasks
    before = [r for r in measured.rows if r.trunk == TRUNKS[1].kind]
    assert [(r.passes, r.flops) for r in again.rows] == [(r.passes, r.flops) for r in before]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_wall_is_the_median_between_the_quartiles(ratios):
    made = dataclasses.replace(row("minimax"), wall_ratios=tuple(ratios))
    np.testing.assert_allclose(made.wall(), np.percentile(ratios, [25, 50, 75]))


def test_none_is_right_and_three_entries_are_wrong_under_every_reading(measured):
    found = {finding.entry.method: finding.summary for finding in measured.findings}
    assert found["None"] == "right"
    for method in ("Uncertainty", "DWA", "Minimax"):
        assert found[method] == "wrong under every reading"


def test_json_keeps_everything(measured):
    document = json.loads(table3.to_json(measured))
    assert document["provenance"]["command"] == COMMAND
    assert document["provenance"]["torch"] == torch.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", document["provenance"]["date"])
    assert document["settings"]["tasks"] == [2, 3]
    assert document["settings"]["trunks"]["MLP"] == dataclasses.asdict(TRUNKS[0])
    for kept, each in zip(document["rows"], measured.rows, strict=True):
        assert kept.pop("wall") == list(each.wall())
        assert kept == json.loads(json.dumps(dataclasses.asdict(each)))
    entries = {entry["method"]: entry for entry in document["printed"]["entries"]}
    assert [entry["printed"] for entry in entries.values()] == ["T", "2T", "3T", "4T", "2T"]
    for finding in measured.findings:
        kept = entries[finding.entry.method]
        assert kept["summary"] == finding.summary
        assert [trial["verdict"] for trial in kept["trials"]] == [
            trial.verdict for trial in finding.trials
        ]


def test_markdown_has_every_row_beside_what_is_printed(measured):
    text = table3.to_markdown(measured)
    assert COMMAND in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for each in measured.rows:
        start = f"| {each.label} | {each.execution} | {table3.printed_text(each)} |"
        assert any(line.startswith(start) and f" {each.flops_ratio:.3f} " in line for line in lines)
    columns = {line.count("|") for line in lines}
    assert columns == {6, 11}
    assert "| Minimax | 2T |" in text
    assert all(note in text for note in (*table3.NOTES, *table3.REMARKS))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_printed_lines_fit_and_nothing_is_cut(measured, monkeypatch, tmp_path, width):
    text = printed(monkeypatch, measured, tmp_path, width)
    lines = [line.rstrip() for line in text.splitlines() if str(tmp_path) not in line]
    assert max(map(cell_len, lines)) <= width
    assert "…" not in text
    for method in steps.methods():
        assert any(line.strip().startswith(method.balancer) for line in lines)
    for finding in measured.findings:
        start = re.compile(rf" *{finding.entry.method} +{finding.entry.text} ")
        (line,) = filter(start.match, lines)
        assert finding.summary in line
    assert ("extra MFLOPs" in text) == (width >= 100)


def test_what_was_not_measured_is_shown_as_such(monkeypatch, tmp_path):
    rows = (row("average"), row("minimax", 2.0))
    sizes = dataclasses.replace(SETTINGS, tasks=(3,), trunks=TRUNKS[:1])
    table = table3.Table3(sizes, {"command": "c"}, rows, tuple(table3.judge(rows)))
    text = printed(monkeypatch, table, tmp_path, 100)
    assert re.search(r"DWA +3T +– not measured +– not measured +not measured", text)
    assert re.search(r"Minimax +2T +2T right", text)
