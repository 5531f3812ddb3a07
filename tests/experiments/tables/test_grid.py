"""Tables 1 and 2 from records made by hand, against numbers computed from them otherwise."""

import csv
import io
import json
import re
from statistics import mean, stdev

import pytest
from rich.console import Console

from experiments.records import RecordError
from experiments.tables import render, table1, table2
from experiments.tables.made import made_grid
from experiments.tables.printed_values import AVERAGE
from experiments.tables.store import Key, Store
from tests.experiments.report.stores import fill_bert

ROWS = {"None": "average", "Minimax": "minimax"}


def interval(value):
    return {"value": value, "lower": value - 1, "upper": value + 1}


def bert_records(scores, seeds=(0, 1, 2)):
    """Records with scores by arm, task, seed and seed of fine-tuning."""
    made = {}
    for arm in ROWS.values():
        for seed in seeds:
            worst = interval(5.0 + seed - (arm == "minimax"))
            made[Key("bert", "own", arm, seed, "pretrain")] = {
                "test": {"worst_but_interjection": worst, "mean_but_interjection": interval(3.0)},
            }
            for task in ("cola", "rte"):
                for number in (0, 1):
                    metric = {"cola": "matthews", "rte": "accuracy"}[task]
                    key = Key("bert", "own", arm, seed, f"{task}-{number}")
                    value = scores(arm, task, seed, number)
                    made[key] = {"task": task, "dev": {"": {metric: value}}}
    return made


def score(arm, task, seed, number):
    return 0.5 + 0.1 * (arm == "minimax") - 0.2 * (task == "cola") + 0.01 * seed**2 + 0.04 * number


@pytest.fixture
def glue():
    return table1.grid("own", ROWS, bert_records(score))


def cells(grid):
    return list(csv.DictReader(io.StringIO(render.to_csv(grid))))


def test_a_cell_is_the_mean_over_seeds_of_means_over_fine_tunings(glue):
    for cell in cells(glue):
        task = {"CoLA": "cola", "RTE": "rte"}.get(cell["column"])
        if task is None:
            continue
        by_seed = [
            mean(100 * score(cell["arm"], task, seed, number) for number in (0, 1))
            for seed in (0, 1, 2)
        ]
        assert float(cell["mean"]) == pytest.approx(mean(by_seed))
        assert float(cell["deviation"]) == pytest.approx(stdev(by_seed))
        assert cell["seeds"] == "0 1 2"


def test_the_average_is_that_of_the_columns(glue):
    by_row = {}
    for cell in cells(glue):
        by_row.setdefault(cell["row"], {})[cell["column"]] = float(cell["mean"])
    for found in by_row.values():
        assert found[AVERAGE] == pytest.approx((found["CoLA"] + found["RTE"]) / 2)


def test_differences_are_paired_by_seed(glue):
    minimax = [cell for cell in cells(glue) if cell["row"] == "Minimax"]
    assert float(minimax[0]["difference"]) == pytest.approx(10)
    worst = next(cell for cell in minimax if cell["column"] == "worst")
    # the seeds differ by 2, the difference does not: no unpaired interval is so narrow
    assert [float(worst[f"difference{end}"]) for end in ("", "_lower", "_upper")] == [-1, -1, -1]


def test_a_seed_without_a_run_leaves_its_cells_out(glue):
    records = dict(glue.records)
    del records[Key("bert", "own", "minimax", 2, "rte-0")]
    del records[Key("bert", "own", "minimax", 2, "rte-1")]
    grid = table1.grid("own", ROWS, records)
    minimax = {cell["column"]: cell for cell in cells(grid) if cell["row"] == "Minimax"}
    assert minimax["RTE"]["seeds"] == "0 1"
    assert minimax[AVERAGE]["seeds"] == "0 1"
    assert minimax["CoLA"]["seeds"] == "0 1 2"
    assert grid.missing() == []
    assert table1.grid("own", {**ROWS, "DWA": "dwa"}, records).missing() == [
        "DWA/CoLA",
        "DWA/RTE",
        "DWA/Avg.",
        "DWA/worst",
        "DWA/mean",
    ]


def test_all_forms_show_the_same_numbers(glue):
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    console.print(render.to_terminal(glue))
    console.print(render.differences_table(glue))
    texts = [console.export_text(), render.to_markdown(glue), render.to_latex(glue)]
    for cell in cells(glue):
        digits = 2 if cell["metric"] == "nats" else 1
        shown = f"{float(cell['mean']):.{digits}f}"
        spread = f"{float(cell['deviation']):.{digits}f}"
        for text in texts:
            plain = re.sub(r"\*\*|\\textbf{([^}]*)}", r"\1", text).replace(r"$\pm$", "±")
            assert f"{shown} ± {spread}" in plain


