import io
import json
import re
from statistics import mean, stdev

import numpy as np
import pytest
from rich.console import Console

from experiments.bert.evaluation import ClassSums, summarise
from experiments.bert.results import Row, arm_order, markdown, rows, table
from experiments.bert.tags import CLASSES, TASKS
from experiments.records import RESULT, collect, run_folder


def summary(seed, empty=()):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, size=(20, len(CLASSES))).astype(float)
    for name in empty:
        counts[:, CLASSES.index(name)] = 0
    sums = counts * rng.uniform(1, 9, size=counts.shape)
    return summarise(ClassSums(sums, counts, np.zeros(0)), resamples=10).as_data()


def saved(out, arm, seed, **splits):
    folder = run_folder(out, arm, seed)
    folder.mkdir(parents=True)
    content = {"arm": arm, "seed": seed, "configuration": "seed: 0\n", **splits}
    (folder / RESULT).write_text(json.dumps(content), encoding="utf-8")
    return json.loads(json.dumps(content))


def cells(text):
    """Cells of a Markdown table by the first cell of their row."""
    lines = [line.strip("|").split("|") for line in text.splitlines()]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def printed(made):
    console = Console(file=io.StringIO(), width=200)
    console.print(table(made, "A title"))
    return console.file.getvalue()


def test_rows_have_the_values_of_each_seed_in_the_order_of_the_arms(tmp_path):
    written = {
        (arm, seed): saved(tmp_path, arm, seed, valid=summary(100 * seed + ord(arm)))
        for arm in "abc"
        for seed in (0, 1)
    }
    saved(tmp_path, "d", 0, test=summary(0))
    made = rows(collect(tmp_path), ["c", "d", "a", "unknown"], "valid")
    assert [row.arm for row in made] == ["c", "a"]
    for row in made:
        assert row.seeds == (0, 1)
        runs = [written[row.arm, seed]["valid"] for seed in (0, 1)]
        for name in TASKS:
            assert row.values[name] == tuple(run["risks"][name]["value"] for run in runs)
        for key, title in (("worst", "worst"), ("mean_but_interjection", "mean*")):
            assert row.values[title] == tuple(run[key]["value"] for run in runs)


def test_a_class_that_no_run_has_makes_no_row_and_one_that_some_lack_a_dash(tmp_path):
    saved(tmp_path, "a", 0, valid=summary(0, empty=("interjection", "noun")))
    saved(tmp_path, "b", 0, valid=summary(1, empty=("interjection",)))
    found = cells(markdown(rows(collect(tmp_path), ["a", "b"], "valid")))
    assert "interjection" not in found
    assert found["noun"][1] == "–"
    assert found["noun"][2] != "–"


def test_cells_have_mean_and_standard_deviation_and_the_smallest_mean_is_bold():
    one, two = (1.0, 2.0, 4.5), (2.0, 2.0, 3.0)
    made = [Row("a", (0, 1, 2), {"noun": one}), Row("b", (0, 1, 2), {"noun": two})]
    expected = [f"{mean(v):.2f} ± {stdev(v):.2f}" for v in (one, two)]
    assert cells(markdown(made))["noun"] == [expected[0], f"**{expected[1]}**"]
    assert cells(markdown(made))[""] == ["a", "b"]
    shown = printed(made)
    assert "A title" in shown
    assert all(cell in shown for cell in expected)


def test_no_value_is_bold_among_those_that_look_the_same():
    made = [Row(arm, (0,), {"noun": (v,)}) for arm, v in (("a", 1.231), ("b", 1.234))]
    assert cells(markdown(made))["noun"] == ["1.23", "1.23"]
    made.append(Row("c", (0,), {"noun": (1.3,)}))
    assert cells(markdown(made))["noun"] == ["**1.23**", "**1.23**", "1.30"]


def test_classes_have_the_number_of_their_held_out_pieces(tmp_path):
    content = summary(0, empty=("interjection",))
    saved(tmp_path, "a", 0, valid=content)
    found = cells(markdown(rows(collect(tmp_path), ["a"], "valid")))
    assert found[""] == ["pieces", "a"]
    assert found["noun"][0] == str(content["counts"]["noun"])
    assert found["worst"][0] == ""
    made = [Row(arm, (0,), {"noun": (1.0,)}, {"noun": n}) for arm, n in (("a", 9), ("b", 1200))]
    assert cells(markdown(made))["noun"][0] == "9–1,200"


@pytest.mark.parametrize("empty", [(), ("interjection",), ("interjection", "conjunction")])
def test_a_rule_divides_the_classes_from_the_numbers_over_them(tmp_path, empty):
    saved(tmp_path, "a", 0, valid=summary(0, empty=empty))
    before = re.split(r"\n├[^\n]*┤\n", printed(rows(collect(tmp_path), ["a"], "valid")))
    assert len(before) == 2
    assert before[1].split()[1] == "worst"


def test_arms_are_in_the_order_of_their_dates_after_the_reference():
    runs = [
        ("b", "2026-01-02"),
        ("average", "2026-01-03"),
        ("a", "2026-01-04"),
        ("a", "2026-01-01"),
    ]
    made = [{"arm": arm, "date": date} for arm, date in runs]
    assert arm_order(made) == ["average", "a", "b"]


def test_one_seed_has_no_deviation_and_one_arm_is_not_the_best():
    made = [Row("a", (0,), {"noun": (1.234,)})]
    assert cells(markdown(made))["noun"] == ["1.23"]


def test_bold_in_the_terminal_is_the_smallest():
    made = [Row("a", (0,), {"noun": (1.25,)}), Row("b", (0,), {"noun": (3.75,)})]
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(table(made, "A title"))
    shown = console.file.getvalue()
    assert "\x1b[1m1.25\x1b[0m" in shown
    assert "\x1b[1m3.75" not in shown
