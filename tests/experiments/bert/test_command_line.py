import json

import pytest

from experiments.__main__ import main
from experiments.bert import pretrain as pretraining
from experiments.bert.tags import TASKS
from experiments.configuration import dump
from experiments.records import RESULT, run_folder
from experiments.runs import stage

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours and columns."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def preset(tmp_path, tiny):
    path = tmp_path / "own.yaml"
    path.write_text(dump(tiny("optimisation.steps=2")), encoding="utf-8")
    return path


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was trained")

    monkeypatch.setattr(pretraining.OrderedTrainer, "train", refuse)


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["bert", *map(str, arguments)])
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_prepare_and_pretrain_leave_tables_of_every_arm_and_seed(tmp_path, preset, capsys):
    data, out = tmp_path / "prepared", tmp_path / "out"
    assert main(["bert", "prepare", "--preset", str(preset), "--out", str(data)]) == 0
    words = ["bert", "pretrain", "--preset", str(preset), "--data", str(data), "--out", str(out)]
    words += ["--arms", "minimax", "average", "--seeds", "0", "3"]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"results in {out}" in said
    for arm in ("average", "minimax"):
        for seed in (0, 3):
            assert f"arm {arm}, seed {seed}" in said
            result = json.loads((run_folder(out, arm, seed) / RESULT).read_text(encoding="utf-8"))
            assert result["command"] == " ".join(["python -m experiments", *words])
    assert not (out / "excess").exists()
    text = (out / "valid.md").read_text(encoding="utf-8")
    head, _, *lines = text.splitlines()
    assert head == "| | pieces | average | minimax |"
    names = [line.split("|")[1].strip() for line in lines]
    assert names == [*TASKS, "worst", "worst*", "mean", "mean*", "token mean"]
    assert all("±" in line for line in lines)
    assert "token mean" in said
    assert main(["bert", "summary", "--pretrained", str(out)]) == 0
    assert f"summary in {out / 'summary.md'}" in capsys.readouterr().out
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert text in page
    assert " ".join(["python -m experiments", *words]) in page


def test_a_summary_of_nothing_ends_in_one_line(tmp_path, capsys):
    folder = tmp_path / "empty"
    assert f"{folder} holds no finished run" in refusal(capsys, "summary", "--pretrained", folder)
    assert not folder.exists()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "avrage"], "unknown arm 'avrage' (known: average, minimax, excess)"),
        (["--set", "model.layer=2"], "`model.layer`"),
        (["--set", "model.layers"], "should be key=value"),
        (["--seeds", "-1"], "argument --seeds: should be at least 0; found -1"),
        (["--data", "nowhere"], "nowhere/train is missing; --data should be a folder"),
        (["--arms", "excess"], "the reference arm has to be run first"),
        (["--preset", "smok"], "unknown preset 'smok'; did you mean smoke?"),
    ],
)
def test_what_cannot_be_run_ends_in_one_line(
    tmp_path, preset, prepared_folder, capsys, arguments, message
):
    given = ["--preset", preset, "--data", prepared_folder, "--out", tmp_path / "out"]
    said = refusal(capsys, "pretrain", *given, *arguments)
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/*"))


def test_a_step_and_a_preset_are_required(capsys):
    assert "STEP" in refusal(capsys)
    assert "--preset" in refusal(capsys, "pretrain")


def test_an_interrupted_run_exits_as_shells_have_it(
    tmp_path, preset, prepared_folder, monkeypatch, capsys
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining.OrderedTrainer, "train", interrupt)
    words = ["--preset", preset, "--data", prepared_folder, "--out", tmp_path / "out"]
    assert main(["bert", "pretrain", *map(str, words)]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.usefixtures("no_training")
def test_a_damaged_result_of_a_finished_run_is_named(tmp_path, preset, prepared_folder, capsys):
    damaged = run_folder(tmp_path, "average", 0) / RESULT
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"arm": "aver', encoding="utf-8")
    words = ["pretrain", "--preset", preset, "--data", prepared_folder, "--out", tmp_path]
    assert f"{damaged} is not valid JSON" in refusal(capsys, *words)


def test_a_folder_of_another_study_is_refused_before_anything_is_trained(
    tmp_path, preset, prepared_folder, capsys, request
):
    words = ["--preset", preset, "--data", prepared_folder, "--out", tmp_path / "out"]
    assert main(["bert", "pretrain", *map(str, words), "--arms", "average"]) == 0
    first = capsys.readouterr()
    assert "arm average, seed 0 -" in first.out
    assert "Writing model shards" not in first.err
    assert main(["bert", "pretrain", *map(str, words), "--arms", "average"]) == 0
    assert "arm average, seed 0 (done before)" in capsys.readouterr().out
    request.getfixturevalue("no_training")
    said = refusal(capsys, "pretrain", *words, "--arms", "minimax", "--set", "model.hidden=32")
    assert "are not comparable: `model.hidden` is 16 in the one and 32 in the other" in said
    assert not (tmp_path / "out" / "minimax").exists()


def test_a_run_that_goes_on_says_from_where(tmp_path, tiny, prepared_folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    assert stage(run_folder(tmp_path, "average", 0)) == ""
    monkeypatch.setattr(pretraining, "_held_out", stop)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(tiny(), prepared_folder, tmp_path, "average", 0)
    assert stage(run_folder(tmp_path, "average", 0)) == "goes on from checkpoint-8"
