"""Risks and gradients against the evaluations of the studies and plain autograd."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import BertForSequenceClassification

from experiments.bert.data import HeldOut, Prepared, held_out_batches
from experiments.bert.evaluation import class_sums, summarise
from experiments.bert.glue.generated import write_generated
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS as GLUE
from experiments.bert.model import PosBertForPreTraining, bert_config
from experiments.bert.tags import TASKS
from experiments.configuration import ConfigurationError
from experiments.mae.downstream.task_data import TaskData
from experiments.mae.held_out import sample_risks
from experiments.mae.held_out import summarise as summarise_images
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.checkpoints import save_model
from experiments.mae.reading import Images
from experiments.mechanisms.hull import bert_risks, mae_risks
from experiments.mechanisms.hull.configuration import Settings
from experiments.mechanisms.hull.heads import chosen, fit_head

pytestmark = pytest.mark.usefixtures("one_thread")
HOW = Settings(examples=10_000, batch_size=8, head_examples=60, head_steps=60)


@pytest.fixture(scope="module")
def bert(tmp_path_factory, tiny, prepared_folder):
    """A model with parameters away from their first values, in a folder, and what was prepared."""
    prepared, study = Prepared(prepared_folder), tiny()
    torch.manual_seed(0)
    model = PosBertForPreTraining(bert_config(study.model, len(prepared.tokenizer)))
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.1 * torch.randn_like(values))
    folder = tmp_path_factory.mktemp("bert") / "model"
    model.save_pretrained(folder)
    return folder, prepared


def test_upstream_risks_of_bert_are_those_of_its_evaluation(tiny, bert):
    folder, prepared = bert
    study, model = tiny(), bert_risks.load_bert(folder, prepared)
    # One half twice: then means over halves are means over all pieces.
    total = len(HeldOut(prepared.split("valid")))
    measured = bert_risks.upstream_risks(model, study, prepared, HOW)
    whole = summarise(class_sums(model, held_out_batches(study, prepared, "valid", 8), "cpu"))
    assert total > 16
    assert set(measured.names) <= {*TASKS, *bert_risks.RELATED}
    for name, risk in zip(measured.names, measured.risks, strict=True):
        wanted = whole.next_sentence if name == "next sentence" else whole.risks[name].value
        assert risk == pytest.approx(wanted, rel=0.05)  # halves differ a little in size


def test_gradients_of_bert_leave_out_pooler_and_output_table(tiny, bert):
    folder, prepared = bert
    study, model = tiny(), bert_risks.load_bert(folder, prepared)
    parameters = bert_risks.bert_parameters(model)
    assert not any(name.startswith("pooler") for name in parameters)
    measured = bert_risks.upstream_risks(model, study, prepared, replace(HOW, examples=16))
    table = "embeddings.word_embeddings.weight"
    # A piece that is in no input has no gradient, though the output layer knows it.
    batches = held_out_batches(study, prepared, "valid", 10_000)
    seen = next(iter(batches))["input_ids"].unique()
    unseen = [piece for piece in range(len(prepared.tokenizer)) if piece not in set(seen.tolist())]
    assert unseen
    assert measured.gradients[0][0][table].abs().sum() > 0
    assert measured.gradients[0][0][table][unseen].abs().sum() == 0
    tied = PosBertForPreTraining.from_pretrained(folder)
    assert tied.cls.predictions.decoder.weight is tied.bert.embeddings.word_embeddings.weight


@pytest.mark.parametrize("name", ["cola", "stsb"])
def test_the_gradient_of_a_glue_risk_is_that_of_fine_tunings_model_with_the_fitted_head(
    name, tmp_path, tiny, bert, monkeypatch
):
    folder, prepared = bert
    data = read_task(GLUE[name], write_generated(tmp_path, [name]))
    data = replace(data, dev={"": data.dev[""].head(16)})
    study, model = tiny("fine_tuning.sequence_length=24"), bert_risks.load_bert(folder, prepared)
    before = {key: values.clone() for key, values in model.state_dict().items()}
    heads = []

    def fit_and_keep(title, head, *rest):
        heads.append(head)
        return fit_head(title, head, *rest)

    monkeypatch.setattr(bert_risks, "fit_head", fit_and_keep)
    measured, fitted = bert_risks.glue_risk(model, data, prepared.tokenizer, study, HOW)
    assert fitted.end < fitted.start
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())
    pooler, classifier = heads[0]
    assert not torch.equal(pooler.dense.weight, model.bert.pooler.dense.weight)
    outputs = GLUE[name].outputs
    theirs = BertForSequenceClassification.from_pretrained(folder, num_labels=outputs).eval()
    theirs.bert.pooler, theirs.classifier = pooler, classifier
    rows = chosen(16, 16, HOW.seed)
    for half in range(2):
        texts = rows[8 * half : 8 * half + 8]
        dev = data.dev[""]
        pairs = None if dev.second is None else [dev.second[row] for row in texts]
        inputs = prepared.tokenizer(
            [dev.first[row] for row in texts],
            pairs,
            truncation="longest_first",
            max_length=24,
            padding=True,
            return_tensors="pt",
        )
        labels = torch.tensor(dev.labels[texts])
        theirs.zero_grad()
        theirs(**inputs, labels=labels if name == "stsb" else labels.long()).loss.backward()
        for key, found in measured.gradients[half][0].items():
            wanted = theirs.bert.get_parameter(key).grad
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_models_of_another_vocabulary_or_without_heads_are_refused(tmp_path, tiny, bert):
    folder, prepared = bert
    torch.manual_seed(0)
    other = PosBertForPreTraining(bert_config(tiny().model, 77))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigurationError, match=r"should have the \d+ pieces of .*; found 77"):
        bert_risks.load_bert(tmp_path / "other", prepared)
    PosBertForPreTraining.from_pretrained(folder).bert.save_pretrained(tmp_path / "headless")
    with pytest.raises(ConfigurationError, match="the heads of pre-training are needed"):
        bert_risks.load_bert(tmp_path / "headless", prepared)
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        bert_risks.load_bert(tmp_path / "missing", prepared)


@pytest.fixture(scope="module")
def mae(tmp_path_factory, tiny_study):
    """A model with parameters away from their first values, in a folder."""
    torch.manual_seed(0)
    model = MultiModalMaskMae(tiny_study().model)
    with torch.no_grad():
        for values in model.parameters():
            values.add_(0.05 * torch.randn_like(values))
    folder = tmp_path_factory.mktemp("mae") / "model"
    save_model(model, folder)
    return folder


def test_upstream_risks_of_mae_are_those_of_its_evaluation(tiny_study, mae, scene_folder):
    study, model = tiny_study(), mae_risks.load_mae(mae)
    how = replace(HOW, batch_size=3)
    measured = mae_risks.upstream_risks(model, study, scene_folder, how)
    images = Images(study, scene_folder)
    loader = DataLoader(images.held_out, batch_size=6, collate_fn=images.held_out_collator)
    whole = summarise_images(sample_risks(model, loader, "cpu"), study.model.tasks)
    assert measured.names == study.model.tasks
    wanted = [whole["risks"][name]["value"] for name in measured.names]
    np.testing.assert_allclose(measured.risks, wanted, rtol=1e-5)  # two batches of equal size


@pytest.mark.parametrize("task", ["cls", "semseg", "depth"])
def test_downstream_risks_of_mae_have_gradients_of_the_shared_parameters_alone(
    task, tiny_study, mae, scene_folder
):
    study = tiny_study(f"downstream.{task}.image_size=[32, 32]")
    data = mae_risks.serving(getattr(study.downstream, task), [scene_folder])
    assert isinstance(data, TaskData)
    measured, fitted = mae_risks.downstream_risk(mae, data, replace(HOW, head_steps=15))
    shared = mae_risks.mae_parameters(mae_risks.load_mae(mae))
    assert measured.names == (mae_risks.TITLES[task],)
    assert fitted.end < fitted.start
    for half in measured.gradients:
        for name, values in half[0].items():
            assert values.shape == shared[name].shape
        assert any(name.startswith("embeddings.rgb") for name in half[0])
        assert not any(name.startswith("embeddings.depth") for name in half[0])
        assert sum(float(values.abs().sum()) for values in half[0].values()) > 0


def test_a_task_is_read_from_the_first_manifest_that_has_it(tiny_study, scene_folder, tmp_path):
    recipe = tiny_study().downstream.semseg
    assert mae_risks.serving(recipe, [scene_folder]).manifest.path.parent == scene_folder
    without = tiny_study("downstream.semseg.inputs=[infrared]").downstream.semseg
    assert mae_risks.serving(without, [scene_folder]) is None
    with pytest.raises(ConfigurationError, match="manifest"):
        mae_risks.serving(recipe, [tmp_path])
