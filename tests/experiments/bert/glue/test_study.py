"""The command as it is typed."""

import json
import shutil

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.bert.glue import finetune as finetuning
from experiments.bert.glue import generated, study
from experiments.bert.glue.finetune import PREDICTIONS
from experiments.configuration import dump
from experiments.records import RESULT

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = ("fine_tuning.epochs=1", "fine_tuning.batch_size=8", "fine_tuning.sequence_length=24")


@pytest.fixture
def preset(tmp_path, tiny, monkeypatch):
    """A preset of a few steps on a few generated examples."""
    monkeypatch.setattr(generated, "SIZES", {"train": 24, "dev": 12, "test": 4})
    path = tmp_path / "own.yaml"
    path.write_text(dump(tiny(*SETTINGS)), encoding="utf-8")
    return path


@pytest.fixture
def arms(tmp_path, make_checkpoint):
    """A folder as pre-training leaves it, with two arms."""
    for number, arm in enumerate(("average", "minimax")):
        folder = tmp_path / "pretrained" / arm / "seed-0"
        make_checkpoint(folder / "model", seed=number)
        (folder / RESULT).write_text(json.dumps({"arm": arm, "seed": 0}), encoding="utf-8")
    return tmp_path / "pretrained"


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was trained")

    monkeypatch.setattr(finetuning.Trainer, "train", refuse)


def words(preset, *more):
    return ["bert", "finetune", "--preset", str(preset), *map(str, more)]


def refusal(capsys, *typed):
    with pytest.raises(SystemExit) as stopped:
        main(list(typed))
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_every_arm_task_and_seed_is_in_the_table_and_only_dev_is(tmp_path, preset, arms, capsys):
    out = tmp_path / "out"
    typed = words(preset, "--model", arms, "--out", out)
    assert main(typed) == 0
    said = capsys.readouterr().out
    for arm in ("average", "minimax"):
        for title, name in (("CoLA", "cola"), ("STS-B", "stsb")):
            for seed in (0, 1):
                assert f"{arm}, seed 0 · {title}, seed {seed}: " in said
                folder = out / arm / "seed-0" / name / f"seed-{seed}"
                result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
                assert result["command"] == " ".join(["python -m experiments", *typed])
                assert set(result["dev"]) == {""}
    text = (out / "dev.md").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "|  | CoLA Matthews | STS-B Spearman | Avg. (2) | runs |"
    assert "test" not in text.replace(str(tmp_path), "")
    assert "- CoLA (generated): train 24, dev 12\n" in text
    assert f"- `{' '.join(['python -m experiments', *typed])}`" in text
    assert "GLUE, dev" in said
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [row["arm"] for row in content["rows"]] == ["average", "minimax"]
    assert all(len(values) == 2 for row in content["rows"] for values in row["values"].values())
    answers = (out / "submissions" / "minimax" / "seed-0" / "CoLA.tsv").read_text()
    assert answers.splitlines()[0] == "index\tprediction"
    assert len(answers.splitlines()) == 1 + 4


def test_the_same_command_reads_finished_runs_back_and_does_the_rest(
    tmp_path, preset, arms, capsys, monkeypatch
):
    out, trained = tmp_path / "out", []
    typed = words(preset, "--model", arms / "minimax", "--out", out)
    assert main(typed) == 0
    table = (out / "dev.md").read_bytes()
    lost = out / "minimax" / "seed-0" / "stsb" / "seed-1"
    (lost / RESULT).unlink()
    train = finetuning.Trainer.train

    def recorded(self, *args, **kwargs):
        trained.append(self.args.output_dir)
        return train(self, *args, **kwargs)

    monkeypatch.setattr(finetuning.Trainer, "train", recorded)
    capsys.readouterr()
    assert main(typed) == 0
    assert trained == [str(lost / "checkpoints")]
    assert capsys.readouterr().out.count("(done before)") == 3
    assert (out / "dev.md").read_bytes() == table


def test_damaged_predictions_of_a_finished_run_end_in_one_line(tmp_path, preset, arms, capsys):
    out = tmp_path / "out"
    typed = words(preset, "--model", arms / "minimax", "--out", out)
    assert main(typed) == 0
    path = out / "minimax" / "seed-0" / "stsb" / "seed-1" / PREDICTIONS
    path.write_bytes(b"no archive")
    capsys.readouterr()
    said = refusal(capsys, *typed)
    assert f"{path} cannot be read (ValueError: " in said
    assert said.endswith(f"; remove {path.parent} to run it anew")
    shutil.rmtree(path.parent)
    assert main(typed) == 0
    assert capsys.readouterr().out.count("(done before)") == 3


