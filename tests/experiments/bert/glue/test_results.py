import io
from statistics import mean, median

import pytest
from rich.console import Console

from experiments.bert.glue.results import headline, markdown, rows, table, to_data
from experiments.bert.glue.tasks import TASKS

TITLES = [task.title for task in TASKS.values()]


def result(arm, name, value, **more):
    task = TASKS[name]
    dev = {part.name: dict.fromkeys(task.metrics, value) for part in task.parts}
    for part, score in more.items():
        dev[part] = dict.fromkeys(task.metrics, score)
    return {"arm": arm, "task": name, "dev": dev}


def every(arm, values):
    """Results on all tasks; those of each are a point higher than those of the one before."""
    return [
        result(arm, name, value + number / 100)
        for number, name in enumerate(TASKS)
        for value in values
    ]


def cells(text):
    """Cells of a Markdown table by the first cell of their row."""
    found = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in found}


def head(text):
    return [cell.strip() for cell in text.splitlines()[0].strip("|").split("|")]


def test_rows_hold_every_score_of_an_arm_in_per_cent():
    made = rows([result("b", "rte", 0.5), result("a", "rte", 0.25), result("b", "rte", 0.75)])
    assert [row.arm for row in made] == ["b", "a"]
    assert made[0].values == {"RTE": (50.0, 75.0)}


def test_mismatched_is_beside_matched_and_not_in_the_average():
    (row,) = rows([result("a", "mnli", 0.8, mismatched=0.1), result("a", "rte", 0.6)])
    assert row.values["MNLI"] == (80.0,)
    assert row.values["MNLI-mm"] == (10.0,)
    text = markdown([row])
    assert head(text) == ["", "MNLI acc.", "MNLI-mm acc.", "RTE acc.", "Avg. (2)", "runs"]
    assert cells(text)["a"] == ["80.0", "10.0", "60.0", "70.0", "1"]


def test_cells_have_median_and_spread_and_the_average_is_that_of_the_medians():
    values = (0.31, 0.2, 0.7)
    text = markdown(rows(every("a", values)))
    medians = [100 * median(values) + number for number in range(8)]
    columns = dict(zip(head(text)[1:], cells(text)["a"], strict=True))
    assert columns["QQP F1"] == "32.0 (21.0–71.0)"
    assert columns["CoLA Matthews"] == "35.0 (24.0–74.0)"
    assert columns["Avg. (8)"] == f"{mean(medians):.1f}"
    assert columns["runs"] == "3"


def test_the_best_median_is_bold_and_an_arm_without_a_task_has_no_average():
    results = [*every("a", (0.3, 0.5)), *every("b", (0.1, 0.8)), result("c", "rte", 0.2)]
    made = rows(results)
    found = {arm: dict(zip(head(markdown(made))[1:], row, strict=True))
             for arm, row in list(cells(markdown(made)).items())[2:]}  # fmt: skip
    assert found["b"]["RTE acc."] == "**52.0** (17.0–87.0)"
    assert found["a"]["RTE acc."] == "47.0 (37.0–57.0)"
    assert found["c"] == {
        name: "20.0" if name == "RTE acc." else "1" if name == "runs" else "–"
        for name in found["a"]
    }
    assert found["b"]["Avg. (8)"].startswith("**")
    assert not found["a"]["Avg. (8)"].startswith("**")


def test_nothing_is_best_among_equals():
    made = rows([result("a", "rte", 0.5), result("b", "rte", 0.5)])
    assert "**" not in markdown(made)


def test_nothing_is_best_among_those_that_look_equal():
    made = [result("a", "rte", 0.5001), result("b", "rte", 0.5004)]
    assert "**" not in markdown(rows(made))
    found = cells(markdown(rows([*made, result("c", "rte", 0.4)])))
    assert [found[arm][0] for arm in "abc"] == ["**50.0**", "**50.0**", "40.0"]


def test_negative_scores_have_a_minus_and_no_dash_beside_it():
    made = [result("a", "cola", v) for v in (-0.161, -0.155, -0.147)]
    made += [result("b", "cola", v) for v in (-0.1, 0.2)]
    found = cells(markdown(rows(made)))
    assert found["a"][0] == "−15.5 (−16.1 to −14.7)"
    assert found["b"][0] == "**5.0** (−10.0 to 20.0)"


def test_unequal_numbers_of_runs_are_told():
    results = [result("a", "rte", 0.5), result("a", "cola", 0.5), result("a", "cola", 0.6)]
    assert cells(markdown(rows(results)))["a"][-1] == "1–2"


def test_the_terminal_shows_the_same_numbers():
    made = rows([*every("a", (0.3, 0.5)), *every("b", (0.1, 0.8))])
    console = Console(file=io.StringIO(), width=140)
    console.print(table(made, "A title"))
    shown = console.file.getvalue()
    assert "A title" in shown
    for text in ("MNLI-mm", "Spearman", "40.0", "30.0–50.0", "45.0", "Avg."):
        assert text in shown


def test_data_has_the_second_metrics_too():
    (found,) = to_data(rows([result("a", "mrpc", 0.5), result("a", "stsb", 0.25)]))
    assert found["values"] == {
        "MRPC": [50.0], "MRPC accuracy": [50.0], "STS-B": [25.0], "STS-B pearson": [25.0]
    }  # fmt: skip
    assert found["average"] == pytest.approx(37.5)


def test_the_headline_is_table_1s_metric_on_the_matched_part():
    assert headline(result("a", "mnli", 0.3, mismatched=0.9)) == 0.3
    found = {"task": "qqp", "dev": {"": {"f1": 0.1, "accuracy": 0.9}}}
    assert headline(found) == 0.1
