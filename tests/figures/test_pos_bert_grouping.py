import json
from statistics import fmean

import numpy as np
import pytest

from experiments.bert.aggregates import AGGREGATES
from experiments.records import RESULT, run_folder
from figures import data, pos_bert_grouping
from figures.arms import ARMS as LOOKS
from figures.data import NothingToDrawError
from figures.pos_bert_grouping import PANELS
from tests.figures.helpers import table
from tests.figures.made_up_runs import write_runs

SEEDS = (0, 3)
ARM = {
    ("pos", "average"): "average",
    ("pos", "minimax"): "minimax",
    ("random", "average"): "average-random",
    ("random", "minimax"): "minimax-random",
}
FIELDS = {title: field for field, title in AGGREGATES.items()}


@pytest.fixture(scope="module")
def grouped(saved):
    return data.load("pos_bert_grouping", saved)


def results(runs, arm):
    paths = [run_folder(runs, arm, seed) / RESULT for seed in SEEDS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def test_saved_numbers_are_those_of_the_arms_with_several_groupings(runs, saved):
    rows = table(saved, "pos_bert_grouping")
    assert {(row["grouping"], row["balancer"]): row["arm"] for row in rows} == ARM
    for row in rows:
        content = results(runs, row["arm"])[SEEDS.index(int(row["seed"]))][row["split"]]
        found = content.get(FIELDS.get(row["quantity"], "")) or content["risks"][row["quantity"]]
        assert [float(row[key]) for key in ("risk", "lower", "upper")] == list(found.values())
        reference = results(runs, ARM[row["grouping"], "average"])
        theirs = reference[SEEDS.index(int(row["seed"]))][row["split"]]
        theirs = theirs.get(FIELDS.get(row["quantity"], "")) or theirs["risks"][row["quantity"]]
        assert float(row["difference"]) == found["value"] - theirs["value"]
        assert (row["difference_lower"] == "") == (row["balancer"] == "average")


def test_points_are_those_of_the_results_and_a_nat_is_as_long_in_every_panel(runs, grouped):
    figure = pos_bert_grouping.draw(grouped)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["parts of speech", "random groups"]
    for axes, quantity in zip(figure.axes, PANELS, strict=True):
        for name in ("average", "minimax"):
            marker = LOOKS[name][1]
            lines = [line for line in axes.lines if line.get_marker() == marker]
            for grouping, line in zip(("pos", "random"), lines, strict=True):
                values = [c["test"][FIELDS[quantity]] for c in results(runs, ARM[grouping, name])]
                assert line.get_xdata()[0] == pytest.approx(fmean(v["value"] for v in values))
                assert round(line.get_ydata()[0]) == ("pos", "random").index(grouping)
                ends = min(v["lower"] for v in values), max(v["upper"] for v in values)
                drawn = [bar.get_segments()[0] for bar in axes.collections]
                found = [s[:, 0] for s in drawn if s[0, 1] == line.get_ydata()[0]]
                assert tuple(found[0]) == pytest.approx(ends)
    widths = [np.diff(axes.get_xlim())[0] for axes in figure.axes]
    assert widths == pytest.approx([widths[0]] * len(widths))


def test_differences_are_written_below_the_points(grouped):
    figure = pos_bert_grouping.draw(grouped)
    for axes, quantity in zip(figure.axes, PANELS, strict=True):
        texts = [text.get_text() for text in axes.texts]
        for grouping, text in zip(("pos", "random"), texts, strict=True):
            rows = grouped.where(
                grouping=grouping, balancer="minimax", quantity=quantity, split="test"
            )
            numbers = text.replace("−", "-").replace("[", "").replace("]", "").replace(",", "")
            assert [float(number) for number in numbers.split()] == pytest.approx(
                [
                    np.mean(rows["difference"]),
                    np.min(rows["difference_lower"]),
                    np.max(rows["difference_upper"]),
                ],
                abs=0.0051,
            )


def test_title_says_what_the_numbers_say(grouped):
    changes = {
        grouping: fmean(
            grouped.where(grouping=grouping, balancer="minimax", quantity="worst*", split="test")[
                "difference"
            ]
        )
        for grouping in ("pos", "random")
    }
    words = [f"{value:+.2f}".replace("-", "−") for value in changes.values()]
    title = f"minimax − average, worst class*: {words[0]} by part of speech, {words[1]} at random"
    assert pos_bert_grouping.finding(grouped) == title


@pytest.mark.parametrize(
    "arms",
    [{"average": "pos", "minimax": "pos"}, {"average": "pos", "minimax-random": "random"}],
)
def test_arms_of_one_grouping_are_nothing_to_draw(tmp_path, arms):
    write_runs(tmp_path, arms)
    with pytest.raises(NothingToDrawError, match="no arm with several groupings") as raised:
        pos_bert_grouping.read(tmp_path)
    assert "pretrain --preset cpu" in str(raised.value)


def test_without_the_average_there_are_no_differences(tmp_path):
    write_runs(tmp_path, {"minimax": "pos", "minimax-frequency": "frequency"})
    found = pos_bert_grouping.read(tmp_path)
    assert found.parameters["groupings"] == ["pos", "frequency"]
    assert np.all(np.isnan(found["difference"]))
    assert "same arms with different groupings" in pos_bert_grouping.finding(found)
    assert not pos_bert_grouping.draw(found).axes[0].texts
