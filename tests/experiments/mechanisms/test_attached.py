import argparse
import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from experiments.configuration import ConfigurationError, dump, load, preset_path
from experiments.mae import pretrain as pretraining
from experiments.mae.study import MaeStudy
from experiments.mechanisms import attached
from experiments.mechanisms.attached import ATTACHED, DETACHED, compare, sharpness
from experiments.mechanisms.attached_page import tables
from experiments.records import RESULT, run_folder
from tests.experiments.mae.conftest import (  # noqa: F401
    TINY,
    one_thread,
    scene_folder,
    tiny_study,
)

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = ("rgb", "depth", "semseg")
ARMS = (
    "arms.minimax={balancer: minimax, options: {alpha: 6.0}}",
    "arms.attached={balancer: minimax-attached, options: {alpha: 6.0}}",
)
"""So sharp that easy tasks of a tiny model have negative coefficients."""


def options(*words):
    parser = argparse.ArgumentParser()
    attached.add_options(parser)
    return parser.parse_args(words)


def study(*overrides):
    path = preset_path("attached", "smoke")
    return load(MaeStudy, path, [*TINY, *overrides], study="mae")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scene_folder):  # noqa: F811
    """The command, once, on two seeds."""
    folder = tmp_path_factory.mktemp("attached")
    preset = folder / "own.yaml"
    preset.write_text(dump(study(*ARMS)), encoding="utf-8")
    words = ["--preset", str(preset), "--data", str(scene_folder), "--seeds", "0", "1"]
    chosen = options(*words, "--out", str(folder / "out"))
    assert attached.run(chosen, "typed") == 0
    return chosen


def test_the_command_compares_the_runs_it_has_trained(trained):
    found = json.loads((trained.out / "attached.json").read_text(encoding="utf-8"))
    assert found["command"] == "typed"
    assert found["seeds"] == [0, 1]
    assert {"torch", "taskrobust"} <= found["versions"].keys()
    assert [(run["arm"], run["seed"]) for run in found["runs"]] == [
        (DETACHED, 0),
        (DETACHED, 1),
        (ATTACHED, 0),
        (ATTACHED, 1),
    ]
    used = {(run["arm"], run["seed"]): run["used"] for run in found["runs"]}
    for seed in (0, 1):
        assert all(each["negative_share"] == 0 for each in used[DETACHED, seed].values())
        assert any(each["negative_share"] > 0 for each in used[ATTACHED, seed].values())
    for check in found["condition"]:
        assert check["violations"] == 0
        assert check["pairs"] == 8 * len(TASKS)
        assert check["largest_difference"] < 1e-5


def test_differences_of_held_out_risks_are_those_of_the_records(trained):
    found = json.loads((trained.out / "attached.json").read_text(encoding="utf-8"))
    for name in (*TASKS, "worst", "mean"):
        values = {}
        for arm in (DETACHED, ATTACHED):
            for seed in (0, 1):
                record = json.loads((run_folder(trained.out, arm, seed) / RESULT).read_text())
                held_out = record["held_out"]
                by_task = {task: held_out["risks"][task]["value"] for task in TASKS}
                values[arm, seed] = (by_task | {k: held_out[k] for k in ("worst", "mean")})[name]
        test = stats.ttest_rel(
            [values[ATTACHED, seed] for seed in (0, 1)], [values[DETACHED, seed] for seed in (0, 1)]
        )
        low, high = test.confidence_interval(0.95)
        difference = found["differences"][name]
        centre, half = difference["value"], difference["half_width"]
        assert (centre - half, centre + half) == pytest.approx((low, high), rel=1e-9)


def test_page_and_figure_show_the_numbers(trained):
    found = json.loads((trained.out / "attached.json").read_text(encoding="utf-8"))
    page = (trained.out / "attached.md").read_text(encoding="utf-8")
    assert "0 violations in 48 recorded pairs" in page
    assert f"{found['differences']['worst']['value']:+.4f}".replace("-", "−") in page
    assert "    typed" in page
    assert "visible: 8" in page
    share = 50 * sum(
        run["used"]["rgb"]["negative_share"] for run in found["runs"] if run["arm"] == ATTACHED
    )
    assert f"| {ATTACHED} | rgb | {share:.1f} | " in page
    coefficients, risks = tables(found)
    assert (coefficients.row_count, risks.row_count) == (9, 5)
    with Image.open(trained.out / "attached.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_finished_runs_are_not_trained_again(trained, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError

    before = json.loads((trained.out / "attached.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(pretraining.PretrainingTrainer, "train", refuse)
    assert attached.run(trained, "again") == 0
    after = json.loads((trained.out / "attached.json").read_text(encoding="utf-8"))
    assert after["runs"] == before["runs"]


def test_one_seed_has_no_interval():
    risks = {task: {"value": 1.0} for task in TASKS}
    row = {"step": 1, "loss": 1.0, "weight_scale": 1.0}
    row |= {f"risk/{task}": 1.0 for task in TASKS} | {f"weight/{task}": 1 / 3 for task in TASKS}
    one = {
        "seed": 0,
        "seconds": 1.0,
        "device": "cpu",
        "history": [row],
        "configuration": "",
        "held_out_split": "test",
        "held_out": {"risks": risks, "worst": 1.0, "mean": 1.0},
    }
    found = compare({DETACHED: [one], ATTACHED: [one]}, TASKS, 1.0)
    assert found["differences"]["worst"]["half_width"] is None
    assert list(tables(found)[1].columns[-1].cells) == ["–"] * 5
    with pytest.raises(ValueError, match="same seeds"):
        compare({DETACHED: [one], ATTACHED: [{**one, "seed": 1}]}, TASKS, 1.0)


@pytest.mark.parametrize("preset", ["smoke", "cpu"])
def test_presets_have_both_arms_and_log_every_step(preset):
    found = load(MaeStudy, preset_path("attached", preset), study="mae")
    assert sharpness(found) == 1.0
    pairs = {name: found.arms[name].balancer for name in (DETACHED, ATTACHED)}
    assert pairs == {"minimax": "minimax", "attached": "minimax-attached"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("log_every=2", r"`log_every` should be 1: .* found 2"),
        ("arms.attached={balancer: minimax}", r"`arms.attached` should be .*minimax-attached"),
        ("arms.minimax.options={alpha: 1.0, ema: 0.5}", r"`arms.minimax` should be .*'ema'"),
        ("arms.minimax.options={alpha: 0}", r"`arms.minimax.options.alpha` .* found 0"),
        (
            "arms.minimax.options={alpha: {schedule: paper}}",
            r"`arms.minimax.options.alpha` .*number",
        ),
        ("arms.minimax.options={alpha: .inf}", r"`arms.minimax.options.alpha` .* found inf"),
        ("arms.attached.options={alpha: 2.0}", r"`arms.attached.options.alpha` .* found 2"),
    ],
)
def test_studies_that_would_compare_something_else_are_refused(override, message):
    with pytest.raises(ConfigurationError, match=message):
        sharpness(study(override))


def test_data_that_is_missing_is_known_before_anything_is_trained(tmp_path):
    chosen = options("--preset", "smoke", "--data", str(tmp_path / "none"), "--out", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"has no manifest\.jsonl"):
        attached.run(chosen, "typed")
