"""The command: what it leaves, that finished runs are kept, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
import torch

from experiments.__main__ import main
from experiments.bert.tags import NUM_TASKS
from experiments.mechanisms.nonconvex import page, study
from experiments.mechanisms.nonconvex.configuration import Arm, NonconvexStudy, Text
from experiments.mechanisms.nonconvex.results import sections
from experiments.mechanisms.nonconvex.text import TextTasks, prepared_text

PRESET = """
text: {documents: 60, vocabulary_size: 200, instances: 64, mask_probability: 0.25,
       max_predictions: 8}
network: {hidden: 4, steps: 4}
control: {examples_per_task: 2, features: 3, steps: 30}
arms:
  average: {alpha: 0}
  ten: {alpha: 10}
  printed: {schedule: printed}
  hard-max: {alpha: .inf}
risk_points: 6
gradient_points: 2
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("presets") / "tiny.yaml"
    path.write_text(PRESET, encoding="utf-8")
    return path


def run(preset, out, *more):
    words = ["mechanisms", "nonconvex", "--preset", str(preset), "--out", str(out)]
    return main([*words, "--seeds", "1", *more])


@pytest.fixture(scope="module")
def done(tmp_path_factory, preset):
    out = tmp_path_factory.mktemp("runs") / "nonconvex"
    assert run(preset, out) == 0
    return out


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_every_arm_is_measured_with_its_guarantee(done):
    content = strict(done / "nonconvex.json")
    assert [run["arm"] for run in content["network"]] == ["average", "ten", "printed", "hard-max"]
    assert [run["arm"] for run in content["control"]] == ["untrained", "trained"]
    network, *controls = sections(content)
    gaps = [row.values["gap"][0] for row in network.rows]
    assert min(gaps) >= 0
    for control in controls:
        for row in control.rows:
            assert row.values["averaged"][0] >= -1e-6
            if row.arm != "average":
                assert row.values["averaged"][0] <= row.values["bound"][0]
    for run in content["network"]:
        assert len(run["trace"]["risks"][0]) == NUM_TASKS
        assert run["trace"]["risks"][0] == content["network"][0]["trace"]["risks"][0]


def test_the_page_has_the_numbers_of_the_json(done):
    content = strict(done / "nonconvex.json")
    text = (done / "nonconvex.md").read_text(encoding="utf-8")
    assert text == page.to_markdown(content)
    for run in content["network"]:
        assert f"| {max(run['trace']['risks'][-1]):.3f} |" in text
    assert content["command"] in text
    assert (done / "nonconvex.png").read_bytes().startswith(b"\x89PNG")


def test_finished_runs_are_kept(done, preset, monkeypatch):
    before = strict(done / "nonconvex.json")

    def refuse(*_):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(study, "descend", refuse)
    monkeypatch.setattr(study, "certify", refuse)
    assert run(preset, done) == 0
    after = strict(done / "nonconvex.json")
    assert (after["network"], after["control"]) == (before["network"], before["control"])


def test_an_interrupted_study_goes_on_to_the_same_numbers(done, preset, tmp_path, monkeypatch):
    calls, descend = [], study.descend

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return descend(*arguments)

    monkeypatch.setattr(study, "descend", interrupted)
    assert run(preset, tmp_path) == 130
    assert not (tmp_path / "nonconvex.json").exists()
    assert run(preset, tmp_path) == 0
    whole, resumed = strict(done / "nonconvex.json"), strict(tmp_path / "nonconvex.json")
    for kind in ("network", "control"):
        for one, other in zip(whole[kind], resumed[kind], strict=True):
            key = "trace" if kind == "network" else "traces"
            assert one[key] == other[key]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "network.width=3"], "`network.width`: Unexpected keyword argument"),
        (["--set", "arms.ten={alpha: -1}"], "greater than or equal to 0; found -1"),
        (["--set", "arms.ten={schedule: printed, alpha: 3}"], "should be left out"),
        (["--set", "arms.ten={schedule: square-root, alpha: .inf}"], "should be finite"),
        (["--set", "arms.ten={}"], "`alpha` should be a number for schedule 'constant'"),
        (["--set", "pilot=nobody"], "`pilot` should name an arm; found 'nobody'"),
        (["--set", "pilot=printed"], "arm of constant sharpness; found 'printed'"),
        (["--set", "control.encoder=nobody"], "`control.encoder` should name an arm"),
        (["--set", "network.heads=3"], "multiple of `network.heads`"),
        (["--set", "control.features=9"], "at most `network.hidden`; found 9 and 4"),
        (["--set", "control.examples_per_task=999"], "should be at most"),
        (["--set", "text.instances=9999"], "`text.instances` should be at most"),
        (["--seeds", "0"], "--seeds should be at least 1; found 0"),
        (["--set", "network.steps=5"], "holds a run of another configuration"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_descent(
    done, preset, words, message, monkeypatch, capsys
):
    monkeypatch.setattr(study, "descend", None)
    with pytest.raises(SystemExit) as stop:
        run(preset, done, *words)
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_trained_encoder_that_is_gone_is_missed(done, preset, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(done, out)
    (out / "control" / "trained" / "seed-0" / "result.json").unlink()
    (out / "network" / "average" / "seed-0" / "model.safetensors").unlink()
    with pytest.raises(SystemExit):
        run(preset, out)
    assert "remove its folder to run the arm anew" in " ".join(capsys.readouterr().err.split())


def test_risks_are_means_over_the_masked_pieces_of_each_part_of_speech(done):
    text = Text(documents=60, vocabulary_size=200, instances=64)
    setting = NonconvexStudy(text=text, arms={"average": Arm(alpha=0.0)})
    problem = TextTasks(setting, prepared_text(text, done / "text"), seed=5)
    hidden, pieces, tasks = problem.features()
    logits = problem.model.cls.predictions(hidden).detach()
    losses = -torch.log_softmax(logits, dim=-1)[torch.arange(len(pieces)), pieces]
    expected = [float(losses[tasks == task].mean()) for task in range(NUM_TASKS)]
    np.testing.assert_allclose(problem.risks().detach(), expected, rtol=1e-12)
