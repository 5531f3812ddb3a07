import json
from statistics import fmean

import numpy as np
import pytest

from experiments.configuration import load, preset_path
from experiments.mae.pretrain import pretrain
from experiments.mae.study import MaeStudy
from experiments.records import RESULT, run_folder
from figures import data, mae_curves, pos_bert_runs
from figures.data import DataError, NothingToDrawError
from tests.figures.helpers import drawn, table
from tests.figures.made_up_mae_runs import ARMS, TASKS, write_run, write_runs
from tests.figures.made_up_runs import alter
from tests.figures.made_up_runs import write_runs as write_bert_runs

SEEDS = (0, 3)
END = 41


@pytest.fixture(scope="module")
def traces(saved):
    return data.load("mae_curves", saved)


@pytest.fixture(scope="module")
def figure(traces):
    return mae_curves.draw(traces)


def content(runs, arm, seed):
    return json.loads((run_folder(runs, arm, seed) / RESULT).read_text(encoding="utf-8"))


def logged(runs, arm, seed, prefix):
    """Numbers of a run by step and task, from its file; held-out risks of the end are the last."""
    found = content(runs, arm, seed)
    numbers = {
        (log["step"], key.removeprefix(prefix)): value
        for log in found["history"]
        for key, value in log.items()
        if key.startswith(prefix)
    }
    if prefix == "eval_risk/":
        risks = found["held_out"]["risks"]
        numbers |= {(END, task): risk["value"] for task, risk in risks.items()}
    return numbers


def panel(figure, name):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == name)


@pytest.mark.parametrize(
    ("column", "prefix"), [("risk", "risk/"), ("weight", "weight/"), ("held_out", "eval_risk/")]
)
def test_saved_numbers_are_exactly_those_of_the_runs(mae_runs, saved, column, prefix):
    rows = table(saved, "mae_curves")
    assert {(row["arm"], int(row["seed"])) for row in rows} == {(a, s) for a in ARMS for s in SEEDS}
    for arm in ARMS:
        for seed in SEEDS:
            found = {
                (int(row["step"]), row["task"]): float(row[column])
                for row in rows
                if row["arm"] == arm and int(row["seed"]) == seed and row[column]
            }
            assert found == logged(mae_runs, arm, seed, prefix)


def test_every_arm_has_its_risks_and_weights(mae_runs, figure):
    for place, arm in enumerate(ARMS):
        upper, lower = figure.axes[2 * place : 2 * place + 2]
        assert upper.get_title(loc="left") == arm
        worst, *curves = drawn(upper)
        for task, curve in zip(TASKS, curves, strict=True):
            each = [logged(mae_runs, arm, seed, "risk/") for seed in SEEDS]
            expected = {10.0 * k: fmean(e[10 * k, task] for e in each) for k in range(1, 5)}
            assert curve == pytest.approx(expected)
        assert worst == {step: max(curve[step] for curve in curves) for step in worst}
        shares = {text.get_text() for text in lower.texts}
        each = [logged(mae_runs, arm, seed, "weight/") for seed in SEEDS]
        last = {task: fmean(e[40, task] for e in each) for task in TASKS}
        assert shares == {f"{t} {100 * w:.0f} %" for t, w in last.items() if w >= 0.07}


@pytest.mark.parametrize(("name", "over"), [("worst", max), ("mean", fmean)])
def test_held_out_risks_end_with_those_of_the_record(mae_runs, figure, name, over):
    for arm, curve in zip(ARMS, drawn(panel(figure, f"{name} held-out risk")), strict=True):
        assert sorted(curve) == [20, 40, END]
        for step, value in curve.items():
            each = [logged(mae_runs, arm, seed, "eval_risk/") for seed in SEEDS]
            assert value == pytest.approx(fmean(over([e[step, t] for t in TASKS]) for e in each))


def test_gains_are_paired_by_seed(mae_runs, traces, figure):
    found = mae_curves.gains(traces)
    assert list(found) == ["minimax", "my own"]
    axes = panel(figure, "held-out risk less average's")
    means = [line for line in axes.lines if line.get_marker() not in {".", "None"}]
    for arm in found:
        for task in TASKS:
            expected = {
                seed: logged(mae_runs, arm, seed, "eval_risk/")[END, task]
                - logged(mae_runs, "average", seed, "eval_risk/")[END, task]
                for seed in SEEDS
            }
            assert found[arm][task] == pytest.approx(expected)
            marks = [line.get_xdata()[0] for line in means]
            assert any(mark == pytest.approx(fmean(expected.values())) for mark in marks)


def test_arms_are_compared_on_the_seeds_that_all_have(tmp_path):
    write_runs(tmp_path, ("average", "minimax"), seeds=(0,))
    write_run(tmp_path, "average", 1)
    traces = mae_curves.read(tmp_path)
    alone = mae_curves.of_common_seeds(traces)
    assert set(alone["seed"].tolist()) == {0}
    curves = drawn(panel(mae_curves.draw(traces), "worst held-out risk"))
    risks = content(tmp_path, "average", 0)["held_out"]["risks"]
    assert curves[0][END] == pytest.approx(max(risk["value"] for risk in risks.values()))
    assert mae_curves.gains(traces)["minimax"]["rgb"].keys() == {0}


