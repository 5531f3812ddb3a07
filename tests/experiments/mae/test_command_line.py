import json

import pytest

from experiments.__main__ import main
from experiments.configuration import dump
from experiments.mae import pretrain as pretraining
from experiments.mae.data.build import MANIFEST
from experiments.records import RESULT, run_folder

pytestmark = pytest.mark.usefixtures("one_thread")

DOWNSTREAM = (
    (
        "downstream.cls={image_size: [32, 32], epochs: 1, warmup_epochs: 0, batch_size: 8, "
        "rand_augment: null, mixup: 0, cutmix: 0, pictures: 2}"
    ),
    (
        "downstream.semseg={image_size: [32, 32], epochs: 1, warmup_epochs: 0, batch_size: 8, "
        "pictures: 2}"
    ),
    (
        "downstream.depth={image_size: [32, 32], epochs: 1, warmup_epochs: 0, batch_size: 8, "
        "pictures: 2}"
    ),
)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Whatever the environment of the tests says about colours and columns."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def preset(tmp_path, tiny_study):
    """A preset of two steps of pre-training and of each fine-tuning."""
    path = tmp_path / "own.yaml"
    study = tiny_study(
        "preparation={source: scenes, splits: {train: 16, test: 6}, size: [32, 32]}",
        "optimisation={epochs: 1, warmup_epochs: 0, batch_size: 8, base_learning_rate: 0.03}",
        *DOWNSTREAM,
    )
    path.write_text(dump(study), encoding="utf-8")
    return str(path)


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["mae", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_from_scenes_to_the_summary(tmp_path, capsys, preset):
    data, out, tuned = (str(tmp_path / name) for name in ("prepared", "pretrained", "finetuned"))
    assert main(["mae", "prepare", "--preset", preset, "--out", data]) == 0
    assert "test 6, train 16" in capsys.readouterr().out
    assert main(["mae", "pretrain", "--preset", preset, "--data", data, "--out", out]) == 0
    shown = capsys.readouterr().out
    assert "arm average, seed 0" in shown
    assert "Reconstruction risks, test" in shown
    words = ["mae", "finetune", "--preset", preset, "--data", data, "--model", out, "scratch"]
    tasks = ["--task", "cls", "semseg", "depth"]
    assert main([*words, *tasks, "--out", tuned]) == 0
    assert "Semantic segmentation, test" in capsys.readouterr().out
    assert main(["mae", "summary", "--pretrained", out, "--finetuned", tuned]) == 0
    page = (tmp_path / "pretrained" / "summary.md").read_text(encoding="utf-8")
    risks = json.loads((run_folder(tmp_path / "pretrained", "average", 0) / RESULT).read_text())
    assert f"{risks['held_out']['risks']['rgb']['value']:.4f}" in page
    assert "| minimax, seed 0 | " in page.split("Less those of `average`")[1]
    for title in ("Classification", "Semantic segmentation", "Depth"):
        (after,) = page.split(f"## {title}, test (6 images)")[1:]
        arms = [line.split("|")[1].strip() for line in after.splitlines() if "|" in line][2:5]
        assert arms == ["average", "minimax", "scratch"]
    for words in ("mae pretrain", "mae finetune", "torchmetrics", "visible: 8"):
        assert words in page
    for name in ("cls", "semseg", "depth"):
        assert (tmp_path / "finetuned" / f"{name}.png").is_file()


def test_finished_runs_are_not_trained_again(monkeypatch, tmp_path, capsys, preset, scene_folder):
    words = ["mae", "pretrain", "--preset", preset, "--data", str(scene_folder)]
    words += ["--out", str(tmp_path / "out")]
    assert main([*words, "--arms", "minimax"]) == 0
    capsys.readouterr()

    def refuse(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(pretraining.PretrainingTrainer, "train", refuse)
    assert main([*words, "--arms", "minimax"]) == 0
    assert "(done before)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain", "--preset", "smok"], "did you mean smoke?"),
        (["pretrain", "--preset", "smoke", "--arms", "nobody"], "unknown arm 'nobody'"),
        (["pretrain", "--preset", "smoke", "--data", "nowhere"], "has no manifest.jsonl"),
        (["prepare", "--preset", "paper"], "should have a `preparation`"),
        (["pretrain", "--preset", "smoke", "--set", "model.width=7"], "`width` should be"),
        (["summary", "--pretrained", "nowhere"], "nowhere holds no finished run"),
    ],
)
def test_what_cannot_be_used_ends_in_one_line(monkeypatch, tmp_path, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    if words[0] != "summary":
        words = [*words, "--out", str(tmp_path / "out")]
    assert message in refused(capsys, *words)


def test_a_folder_of_another_study_is_refused_before_anything_is_trained(
    monkeypatch, tmp_path, capsys, preset, scene_folder
):
    words = ["--preset", preset, "--data", str(scene_folder), "--out", str(tmp_path / "out")]
    assert main(["mae", "pretrain", *words, "--arms", "minimax"]) == 0

    def refuse(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(pretraining.PretrainingTrainer, "train", refuse)
    other = ["pretrain", *words, "--arms", "average", "--set", "masking.visible=7"]
    assert "are not comparable: `masking.visible` is 8" in refused(capsys, *other)


def test_a_model_of_other_modalities_is_refused_by_name(tmp_path, capsys, preset, scene_folder):
    words = ["--preset", preset, "--data", str(scene_folder), "--out", str(tmp_path / "out")]
    wrong = "model.modalities=[{kind: labels, name: semseg, classes: 9, stride: 4}]"
    message = refused(capsys, "pretrain", *words, "--set", wrong, "--set", "masking.visible=2")
    assert "`modalities.semseg.classes` should be 6, as the files have; found 9" in message
    assert f"{scene_folder / MANIFEST} does not fit this study" in message
    assert "give the folder that `mae prepare` made with this preset" in message


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_file_damaged_meanwhile_is_one_line_from_a_worker_too(tmp_path, capsys, preset):
    data, out = str(tmp_path / "prepared"), str(tmp_path / "out")
    assert main(["mae", "prepare", "--preset", preset, "--out", data]) == 0
    path = next((tmp_path / "prepared" / "train" / "rgb").rglob("*.png"))
    path.write_bytes(path.read_bytes()[:-30])
    words = ["pretrain", "--preset", preset, "--data", data, "--out", out]
    with pytest.raises(SystemExit):
        main(["mae", *words, "--set", "optimisation.workers=1"])
    shown = capsys.readouterr().err
    assert f"error: {path}: cannot be read to its end" in shown
    assert "Traceback" not in shown
