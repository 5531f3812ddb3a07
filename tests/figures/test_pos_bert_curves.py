import dataclasses
import json
from statistics import fmean

import numpy as np
import pytest

from experiments.bert.tags import TASKS
from experiments.records import RESULT, run_folder
from figures import data, pos_bert_curves
from figures import traces as tracing
from figures.traces import POINTS, held_out, smoothed
from tests.figures.helpers import drawn, table
from tests.figures.made_up_runs import write_runs

ARMS = ["average", "token-mean", "minimax", "my own"]
SEEDS = (0, 3)
COMMON = [task for task in TASKS if task != "interjection"]


@pytest.fixture(scope="module")
def traces(saved):
    return data.load("pos_bert_curves", saved)


@pytest.fixture(scope="module")
def figure(traces):
    return pos_bert_curves.draw(traces)


def logged(runs, arm, seed, prefix):
    """Numbers of a run's logs by step and task, from its file."""
    content = json.loads((run_folder(runs, arm, seed) / RESULT).read_text(encoding="utf-8"))
    return {
        (log["step"], key.removeprefix(prefix)): value
        for log in content["history"]
        for key, value in log.items()
        if key.startswith(prefix)
    }


def averaged(runs, arm, prefix, task):
    """{step: mean over seeds} of a task, from the files."""
    found = [logged(runs, arm, seed, prefix) for seed in SEEDS]
    steps = sorted({step for each in found for step, name in each if name == task})
    return {s: fmean(each[s, task] for each in found if (s, task) in each) for s in steps}


def title(axes):
    return axes.get_title(loc="left")


def panel(figure, start):
    return next(axes for axes in figure.axes if title(axes).startswith(start))


@pytest.mark.parametrize(
    ("column", "prefix"),
    [
        ("risk", "risk/"),
        ("weight", "weight/"),
        ("count", "count/"),
        ("held_out", "eval_risk/"),
    ],
)
def test_saved_numbers_are_exactly_those_of_the_logs(runs, saved, column, prefix):
    rows = table(saved, "pos_bert_curves")
    assert {(row["arm"], int(row["seed"])) for row in rows} == {(a, s) for a in ARMS for s in SEEDS}
    for arm in ARMS:
        for seed in SEEDS:
            found = {
                (int(row["step"]), row["task"]): float(row[column])
                for row in rows
                if row["arm"] == arm and int(row["seed"]) == seed and row[column]
            }
            assert found == logged(runs, arm, seed, prefix)


def test_risks_of_every_arm_are_drawn_with_the_worst_underlaid(runs, figure):
    panels = {title(axes): axes for axes in figure.axes if title(axes) in ARMS}
    assert list(panels) == ARMS
    for arm, axes in panels.items():
        worst, *curves = drawn(axes)
        expected = [averaged(runs, arm, "risk/", task) for task in TASKS]
        assert [line.get_label() for line in axes.lines[1:]] == list(TASKS)
        for curve, values in zip(curves, expected, strict=True):
            assert curve == pytest.approx(values)
        for step in (10, 20, 30, 40):
            assert worst[step] == max(curve[step] for curve in curves if step in curve)


def test_the_class_that_ends_worst_is_named_in_bold(runs, figure):
    for arm in ARMS:
        axes = panel(figure, arm)
        ends = {task: averaged(runs, arm, "risk/", task)[40] for task in TASKS}
        bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
        assert bold == [max(ends, key=ends.__getitem__)]
        assert {text.get_text() for text in axes.texts} == set(TASKS)


def test_bands_of_weights_are_as_high_as_the_weights(runs, figure):
    lower = [axes for axes in figure.axes if len(axes.collections) == len(TASKS)]
    for arm, axes in zip(ARMS, lower, strict=True):
        below = dict.fromkeys((10, 20, 30, 40), 0.0)
        for task, band in zip(reversed(TASKS), axes.collections, strict=True):
            expected = averaged(runs, arm, "weight/", task)
            for step, share in expected.items():
                vertices = band.get_paths()[0].vertices
                edge = vertices[vertices[:, 0] == step, 1]
                assert edge.min() == pytest.approx(below[step])
                assert edge.max() == pytest.approx(below[step] + share)
                below[step] += share
        assert list(below.values()) == pytest.approx([1.0] * 4)