def test_arms_without_a_common_seed_are_drawn_all_the_same(tmp_path):
    write_run(tmp_path, "minimax", 0)
    write_run(tmp_path, "uncertainty", 1)
    traces = mae_curves.read(tmp_path)
    assert len(mae_curves.of_common_seeds(traces)) == len(traces)
    assert mae_curves.finding(traces) == "Risks and weights in training, arm by arm"
    said = [text.get_text() for text in mae_curves.draw(traces).texts]
    assert any("of seeds that differ from arm to arm" in text for text in said)
    assert mae_curves.gains(traces) == {
        arm: {task: {} for task in TASKS} for arm in ("minimax", "uncertainty")
    }
    assert not panel(mae_curves.draw(traces), "held-out risk less average's").get_legend()


def test_the_title_says_what_the_numbers_say(tmp_path):
    for arm, worst in (("average", 1.75), ("minimax", 1.25)):
        write_run(tmp_path, arm, 0)

        def change(found, worst=worst):
            risks = {"rgb": 0.5, "depth": worst, "semseg": 1.0}
            found["held_out"] = {"risks": {t: {"value": v} for t, v in risks.items()}}
            for log in found["history"]:
                if "weight/depth" in log:
                    log["weight/depth"] = 0.41

        alter(tmp_path, arm, 0, change)
    assert mae_curves.finding(mae_curves.read(tmp_path)) == (
        "minimax: lowest worst held-out risk, 1.25 (depth, 41 % of the weight); average 1.75"
    )


def test_what_cannot_be_drawn_is_named(tmp_path):
    with pytest.raises(NothingToDrawError, match="mae pretrain --preset cpu --out"):
        mae_curves.read(tmp_path)
    write_bert_runs(tmp_path / "bert", {"average": "pos"})
    with pytest.raises(NothingToDrawError, match="holds runs of PoS-BERT, none of the MAE"):
        mae_curves.read(tmp_path / "bert")
    write_runs(tmp_path / "mae", ("average", "minimax"), seeds=(0,))
    with pytest.raises(NothingToDrawError, match="holds runs of Multi-Modal Mask MAE"):
        pos_bert_runs.read_runs(tmp_path / "mae")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(history=3), "`history` should be a list of logs with a step"),
        (lambda c: c.update(history=[{"loss": 1.0}]), "`history` should be a list of logs with a"),
        (lambda c: c.update(history=[{"step": 1}]), "should have weights of rgb, depth, semseg"),
        (lambda c: c.update(held_out={"risks": {"rgb": 1}}), "should have risks with values"),
        (lambda c: c.update(held_out=[]), "should have risks with values"),
        (lambda c: c.pop("held_out"), "has no 'held_out'"),
        (lambda c: c.update(configuration="model: {width: 9}"), "`model.width` is 8 in the one"),
    ],
)
def test_damaged_runs_are_named(tmp_path, change, message):
    write_runs(tmp_path, ("average", "minimax"), seeds=(0,))
    alter(tmp_path, "minimax", 0, change)
    with pytest.raises(DataError, match=message.replace("(", r"\(")) as raised:
        mae_curves.read(tmp_path)
    assert "minimax" in str(raised.value)


def test_runs_of_other_tasks_are_not_mixed(tmp_path):
    write_run(tmp_path, "average", 0)
    write_run(tmp_path, "minimax", 0, tasks=("rgb", "depth"))
    with pytest.raises(DataError, match="should have the same tasks"):
        mae_curves.read(tmp_path)


def test_a_real_run_can_be_drawn(tmp_path):
    overrides = (
        "preparation={source: scenes, splits: {train: 16, test: 6}, size: [32, 32]}",
        "model.image_size=[32, 32]", "model.width=16", "model.heads=2", "model.layers=2",
        "model.decoder_width=16", "masking.visible=4", "pictures=0", "log_every=1",
        "optimisation={epochs: 2, warmup_epochs: 0, batch_size: 8}", "evaluate_every=1",
    )  # fmt: skip
    from experiments.mae.data.preparation import prepare

    study = load(MaeStudy, preset_path("mae", "smoke"), overrides, study="mae")
    prepare(study.preparation, None, tmp_path / "prepared")
    result = pretrain(study, tmp_path / "prepared", tmp_path / "runs", "minimax", 0)
    traces = mae_curves.read(tmp_path / "runs")
    assert traces.parameters["tasks"] == list(TASKS)
    last = traces.where(step=4)
    found = dict(zip(last["task"].tolist(), last["held_out"].tolist(), strict=True))
    assert found == {t: r["value"] for t, r in result["held_out"]["risks"].items()}
    assert np.all(~np.isnan(last["risk"]))
    mae_curves.draw(traces)
