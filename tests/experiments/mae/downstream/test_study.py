import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from experiments.configuration import ConfigurationError
from experiments.mae.data.files import decode
from experiments.mae.data.scenes.folders import write_scenes
from experiments.mae.downstream import study
from experiments.mae.downstream.run import finetune
from experiments.mae.downstream.study import fine_tune_all
from experiments.progress import Stages
from tests.experiments.mae.downstream import mosaics
from tests.experiments.mae.downstream.mosaics import recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run_all(mosaic_folder, model_folder, console):
    def run(out, task="semseg", models=None, data=mosaic_folder, how=None, **fields):
        out.mkdir(exist_ok=True)
        fields = {"epochs": 0.4, "warmup_epochs": 0.0, "seeds": (0, 1), **fields}
        names = [str(model_folder), "scratch"] if models is None else models
        options = {"fresh": mosaics.SIZE, "console": console, "command": "typed"}
        return fine_tune_all(how or recipe(task, **fields), names, data, out, **options)

    return run


def test_models_and_seeds_are_run_tabulated_and_drawn(tmp_path, run_all, console):
    made = run_all(tmp_path / "out")
    assert [(each["arm"], each["seed"]) for each in made] == [
        ("random", 0), ("random", 1), ("scratch", 0), ("scratch", 1),
    ]  # fmt: skip
    content = json.loads((tmp_path / "out" / "semseg.json").read_text())
    assert content["command"] == "typed"
    assert content["rows"][1]["values"]["mean_iou"] == [
        each["test"]["mean_iou"] for each in made[2:]
    ]
    page = (tmp_path / "out" / "semseg.md").read_text()
    assert f"{100 * np.mean(content['rows'][0]['values']['mean_iou']):.1f}" in page
    assert "All 15 images of `test`, trained on 48 of `train`" in page
    assert "`typed`" in page
    with Image.open(tmp_path / "out" / "semseg.png") as image:
        assert image.width > image.height > 300
    shown = console.file.getvalue()
    assert "random · semseg, seed 1: mIoU" in shown
    assert "scratch" in shown
    assert "48 images in 2 steps of 8, evaluated on 15" in shown


def test_only_what_is_missing_is_run_again(tmp_path, run_all, console, monkeypatch):
    first = run_all(tmp_path / "out", seeds=(0,))
    trained = []

    def counting(run, **options):
        if not (run.folder / "result.json").exists():
            trained.append(run.title)
        return finetune(run, **options)

    monkeypatch.setattr(study, "finetune", counting)
    second = run_all(tmp_path / "out", seeds=(0, 1))
    assert trained == ["random · semseg, seed 1", "scratch · semseg, seed 1"]
    assert [each for each in second if each["seed"] == 0] == first
    assert "(done before)" in console.file.getvalue()


def test_tasks_share_a_folder(tmp_path, run_all):
    for task in ("cls", "depth"):
        run_all(tmp_path / "out", task, models=["scratch"], seeds=(0,))
    assert {path.suffix for path in (tmp_path / "out").glob("depth.*")} == {".json", ".md", ".png"}
    assert (tmp_path / "out" / "scratch" / "cls" / "seed-0" / "result.json").is_file()


@pytest.mark.parametrize("inputs", [("depth",), ("rgb", "depth", "semseg")])
def test_any_modalities_can_be_the_input(tmp_path, run_all, inputs):
    (found,) = run_all(tmp_path / "out", "cls", models=["scratch"], seeds=(0,), inputs=inputs)
    assert 0 <= found["test"]["accuracy"] <= 1
    if "semseg" not in inputs:
        (found,) = run_all(
            tmp_path / "out", "semseg", models=["scratch"], seeds=(0,), inputs=inputs
        )
        assert 0 <= found["test"]["mean_iou"] <= 1


def test_everything_is_checked_before_anything_is_trained(tmp_path, run_all, monkeypatch):
    monkeypatch.setattr(study, "finetune", None)  # would fail
    with pytest.raises(ConfigurationError, match="is missing; give a folder"):
        run_all(tmp_path / "out", models=["scratch", str(tmp_path / "nothing")])
    with pytest.raises(ConfigurationError, match="`image_size` should be multiples"):
        run_all(tmp_path / "out", models=["scratch"], image_size=(30, 32))
    assert not any((tmp_path / "out").iterdir())


def test_rendered_scenes_are_learned_better_than_any_constant(tmp_path):
    quiet = Console(file=io.StringIO())
    splits = {"train": 32, "val": 8}
    scenes = write_scenes(tmp_path / "scenes", splits, (32, 32), stages=Stages(quiet))
    files = scenes.header.modalities
    labels = replace(mosaics.SIZE.modalities[2], classes=files[2].classes)
    size = replace(mosaics.SIZE, modalities=(*mosaics.SIZE.modalities[:2], labels))
    decoded = [
        decode(scenes.file(record, each.name), each)
        for record in scenes.split("val")
        for each in files[1:]
    ]
    depth = torch.cat([each["depth"][each["depth_valid"]] for each in decoded[::2]])
    constants = torch.linspace(depth.min(), depth.max(), 200)[:, None]
    near = torch.maximum(depth / constants, constants / depth) < 1.25
    ids = torch.cat([each["semseg"].flatten() for each in decoded[1::2]])
    chance = {
        "depth": ("delta_1", near.double().mean(1).max().item()),
        "semseg": ("pixel_accuracy", ids.bincount().max().item() / len(ids)),
    }
    for task, (name, best) in chance.items():
        how, out = recipe(task, epochs=15.0), tmp_path / task
        out.mkdir()
        data, options = tmp_path / "scenes", {"fresh": size, "console": quiet}
        (found,) = fine_tune_all(how, ["scratch"], data, out, **options)
        assert found["test"][name] > best + 0.1
