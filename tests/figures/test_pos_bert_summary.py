import dataclasses
import json
from statistics import fmean

import numpy as np
import pytest

from experiments.bert.aggregates import AGGREGATES
from experiments.bert.evaluation import ClassSums, differences
from experiments.bert.tags import TASKS
from experiments.records import RESULT, run_folder
from figures import data, pos_bert_summary
from figures.arms import ARMS as LOOKS
from figures.pos_bert_summary import WHOLE
from tests.figures.helpers import table
from tests.figures.made_up_runs import write_runs

ARMS = ["average", "token-mean", "minimax", "my own"]
SEEDS = (0, 3)
FIELDS = {title: field for field, title in AGGREGATES.items()}


@pytest.fixture(scope="module")
def summary(saved):
    return data.load("pos_bert_summary", saved)


def result(runs, arm, seed):
    return json.loads((run_folder(runs, arm, seed) / RESULT).read_text(encoding="utf-8"))


def interval(content, split, quantity):
    """Value, lower and upper end of a quantity, from the content of a file."""
    found = content[split].get(FIELDS.get(quantity, "")) or content[split]["risks"][quantity]
    return found["value"], found["lower"], found["upper"]


def sums(runs, arm, seed, split):
    with np.load(run_folder(runs, arm, seed) / f"{split}.npz") as saved:
        return ClassSums(saved["sums"], saved["counts"], np.zeros(0))


def test_saved_risks_are_exactly_those_of_the_results(runs, saved):
    rows = table(saved, "pos_bert_summary")
    quantities = {*TASKS, *AGGREGATES.values()}
    assert len(rows) == len(ARMS) * len(SEEDS) * 2 * len(quantities)
    for row in rows:
        content = result(runs, row["arm"], int(row["seed"]))
        found = tuple(float(row[key]) for key in ("risk", "lower", "upper"))
        assert found == interval(content, row["split"], row["quantity"])
        counts = content[row["split"]]["counts"]
        pieces = counts.get(row["quantity"])
        assert (float(row["pieces"]) if row["pieces"] else None) == pieces
    assert {row["quantity"] for row in rows} == quantities


def test_differences_are_to_the_average_of_the_same_seed(runs, saved):
    for row in table(saved, "pos_bert_summary"):
        seed, split, quantity = int(row["seed"]), row["split"], row["quantity"]
        reference = interval(result(runs, "average", seed), split, quantity)[0]
        assert float(row["difference"]) == float(row["risk"]) - reference
        if row["arm"] == "average":
            assert row["difference_lower"] == row["difference_upper"] == ""
            continue
        if split == "test":
            pair = (sums(runs, arm, seed, split) for arm in (row["arm"], "average"))
            paired = differences(*pair)[FIELDS.get(quantity, quantity)]
            assert float(row["difference_lower"]) == paired.lower
            assert float(row["difference_upper"]) == paired.upper


def order(runs):
    """Classes from the highest risk of the average, then numbers over the classes."""
    contents = [result(runs, "average", seed) for seed in SEEDS]
    risk = {t: fmean(interval(c, "test", t)[0] for c in contents) for t in TASKS}
    return [*sorted(TASKS, key=lambda task: -risk[task]), *WHOLE]


def points(axes, arm):
    """Points of an arm from top to bottom, in the figure's order of arms."""
    color, marker = LOOKS.get(arm, ("#D55E00", "*"))
    lines = [line for line in axes.lines if line.get_marker() == marker]
    assert {line.get_color() for line in lines} == {color}
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def bars(axes, arm):
    """Both ends of every interval of an arm, by ordinate."""
    color = LOOKS.get(arm, ("#D55E00", "*"))[0]
    found = {}
    for bar in axes.collections:
        rgba = bar.get_edgecolor()[0]
        if "#" + "".join(f"{round(255 * c):02x}" for c in rgba[:3]) == color.lower():
            (low, y), (high, _) = bar.get_segments()[0]
            found[round(y, 9)] = (low, high)
    return found


def test_points_and_intervals_are_those_of_the_results_in_the_order_of_the_average(runs, summary):
    left, right = pos_bert_summary.draw(summary).axes
    quantities = order(runs)
    names = [label.get_text().partition(" (")[0] for label in left.get_yticklabels()]
    assert names == quantities
    for arm in ARMS:
        contents = [result(runs, arm, seed) for seed in SEEDS]
        intervals = bars(left, arm)
        for (x, y), quantity in zip(points(left, arm), quantities, strict=True):
            found = [interval(content, "test", quantity) for content in contents]
            assert x == pytest.approx(fmean(value for value, _, _ in found))
            assert round(y) == quantities.index(quantity)
            ends = min(low for _, low, _ in found), max(high for _, _, high in found)
            assert intervals[round(y, 9)] == pytest.approx(ends)
    for arm in ARMS[1:]:
        intervals = bars(right, arm)
        for (x, y), quantity in zip(points(right, arm), quantities, strict=True):
            rows = summary.where(arm=arm, split="test", quantity=quantity)
            assert x == pytest.approx(fmean(rows["difference"]))
            ends = min(rows["difference_lower"]), max(rows["difference_upper"])
            assert intervals[round(y, 9)] == pytest.approx(ends)
    assert not [line for line in right.lines if line.get_marker() == LOOKS["average"][1]]


def test_arms_of_a_row_are_on_the_same_line_of_both_panels(summary):
    left, right = pos_bert_summary.draw(summary).axes
    for arm in ARMS[1:]:
        assert [y for _, y in points(left, arm)] == [y for _, y in points(right, arm)]


