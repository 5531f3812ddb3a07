"""Runs of a few steps of a model of one layer of 16, with dropout."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from experiments.bert.glue import finetune as finetuning
from experiments.bert.glue.encoding import Encoded
from experiments.bert.glue.finetune import PREDICTIONS, finetune, plan, steps
from experiments.bert.glue.metrics import scores
from experiments.bert.glue.models import classifier, find_models, tokenizer_of
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError
from experiments.records import RESULT

pytestmark = pytest.mark.usefixtures("one_thread")


class StoppedError(Exception):
    """Instead of a killed process."""


def recording(log, stop=None):
    """A Trainer that records parameters and batches, and may be stopped before a step."""

    class Recording(Trainer):
        def train(self, *args, **kwargs):
            log["start"] = {n: p.detach().clone() for n, p in self.model.named_parameters()}
            log["batches"] = []
            found = super().train(*args, **kwargs)
            log["end"] = {n: p.detach().clone() for n, p in self.model.named_parameters()}
            return found

        def training_step(self, model, inputs, *args):
            if self.state.global_step == stop:
                raise StoppedError
            log["batches"].append(inputs["input_ids"].clone())
            loss = super().training_step(model, inputs, *args)
            log["gradients"] = {n: p.grad.clone() for n, p in model.named_parameters()}
            return loss

    return Recording


def run_of(how, models, data, out, number=0):
    return plan(how, models, [data], out)[number]


def recorded(monkeypatch, run, how, stop=None):
    """Result and record of a run."""
    log = {}
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "Trainer", recording(log, stop))
        return finetune(run, how), log


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def cola(small):
    return small("cola")


def test_a_result_holds_the_dev_scores_of_the_predictions_that_are_kept(
    tmp_path, few, models, small
):
    for name in ("cola", "stsb", "rte"):
        data, how = small(name), few()
        run = run_of(how, models, data, tmp_path)
        result = finetune(run, how)
        with np.load(run.folder / PREDICTIONS) as kept:
            shapes = {split: outputs.shape for split, outputs in kept.items()}
            assert shapes == {"dev": (10, data.task.outputs), "test": (5, data.task.outputs)}
            assert result["dev"] == {"": scores(data.task, kept["dev"], data.dev[""].labels)}
        assert json.loads((run.folder / RESULT).read_text(encoding="utf-8")) == result


def test_predictions_are_those_of_the_kept_model_on_each_sentence_alone(
    tmp_path, few, models, small
):
    data, how = small("rte"), few(keep_models=True)
    run = run_of(how, models, data, tmp_path)
    finetune(run, how)
    model = AutoModelForSequenceClassification.from_pretrained(run.folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
    with np.load(run.folder / PREDICTIONS) as kept, torch.no_grad():
        for split, part in (("dev", data.dev[""]), ("test", data.test[""])):
            for number, pair in enumerate(zip(part.first, part.second, strict=True)):
                pieces = tokenizer(
                    *pair, return_tensors="pt", truncation=True, max_length=how.sequence_length
                )
                np.testing.assert_allclose(
                    model(**pieces).logits[0], kept[split][number], atol=1e-5
                )


def test_a_result_says_how_it_was_made_and_leaves_no_large_files(tmp_path, few, models, cola):
    how = few(save_every=2)
    run = run_of(how, models, cola, tmp_path)
    result = finetune(run, how, command="typed")
    assert (result["arm"], result["pretraining_seed"], result["task"]) == ("tiny", None, "cola")
    assert result["command"] == "typed"
    assert result["versions"]["torch"] == torch.__version__
    assert result["steps"] == steps(how, cola) == 6
    assert result["data"]["splits"]["test"]["rows"] == 5
    assert yaml.safe_load(result["configuration"])["learning_rate"] == how.learning_rate
    found = sorted(path.name for path in run.folder.iterdir())
    assert found == ["configuration.yaml", PREDICTIONS, RESULT]


def test_the_recipe_reaches_the_trainer(tmp_path, monkeypatch, few, models, cola):
    how = few(batch_size=8, micro_batch_size=2, warmup_ratio=0.3, betas=(0.8, 0.98))
    seen = {}

    class Looking(Trainer):
        def training_step(self, model, *args):
            if not seen:
                groups = self.optimizer.param_groups
                names = {id(p): n for n, p in self.model.named_parameters()}
                seen["decay"] = {
                    names[id(p)]: g["weight_decay"] for g in groups for p in g["params"]
                }
                seen["adam"] = (groups[0]["betas"], groups[0]["eps"])
                seen["arguments"] = self.args
            seen.setdefault("rates", []).append(self.lr_scheduler.get_last_lr()[0])
            return super().training_step(model, *args)

    monkeypatch.setattr(finetuning, "Trainer", Looking)
    finetune(run_of(how, models, cola, tmp_path), how)
    assert seen["adam"] == ((0.8, 0.98), 1e-6)
    assert all(
        decay == (0.0 if "bias" in name or "LayerNorm" in name else 0.1)
        for name, decay in seen["decay"].items()
    )
    assert seen["arguments"].max_grad_norm == 0
    # Two of six steps up, four down, four micro-batches each.
    rates = np.array(seen["rates"]).reshape(6, 4)
    np.testing.assert_allclose(rates[:, 0] / 1e-3, [0, 0.5, 1, 0.75, 0.5, 0.25], atol=1e-9)


def test_every_parameter_of_the_encoder_is_that_of_the_checkpoint(
    tmp_path, monkeypatch, few, models, cola, checkpoint
):
    how = few(epochs=1)
    _, log = recorded(monkeypatch, run_of(how, models, cola, tmp_path), how)
    from safetensors.torch import load_file

    saved = load_file(checkpoint / "model.safetensors")
    encoder = {n: p for n, p in log["start"].items() if n.startswith("bert.")}
    assert len(encoder) == len(log["start"]) - 2
    assert all(torch.equal(saved[name], value) for name, value in encoder.items())


def test_seeds_change_head_and_order_and_a_seed_gives_the_same_run(
    tmp_path, monkeypatch, few, models, cola
):
    how = few(seeds=(0, 1))
    runs = plan(how, models, [cola], tmp_path)
    _, first = recorded(monkeypatch, runs[0], how)
    _, other = recorded(monkeypatch, runs[1], how)
    _, again = recorded(monkeypatch, plan(how, models, [cola], tmp_path / "again")[0], how)
    assert same(first["start"], again["start"])
    assert same(first["end"], again["end"])
    assert not torch.equal(first["start"]["classifier.weight"], other["start"]["classifier.weight"])
    assert not all(
        torch.equal(a, b) for a, b in zip(first["batches"], other["batches"], strict=True)
    )


@pytest.mark.parametrize("name", ["cola", "stsb"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(
    tmp_path, monkeypatch, few, make_checkpoint, small, name
):
    folder = make_checkpoint(tmp_path / "still", dropout=0.0)
    models, data, logs, losses = find_models([str(folder)]), small(name, train=8), [], []
    for micro in (8, 2):
        how = few(epochs=1, micro_batch_size=micro)
        run = run_of(how, models, data, tmp_path / str(micro))
        result, log = recorded(monkeypatch, run, how)
        logs.append(log)
        losses.append(result["history"][0]["loss"])
    assert [len(log["batches"]) for log in logs] == [1, 4]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert max(g.abs().max() for g in logs[0]["gradients"].values()) > 1e-3
    for parameter, gradient in logs[0]["gradients"].items():
        torch.testing.assert_close(logs[1]["gradients"][parameter], gradient, atol=1e-6, rtol=1e-4)


def test_a_finished_run_is_read_back(tmp_path, monkeypatch, few, models, cola):
    how = few()
    run = run_of(how, models, cola, tmp_path)
    result = finetune(run, how)

    def refuse(*_, **__):
        raise AssertionError("something was loaded")

    monkeypatch.setattr(finetuning, "classifier", refuse)
    assert finetune(run, how) == result


def test_other_tasks_and_seeds_leave_a_finished_run_as_it_is(tmp_path, few, models, cola, small):
    finetune(run_of(few(), models, cola, tmp_path), few())
    how = few(tasks=("rte", "cola"), seeds=(5, 0), keep_models=True, save_every=9)
    runs = plan(how, models, [small("rte"), cola], tmp_path)
    assert [(run.folder / RESULT).is_file() for run in runs] == [False, False, False, True]


@pytest.mark.parametrize("change", ["configuration", "data", "model"])
def test_a_folder_of_another_run_is_refused_before_any_training(
    tmp_path, few, models, cola, make_checkpoint, change
):
    how = few()
    run = run_of(how, models, cola, tmp_path / "out")
    finetune(run, how)
    before = (run.folder / RESULT).read_bytes()
    if change == "configuration":
        how = few(weight_decay=0.2)
    elif change == "data":
        cola = replace(cola, train=cola.train.head(23))
    else:
        models = find_models([str(make_checkpoint(tmp_path / "tiny", seed=1))])
    with pytest.raises(ConfigurationError, match="holds a run of another configuration"):
        plan(how, models, [cola], tmp_path / "out")
    assert (run.folder / RESULT).read_bytes() == before


def test_a_stopped_run_goes_on_from_its_checkpoint_to_the_same_parameters(
    tmp_path, monkeypatch, few, models, cola
):
    how = few(save_every=2)
    whole, straight = recorded(monkeypatch, run_of(how, models, cola, tmp_path / "straight"), how)
    run = run_of(how, models, cola, tmp_path / "stopped")
    with pytest.raises(StoppedError):
        recorded(monkeypatch, run, how, stop=5)
    assert not (run.folder / RESULT).exists()
    result, resumed = recorded(monkeypatch, run, how, stop=0)  # not from the start
    assert result["resumed_from"] == "checkpoint-4"
    assert same(straight["end"], resumed["end"])
    assert result["dev"] == whole["dev"]


def test_only_the_first_examples_are_trained_on_if_so_wanted(tmp_path, few, models, cola):
    how = few(max_train_examples=9, epochs=1)
    assert finetune(run_of(how, models, cola, tmp_path), how)["steps"] == 2


def test_a_diverged_run_is_named_and_has_no_result(tmp_path, few, models, cola):
    how = few(learning_rate=1e30, warmup_ratio=0)
    run = run_of(how, models, cola, tmp_path)
    with pytest.raises(ConfigurationError, match=r"tiny · CoLA, seed 0: training diverged"):
        finetune(run, how)
    assert not (run.folder / RESULT).exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"micro_batch_size": 3}, r"batch_size` should be a multiple of .* found 8 for 1 × 3"),
        ({"sequence_length": 65}, r"sequence_length` should be at most 64, .* found 65"),
        ({"precision": "fp16"}, r"`fine_tuning\.precision` fp16 needs a GPU"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, few, models, cola, fields, message
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match=message):
        plan(few(**fields), models, [cola], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_longer_pairs_are_cut_and_counted(models, small):
    data = small("rte")
    tokenizer = tokenizer_of(models[0], 16)
    lengths = [
        len(tokenizer(*pair)["input_ids"])
        for pair in zip(data.train.first, data.train.second, strict=True)
    ]
    encoded = Encoded(data.train, tokenizer, 16, whole_labels=True)
    assert [len(item["input_ids"]) for item in encoded] == [min(16, n) for n in lengths]
    assert encoded.cut == sum(n > 16 for n in lengths) > 0
    assert all(isinstance(item["labels"], int) for item in encoded)


@pytest.mark.parametrize(("positions", "longest"), [(36, 36), (39, 36), (40, 40), (64, 40)])
def test_batches_are_padded_to_multiples_of_eight_but_not_past_the_positions(
    tmp_path, monkeypatch, few, make_checkpoint, cola, positions, longest
):
    model = str(make_checkpoint(tmp_path / "model", positions=positions))
    long = replace(cola.train, first=tuple(f"{text} " * 36 for text in cola.train.first))
    data, how = replace(cola, train=long), few(sequence_length=36, epochs=1)
    _, log = recorded(monkeypatch, run_of(how, find_models([model]), data, tmp_path / "out"), how)
    assert {batch.shape[1] for batch in log["batches"]} == {longest}


def test_models_are_told_that_their_loss_is_not_the_trainers(models):
    # transformers' BERT ignores `num_items_in_batch`, yet its signature says otherwise.
    model = classifier(models[0], TASKS["mnli"])
    assert model.accepts_loss_kwargs is False
    assert (model.config.num_labels, model.config.problem_type) == (
        3,
        "single_label_classification",
    )
    assert classifier(models[0], TASKS["stsb"]).config.problem_type == "regression"