def test_printed_values_stand_beside_with_their_errors_marked(glue):
    text = render.to_markdown(glue)
    assert r"| *printed* | 61.3\* | 70.7\* | 81.4† |" in text
    assert r"| *printed* | 54.3\* | · | 79.3 |" in text
    assert "| *BERT, printed* | 52.1 | 66.4 | 79.6† |" in text
    assert "† BERT, Minimax: the printed Avg. is not the mean of the printed columns" in text


def test_the_best_of_a_column_is_marked_and_ties_are_not(glue):
    text = render.to_markdown(glue)
    assert (
        "| Minimax | **43.7** ± 2.1 | **63.7** ± 2.1 | **53.7** ± 2.1 | **5.00** ± 1.00 |" in text
    )
    assert text.count("3.00 ± 0.00") == 2


def test_no_mean_is_best_over_other_seeds_than_the_rest(glue):
    records = {key: r for key, r in glue.records.items() if (key.arm, key.seed) != ("minimax", 2)}
    assert "**" not in render.to_markdown(table1.grid("own", ROWS, records))


def test_a_score_needs_every_seed_of_fine_tuning(glue):
    records = dict(glue.records)
    del records[Key("bert", "own", "average", 0, "rte-1")]
    grid = table1.grid("own", ROWS, records)
    none = {cell["column"]: cell for cell in cells(grid) if cell["row"] == "None"}
    assert none["RTE"]["seeds"] == "1 2"
    assert none["CoLA"]["seeds"] == "0 1 2"


def test_names_are_no_code_of_latex_or_markdown(glue):
    names = {"A|B & C_d #1 50 % α": "average", "Minimax": "minimax"}
    grid = table1.grid("own", names, glue.records)
    assert r"A|B \& C\_d \#1 50 \% $\alpha$ & 33.7" in render.to_latex(grid)
    assert r"| A\|B & C_d" in render.to_markdown(grid)
    assert render.to_latex(grid).count(r"\textbf{") == 4


def test_other_fine_tuning_does_not_get_into_a_table(tmp_path):
    store = fill_bert(Store(tmp_path), arms=("average", "minimax"), seeds=1)
    assert made_grid("table1", "cpu", ROWS, store)
    for name in ("cola-0", "pretrain"):
        path = store.path(Key("bert", "cpu", "minimax", 0, name))
        before = path.read_text(encoding="utf-8")
        changed = {**json.loads(before), "configuration": "{epochs: 9, steps: 3, model: other}"}
        path.write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(RecordError, match="not comparable"):
            made_grid("table1", "cpu", ROWS, store)
        path.write_text(before, encoding="utf-8")


def test_test_text_comes_before_validation_text():
    record = {
        "test": {"worst_but_interjection": interval(5.0)},
        "valid": {"worst_but_interjection": interval(7.0)},
    }
    grid = table1.grid("own", ROWS, {Key("bert", "own", "average", 0, "pretrain"): record})
    assert [cell["mean"] for cell in cells(grid) if cell["column"] == "worst"] == ["5.0", ""]


def test_table_2_reads_the_parts_of_its_columns():
    risks = {name: {"value": value} for name, value in (("rgb", 1.0), ("semseg", 2.0))}
    records = {
        Key("mae", "own", "average", 0, part): record
        for part, record in {
            "pretrain": {"held_out": {"risks": risks, "worst": 2.0}},
            "cls-0": {"test": {"accuracy": 0.25}},
            "cls-1": {"test": {"accuracy": 0.75}},
            "semseg-0": {"test": {"mean_iou": 0.1}},
            "semseg-half-0": {"test": {"mean_iou": 0.9}},
            "depth-0": {"test": {"delta_1": 0.4}},
        }.items()
    }
    grid = table2.grid("own", ROWS, records)
    found = {cell["column"]: cell["mean"] for cell in cells(grid) if cell["row"] == "None"}
    assert {name: value and float(value) for name, value in found.items()} == {
        "accuracy": 50,
        "mIoU": pytest.approx(10),
        "δ1": 40,
        "rgb risk": 1,
        "depth risk": "",
        "semseg risk": 2,
        "worst": 2,
    }
    assert render.differences_table(grid) is None
    assert "| Minimax | – |" in render.to_markdown(grid)
