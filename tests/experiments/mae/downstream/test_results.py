import io
import statistics

import pytest
from rich.console import Console

from experiments.mae.downstream.metrics import PRIMARY, task_metrics
from experiments.mae.downstream.results import METRICS, markdown, rows, table, to_data
from experiments.records import RecordError


def result(arm, seed, **test):
    return {"arm": arm, "seed": seed, "task": "depth", "test": {"images": 3, **test}}


MADE = [
    result("average", 0, delta_1=0.70, rmse=0.50),
    result("minimax", 0, delta_1=0.80, rmse=0.55),
    result("average", 1, delta_1=0.74, rmse=0.52),
]


def test_a_row_is_an_arm_with_mean_and_deviation_over_its_runs():
    lines = markdown("depth", rows("depth", MADE)).splitlines()
    assert lines[0] == "|  | δ1, % | rmse, m | runs |"
    assert lines[2] == "| average | 72.0 ± 2.8 | **0.510** ± 0.014 | 2 |"
    assert lines[3] == "| minimax | **80.0** | 0.550 | 1 |"


def test_the_terminal_shows_the_same_numbers():
    console = Console(file=io.StringIO(), width=120)
    console.print(table("depth", rows("depth", MADE), "Depth"))
    shown = console.file.getvalue()
    for text in ("average", "72.0 ± 2.8", "0.510 ± 0.014", "80.0", "0.550"):
        assert text in shown


def test_nothing_is_marked_where_nothing_is_better():
    made = [result("a", 0, delta_1=0.70), result("b", 0, delta_1=0.7000001)]
    assert "**" not in markdown("depth", rows("depth", made))


def test_data_have_every_value():
    (first, second) = to_data(rows("depth", MADE))
    assert first["values"]["delta_1"] == [0.70, 0.74]
    assert first["mean"]["delta_1"] == statistics.mean([0.70, 0.74])
    assert first["deviation"]["delta_1"] == statistics.stdev([0.70, 0.74])
    assert second["deviation"]["delta_1"] is None


def test_a_result_without_numbers_is_refused():
    with pytest.raises(RecordError, match="has no 'test'"):
        rows("depth", [{"arm": "a", "seed": 0, "task": "depth"}])


@pytest.mark.parametrize("task", ["cls", "semseg", "depth"])
def test_the_metric_of_the_paper_comes_first_and_all_are_measured(task):
    assert next(iter(METRICS[task])) == PRIMARY[task]
    assert all(isinstance(name, str) for name in METRICS[task])
    measured = task_metrics(task, 6)
    if task == "cls":
        assert set(METRICS[task]) <= set(measured.keys())
    elif task == "depth":
        assert set(METRICS[task]) <= set(measured.NAMES)