def test_counts_are_means_over_all_runs_without_the_empty(runs, figure):
    curves = drawn(panel(figure, "masked pieces"))
    for task, curve in zip(TASKS, curves, strict=True):
        for step, value in curve.items():
            each = [logged(runs, a, s, "count/")[step, task] for a in ARMS for s in SEEDS]
            assert value == pytest.approx(fmean(each))
    assert sorted(curves[-1]) == [10, 30, 40]  # no interjection between the first two logs


@pytest.mark.parametrize(("start", "over"), [("worst*", max), ("mean*", fmean)])
def test_held_out_numbers_leave_the_interjection_out(runs, figure, start, over):
    curves = drawn(panel(figure, start))
    for arm, curve in zip(ARMS, curves, strict=True):
        assert sorted(curve) == [20, 40]
        for step, value in curve.items():
            each = [logged(runs, arm, seed, "eval_risk/") for seed in SEEDS]
            assert value == pytest.approx(fmean(over([r[step, t] for t in COMMON]) for r in each))


def test_long_curves_are_averaged_over_neighbouring_logs(tmp_path):
    write_runs(tmp_path, {"average": "pos"}, logs=4 * POINTS + 1)
    rows = pos_bert_curves.read(tmp_path).where(task="noun")
    steps, values = smoothed(rows, "risk")
    assert len(steps) == 41
    raw = logged(tmp_path, "average", 0, "risk/")
    first, last = [10, 20, 30, 40, 50], [2010]
    for point, group in ((0, first), (-1, last)):
        assert steps[point] == fmean(group)
        assert values[point] == pytest.approx(fmean(raw[step, "noun"] for step in group))


def test_curves_of_a_task_that_is_missing_now_and_then_have_the_steps_of_the_others(tmp_path):
    write_runs(tmp_path, {"average": "pos"}, logs=2 * POINTS)
    found = pos_bert_curves.read(tmp_path)
    rare, common = (smoothed(found.where(task=t), "risk")[0] for t in ("interjection", "noun"))
    assert list(rare) == list(common)  # a missing log is averaged over, not away


def test_no_rows_make_no_curve(traces):
    steps, values = smoothed(traces.where(task="nothing"), "risk")
    assert len(steps) == len(values) == 0


def altered(rows, column, value, **where):
    """The data with a column set in the given rows."""
    mask = np.ones(len(rows), dtype=bool)
    for key, wanted in where.items():
        mask &= rows[key] == wanted
    assert np.any(mask)
    values = {**rows.values, column: np.where(mask, value, rows[column])}
    return dataclasses.replace(rows, values=values)


def test_title_says_what_the_numbers_say(traces):
    last = traces["step"] == 40
    assert np.any(last)
    low = altered(traces, "held_out", 2.0, arm="minimax", step=40)
    low = altered(low, "held_out", 2.5, arm="minimax", step=40, task="noun")
    low = altered(low, "held_out", 99.0, arm="minimax", step=40, task="interjection")
    low = altered(low, "weight", 0.41, arm="minimax", step=40, task="noun")
    average = held_out(traces.where(arm="average"), COMMON, np.nanmax)[1][-1]
    assert pos_bert_curves.finding(low) == (
        f"minimax: lowest worst class*, 2.50 nats (noun, 41 % of the weight); average {average:.2f}"
    )
    best = altered(traces, "held_out", 1.0, arm="average", step=40)
    assert pos_bert_curves.finding(best).startswith("average: lowest worst class*, 1.00 nats")
    assert ";" not in pos_bert_curves.finding(best)


def test_runs_without_evaluations_are_drawn(traces):
    silent = altered(traces, "held_out", np.nan, arm="average")
    silent = dataclasses.replace(
        silent, values={**silent.values, "held_out": np.full(len(silent), np.nan)}
    )
    figure = pos_bert_curves.draw(silent)
    assert not panel(figure, "worst*").lines
    assert pos_bert_curves.finding(silent) == "Risks and weights in training, arm by arm"


def test_a_broken_average_would_be_seen(traces, runs, monkeypatch):
    monkeypatch.setattr(tracing, "POINTS", 2)
    curve = drawn(panel(pos_bert_curves.draw(traces), "average"))[1]
    assert curve != pytest.approx(averaged(runs, "average", "risk/", TASKS[0]))