def test_classes_have_the_number_of_their_pieces(runs, summary):
    left, _ = pos_bert_summary.draw(summary).axes
    counts = result(runs, "average", 0)["test"]["counts"]
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert set(labels) == {*(f"{task} ({counts[task]})" for task in TASKS), *WHOLE}


def test_a_class_of_few_pieces_is_a_pale_point_and_the_reason_is_said(runs, summary):
    pieces = dict.fromkeys(TASKS, 10000.0) | {"adverb": 29.0, "noun": 30.0}
    counts = np.array([pieces.get(quantity, np.nan) for quantity in summary["quantity"]])
    changed = dataclasses.replace(summary, values={**summary.values, "pieces": counts})
    figure = pos_bert_summary.draw(changed)
    others = set(range(len(order(runs)))) - {order(runs).index("adverb")}
    for axes in figure.axes:
        pale = {line.get_ydata()[0] for line in axes.lines if line.get_alpha() == 0.35}
        assert {round(y) for y in pale} == {order(runs).index("adverb")}
        assert {round(y) for y in bars(axes, "minimax")} == others
    assert any("fewer than 30 pieces" in text.get_text() for text in figure.texts)
    assert all(text.get_window_extent().x1 < figure.bbox.x1 for text in figure.texts)


def test_without_sums_differences_have_no_intervals(tmp_path):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    (run_folder(tmp_path, "average", 0) / "test.npz").unlink()
    found = pos_bert_summary.read(tmp_path).where(arm="minimax")
    assert np.all(np.isfinite(found["difference"]))
    assert np.all(np.isnan(found.where(split="test")["difference_lower"]))
    assert np.all(np.isfinite(found.where(split="valid")["difference_lower"]))
    _, right = pos_bert_summary.draw(pos_bert_summary.read(tmp_path)).axes
    assert not bars(right, "minimax")
    assert len(points(right, "minimax")) == len(TASKS) + len(WHOLE)


def test_without_the_average_there_are_no_differences(tmp_path):
    write_runs(tmp_path, {"minimax": "pos", "hard-max": "pos"})
    found = pos_bert_summary.read(tmp_path)
    assert np.all(np.isnan(found["difference"]))
    figure = pos_bert_summary.draw(found)
    assert len(figure.axes) == 1
    worst = {arm: pos_bert_summary.mean(found.where(split="test"), "worst*", arm) for arm in
             ("minimax", "hard-max")}  # fmt: skip
    best = min(worst, key=worst.__getitem__)
    title = f"{best}: lowest worst class*, {worst[best]:.2f} nats"
    assert pos_bert_summary.finding(found) == title


def test_the_validation_split_is_shown_where_there_is_no_test(tmp_path):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos"})
    for arm in ("average", "minimax"):
        path = run_folder(tmp_path, arm, 0) / RESULT
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["test"]
        path.write_text(json.dumps(content), encoding="utf-8")
    assert pos_bert_summary.read(tmp_path).parameters["split"] == "valid"


def test_a_class_without_a_piece_has_no_row(tmp_path):
    write_runs(tmp_path, {"average": "pos"})
    path = run_folder(tmp_path, "average", 0) / RESULT
    content = json.loads(path.read_text(encoding="utf-8"))
    for split in ("valid", "test"):
        del content[split]["risks"]["interjection"]
        content[split]["counts"]["interjection"] = 0
    path.write_text(json.dumps(content), encoding="utf-8")
    (left,) = pos_bert_summary.draw(pos_bert_summary.read(tmp_path)).axes
    names = [label.get_text().partition(" (")[0] for label in left.get_yticklabels()]
    assert set(names) == {*TASKS, *WHOLE} - {"interjection"}


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({}, None),
        ({"minimax-random": "random"}, "1 arm of other groupings left out"),
        (
            {"minimax-random": "random", "average-frequency": "frequency"},
            "2 arms of other groupings left out",
        ),
    ],
)
def test_arms_of_other_groupings_that_are_left_out_are_counted(tmp_path, others, said):
    write_runs(tmp_path, {"average": "pos", "minimax": "pos", **others}, seeds=(0, 3))
    found = pos_bert_summary.read(tmp_path)
    assert set(found.parameters["left_out"]) == set(others)
    assert set(found["arm"]) == {"average", "minimax"}
    texts = [text.get_text() for text in pos_bert_summary.draw(found).texts]
    assert [text.rpartition("; ")[2] for text in texts if "left out" in text] == [said] * bool(said)


def test_title_says_what_the_numbers_say(summary):
    def where(**equal):
        return np.logical_and.reduce([summary[key] == value for key, value in equal.items()])

    risk, difference = summary["risk"].copy(), summary["difference"].copy()
    risk[where(arm="minimax", quantity="worst*")] = 0.5
    difference[where(arm="minimax", quantity="worst*")] = -1.234
    difference[where(arm="minimax", quantity="mean*")] = 0.5
    values = {**summary.values, "risk": risk, "difference": difference}
    changed = dataclasses.replace(summary, values=values)
    title = "minimax: worst class* −1.23 nats against average, mean of classes* +0.50"
    assert pos_bert_summary.finding(changed) == title
    risk[where(arm="average", quantity="worst*")] = 0.25
    assert pos_bert_summary.finding(changed) == "average: lowest worst class*, 0.25 nats"