def test_data_is_read_from_where_it_is_given(tmp_path, preset, arms, generated_folder, capsys):
    typed = words(preset, "--model", arms / "average", "--out", tmp_path / "out")
    more = ["--data", str(generated_folder), "--set", "fine_tuning.max_train_examples=8"]
    more += ["--set", "fine_tuning.tasks=[rte]"]
    assert main([*typed, *more]) == 0
    said = capsys.readouterr().out
    assert "RTE: train 8 of 2,490, dev 300, test 50" in said
    text = (tmp_path / "out" / "dev.md").read_text(encoding="utf-8")
    assert "- RTE: train 8 of 2,490, dev 300; the first training examples\n" in text
    assert not (tmp_path / "out" / "data").exists()


def test_a_run_whose_predictions_are_all_the_same_is_marked(
    tmp_path, preset, arms, capsys, monkeypatch
):
    def outputs(_, encoded, run):
        found = {
            name: np.random.default_rng(0).normal(size=(len(split), run.data.task.outputs))
            for name, split in encoded.items()
            if name != "train"
        }
        if run.seed == 1:
            found["dev"] = np.tile(found["dev"][:1], (len(found["dev"]), 1))
        return found

    monkeypatch.setattr(finetuning.Trainer, "train", lambda *_, **__: None)
    monkeypatch.setattr(finetuning, "_outputs", outputs)
    for again in (False, True):
        assert main(words(preset, "--model", arms / "minimax", "--out", tmp_path / "out")) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if " · " in line]
        assert len(lines) == 4
        for line in lines:
            assert (", constant prediction" in line) == (", seed 1: " in line)
            assert line.endswith("(done before)") == again


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "fine_tuning.tasks=[wnli]"], "`fine_tuning.tasks.0`"),
        (["--set", "fine_tuning.tasks=[]"], "`fine_tuning.tasks`"),
        (["--set", "fine_tuning.seeds=[]"], "`fine_tuning.seeds`"),
        (["--set", "fine_tuning.source=local"], "--data is needed: a folder with GLUE's files"),
        (["--data", "nowhere"], "--data nowhere: is missing; give a folder with CoLA/train.tsv"),
        (["--model", "nowhere/at/all"], "--model nowhere/at/all: is missing"),
        (["--set", "fine_tuning.sequence_length=100"], "should be at most 64"),
    ],
)
def test_what_cannot_be_run_ends_in_one_line(tmp_path, preset, arms, capsys, arguments, message):
    typed = words(preset, "--model", arms, "--out", tmp_path / "out")
    said = refusal(capsys, *typed, *arguments)
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out/a*/**/*"))


@pytest.mark.usefixtures("no_training")
def test_a_wrong_label_in_the_last_file_stops_before_the_first_run(tmp_path, preset, arms, capsys):
    data = generated.write_generated(tmp_path / "data", ["cola", "stsb"])
    path = data / "STS-B" / "dev.tsv"
    path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + "x\n", encoding="utf-8")
    typed = words(preset, "--model", arms, "--data", data, "--out", tmp_path / "out")
    assert "STS-B/dev.tsv, line 13: the score should be a number" in refusal(capsys, *typed)


@pytest.mark.usefixtures("no_training")
def test_the_last_of_the_models_is_checked_before_the_first_is_trained(
    tmp_path, preset, arms, capsys
):
    path = arms / "minimax" / "seed-0" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    typed = words(preset, "--model", arms, "--out", tmp_path / "out")
    assert f"{path.parent}: cannot be loaded" in refusal(capsys, *typed)


def test_other_processes_than_the_first_are_silent(tmp_path, preset, arms, capsys, monkeypatch):
    seen = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(study, "plan", lambda *_: [])
    monkeypatch.setattr(study.results, "rows", seen.append)
    assert main(words(preset, "--model", arms, "--out", tmp_path / "out")) == 0
    assert capsys.readouterr().out == ""
    assert seen == []


def test_models_are_found_where_pretrain_leaves_them(tmp_path, preset, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "runs/bert/pretrained: is missing; run" in refusal(capsys, *words(preset))
