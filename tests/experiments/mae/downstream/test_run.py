"""Runs of a few steps on mosaics, from a model of random parameters."""

import gc
import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional
from transformers import Trainer

from experiments.configuration import ConfigurationError
from experiments.mae.downstream import run as running
from experiments.mae.downstream.data import Collator, evaluation_images
from experiments.mae.downstream.encoders import pretrained_encoder
from experiments.mae.downstream.evaluation import PICTURED, read_pictured
from experiments.mae.downstream.models import find_models
from experiments.mae.downstream.plan import plan
from experiments.mae.downstream.run import finetune
from experiments.mae.downstream.study import read_data
from experiments.mae.downstream.task_data import depth_statistics
from experiments.records import RESULT
from tests.experiments.mae.downstream import mosaics
from tests.experiments.mae.downstream.mosaics import recipe

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = ("cls", "semseg", "depth")
PRIMARY = {"cls": "accuracy", "semseg": "mean_iou", "depth": "delta_1"}
CHANCE = {"cls": 1 / 3, "semseg": 1 / 3, "depth": 0.4}
"""Accuracy of any constant; an intersection over union that none of constant class exceeds; the
share of cells that a constant depth can be right about (the depths are 1, 3 and 5 m)."""


class StoppedError(Exception):
    """Instead of a killed process."""


def recording(log, stop=None):
    """A Trainer that records the parameters, and may be stopped before a step."""

    class Recording(running._OrderedTrainer):
        def train(self, *args, **kwargs):
            log["start"] = {n: p.detach().clone() for n, p in self.model.named_parameters()}
            log["rates"] = []
            found = super().train(*args, **kwargs)
            log["end"] = {n: p.detach().clone() for n, p in self.model.named_parameters()}
            return found

        def training_step(self, *args, **kwargs):
            if self.state.global_step == stop:
                raise StoppedError
            log["rates"].append([group["lr"] for group in self.optimizer.param_groups])
            return super().training_step(*args, **kwargs)

    return Recording


def recorded(monkeypatch, run, stop=None):
    """Result and record of a run."""
    log = {}
    with monkeypatch.context() as patch:
        patch.setattr(running, "_OrderedTrainer", recording(log, stop))
        return finetune(run), log


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def trained(run):
    """The model that a run has kept."""
    model = run.build()
    model.load_state_dict(load_file(run.folder / "model" / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """Spare what is loaded by now: else the Trainer collects garbage for long at each start."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def planned(mosaic_folder, model_folder, tmp_path):
    """A function that plans a run."""

    def make(task, out="out", model=None, **fields):
        how = recipe(task, **fields)
        data = read_data(how, mosaic_folder)
        statistics = depth_statistics(data) if task == "depth" else None
        models = find_models([str(model or model_folder)])
        return plan(models, data, mosaics.SIZE, statistics, tmp_path / out)[0]

    return make


@pytest.mark.parametrize("task", TASKS)
def test_what_can_be_learned_is_learned_and_only_by_training(task, planned, monkeypatch):
    result = finetune(planned(task, epochs=10.0))
    untrained = planned(task, "untrained")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", lambda *_, **__: None)
        before = finetune(untrained)
    found, chance = result["test"][PRIMARY[task]], before["test"][PRIMARY[task]]
    assert found > CHANCE[task] + 0.3
    assert chance < CHANCE[task] + 0.15
    assert result["test"]["images"] == 15
    losses = [each["loss"] for each in result["history"] if "loss" in each]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("task", TASKS)
def test_an_interrupted_run_ends_as_if_it_had_not_been(task, planned, monkeypatch):
    fields = {"epochs": 1.0, "save_every": 2}
    if task == "cls":
        fields |= {"mixup": 0.8, "cutmix": 1.0, "rand_augment": "rand-m9-mstd0.5-inc1"}
    whole = planned(task, "whole", **fields)
    expected, reference = recorded(monkeypatch, whole)
    run = planned(task, "interrupted", **fields)
    with pytest.raises(StoppedError):
        recorded(monkeypatch, run, stop=5)
    assert not (run.folder / RESULT).exists()
    torch.rand(5)
    result, log = recorded(monkeypatch, run)
    assert result["resumed_from"] == "checkpoint-4"
    assert len(log["rates"]) == 6 - 4
    assert log["rates"] == reference["rates"][4:]
    assert same(log["end"], reference["end"])
    assert not same(log["start"], log["end"])
    assert result["test"] == expected["test"]
    assert json.loads((run.folder / RESULT).read_text()) == result
    assert not (run.folder / "checkpoints").exists()


def test_micro_batches_take_the_same_steps(planned, monkeypatch):
    fields = {"epochs": 0.5, "warmup_epochs": 0.0, "drop_path": 0.0, "epsilon": 1e-3}
    ends = [
        recorded(monkeypatch, planned("cls", f"{micro}", micro_batch_size=micro, **fields))[1][
            "end"
        ]
        for micro in (8, 4)
    ]
    start = recorded(monkeypatch, planned("cls", "start", **fields))[1]["start"]
    moved = max((one - start[name]).abs().max() for name, one in ends[0].items())
    apart = max((one - ends[1][name]).abs().max() for name, one in ends[0].items())
    assert apart < 1e-4 * moved


def test_learning_rates_fall_from_the_head_and_over_time(planned, monkeypatch):
    fields = {"epochs": 4.0, "warmup_epochs": 1.0, "min_learning_rate": 3e-4, "layer_decay": 0.5}
    rates = recorded(monkeypatch, planned("semseg", **fields))[1]["rates"]
    assert len(rates) == 24
    head = [max(each) for each in rates]
    assert head[0] == 0
    assert head[6] == pytest.approx(3e-3)
    assert head[3] == pytest.approx(1.5e-3)
    assert 3e-4 < head[-1] < 4e-4
    assert all(one > two for one, two in pairwise(head[6:]))
    for each in rates[1:]:
        assert sorted({round(rate / max(each), 9) for rate in each}) == [0.125, 0.25, 0.5, 1.0]


def test_the_peak_is_scaled_for_the_batch(planned, monkeypatch):
    fields = {"learning_rate": 4e-3, "learning_rate_batch": 1024, "warmup_epochs": 0.0}
    rates = recorded(monkeypatch, planned("cls", epochs=1.0, **fields))[1]["rates"]
    assert max(rates[0]) == pytest.approx(4e-3 * 8 / 1024)


def test_runs_of_a_seed_share_the_head_and_start_from_the_pretrained_encoder(
    planned, model_folder, monkeypatch
):
    def start(out, **fields):
        run = planned("cls", out, epochs=0.2, warmup_epochs=0.0, **fields)
        return recorded(monkeypatch, run)[1]["start"]

    one, other = start("one"), start("other", model="scratch")
    name = "encoder.blocks.0.mlp.fc1.weight"
    given = pretrained_encoder(model_folder, ("rgb",)).state_dict()
    assert torch.equal(one[name], given[name.removeprefix("encoder.")])
    assert torch.equal(one["head.classifier.weight"], other["head.classifier.weight"])
    assert not torch.equal(one[name], other[name])
    third = start("third", seeds=(1,))
    assert torch.equal(one[name], third[name])
    assert not torch.equal(one["head.classifier.weight"], third["head.classifier.weight"])


@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_diverges_says_so(task, planned):
    run = planned(task, epochs=3.0, warmup_epochs=0.0, learning_rate=1e30, weight_decay=0.0)
    with pytest.raises(ConfigurationError, match=rf"diverged.*lower `{task}\.learning_rate`"):
        finetune(run)
    assert not (run.folder / RESULT).exists()


def test_a_finished_run_is_read_back(planned, monkeypatch):
    run = planned("cls", epochs=0.2, warmup_epochs=0.0)
    first = finetune(run)
    monkeypatch.setattr(Trainer, "train", None)  # would fail
    assert finetune(planned("cls", epochs=0.2, warmup_epochs=0.0)) == first
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        planned("cls", epochs=0.4, warmup_epochs=0.0)
    planned("cls", epochs=0.2, warmup_epochs=0.0, workers=1, save_every=7, pictures=0)


@pytest.mark.parametrize("task", TASKS)
def test_pictures_hold_what_the_model_says_about_images_of_the_whole_split(task, planned):
    run = planned(task, epochs=1.0, keep_models=True)
    finetune(run)
    kept = read_pictured(run.folder)
    assert kept["index"].tolist() == [0, 7, 14]
    images = evaluation_images(run.data, run.build().encoder.size)
    batch = Collator(how=run.how)([images[7]])
    model = trained(run)
    with torch.inference_mode():
        predictions = model(batch["modalities"]).predictions
    expected = predictions.argmax(1) if task == "semseg" else predictions
    assert torch.allclose(kept["prediction"][1:2].double(), expected.double(), atol=1e-5)
    assert torch.equal(kept["input.rgb"][1], images[7]["rgb"])
    target = {"cls": "label", "semseg": "semseg", "depth": "depth"}[task]
    assert torch.equal(kept[target][1:2], batch[target])


def test_pictures_know_which_pixels_of_an_input_are_known(planned):
    run = planned("semseg", inputs=("depth",), epochs=0.2, warmup_epochs=0.0)
    finetune(run)
    kept = read_pictured(run.folder)
    assert torch.equal(kept["input.depth_valid"], kept["input.depth"] > 0)
    assert not kept["input.depth_valid"].all()


def test_damaged_pictures_are_named(planned):
    run = planned("semseg", epochs=0.2, warmup_epochs=0.0)
    assert read_pictured(run.folder) is None
    run.folder.mkdir(parents=True)
    (run.folder / PICTURED).write_bytes(b"no safetensors")
    with pytest.raises(ConfigurationError, match=rf"{PICTURED}.*; remove the run's folder"):
        read_pictured(run.folder)


def test_the_scores_are_those_of_every_test_image_whatever_the_batch(planned):
    run = planned("semseg", epochs=2.0, keep_models=True)
    result = finetune(run)
    model = trained(run)
    images = evaluation_images(run.data, model.encoder.size)
    batch = Collator(how=run.how)([images[index] for index in range(15)])
    with torch.inference_mode():
        found = model(batch["modalities"]).predictions.argmax(1)
    known = batch["semseg"] < 3
    right = (found == batch["semseg"])[known].double().mean().item()
    assert result["test"]["pixel_accuracy"] == pytest.approx(right, abs=1e-6)
    overlap = functional.one_hot(found[known], 3).T @ functional.one_hot(batch["semseg"][known], 3)
    union = overlap.sum(0) + overlap.sum(1) - overlap.diag()
    shares = (overlap.diag() / union).tolist()
    assert list(result["test"]["class_iou"]) == list(mosaics.NAMES)
    assert list(result["test"]["class_iou"].values()) == pytest.approx(shares, abs=1e-6)


def test_the_configuration_says_what_the_run_depends_on(planned):
    run = planned("depth", standardisation=(3.0, 1.5))
    content = yaml.safe_load(run.configuration)
    assert content["task"] == "depth"
    assert content["data"]["digest"] == run.data.manifest.header.digest
    assert content["data"]["test_split"] == "test"
    assert len(content["model"]["sha256"]) == 64
    assert {"seeds", "workers", "pictures"}.isdisjoint(content)


def test_bad_batches_and_models_are_refused_before_training(planned, tmp_path, mosaic_folder):
    with pytest.raises(
        ConfigurationError, match=r"`cls\.micro_batch_size` should be even.*found 1"
    ):
        planned("cls", mixup=0.8, micro_batch_size=1)
    with pytest.raises(ConfigurationError, match=r"`depth\.batch_size` should be a multiple"):
        planned("depth", micro_batch_size=3)
    with pytest.raises(ConfigurationError, match="patch size 8"):
        planned("depth", image_size=(32, 36))
    other = replace(mosaics.SIZE, modalities=mosaics.SIZE.modalities[:1])
    how = recipe("semseg", inputs=("depth",))
    with pytest.raises(ConfigurationError, match=r"modalities of the model \(rgb\)"):
        plan(find_models(["scratch"]), read_data(how, mosaic_folder), other, None, tmp_path)


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path, model_folder):
    mosaics.write(tmp_path / "data", {"train": 6, "test": 3})
    how = recipe("depth", epochs=1.0, batch_size=2)
    data = read_data(how, tmp_path / "data")
    runs = plan(find_models([str(model_folder)]), data, mosaics.SIZE, (3.0, 2.0), tmp_path / "out")
    (path,) = (tmp_path / "data" / "test" / "depth").glob("*/0007.png")
    Image.new("L", (32, 32)).save(path)
    with pytest.raises(ConfigurationError, match=r"0007\.png: should have 16 bits a pixel"):
        finetune(runs[0])
    assert not (runs[0].folder / PICTURED).exists()
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"0007\.png: is missing"):
        plan(find_models([str(model_folder)]), data, mosaics.SIZE, (3.0, 2.0), tmp_path / "out")
