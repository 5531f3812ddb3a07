import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)

from experiments.bert.configuration import ModelSize
from experiments.bert.model import PosBertForPreTraining, bert_config
from taskrobust import task_sums

TINY = ModelSize(layers=2, hidden=16, heads=2, positions=24)
VOCABULARY = 60
BATCH, LENGTH, PREDICTIONS = 6, 24, 5


def model(seed=0, size=TINY, vocabulary=VOCABULARY, **options):
    torch.manual_seed(seed)
    return PosBertForPreTraining(bert_config(size, vocabulary, **options))


def inputs(seed=0, vocabulary=VOCABULARY, tasks=10):
    """A batch with unused masked positions and padding."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high, *shape, low=0):
        return torch.randint(low, high, shape, generator=generator)

    order = torch.rand(BATCH, LENGTH - 6, generator=generator).argsort(1)
    positions = order[:, :PREDICTIONS] + 1
    labels = integers(vocabulary, BATCH, PREDICTIONS)
    used = torch.arange(PREDICTIONS) < integers(PREDICTIONS + 1, BATCH, 1, low=1)
    lengths = integers(LENGTH + 1, BATCH, 1, low=LENGTH - 5)
    return {
        "input_ids": integers(vocabulary, BATCH, LENGTH),
        "attention_mask": (torch.arange(LENGTH) < lengths).long(),
        "token_type_ids": (torch.arange(LENGTH) >= 10).long().expand(BATCH, -1),
        "masked_positions": torch.where(used, positions, 0),
        "mlm_labels": torch.where(used, labels, -100),
        "task_ids": integers(tasks, BATCH, PREDICTIONS),
        "next_sentence_label": integers(2, BATCH),
    }


def stock_labels(batch):
    """Labels of all positions, as `BertForPreTraining` wants them."""
    labels = torch.full((BATCH, LENGTH), -100)
    for row in range(BATCH):
        for position, label in zip(
            batch["masked_positions"][row], batch["mlm_labels"][row], strict=True
        ):
            if label != -100:
                labels[row, position] = label
    return labels


def stock_arguments(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def parameters(kind, config):
    with torch.device("meta"):
        return sum(p.numel() for p in kind(config).parameters())


def test_the_head_on_masked_positions_gives_the_loss_and_gradients_of_the_stock_model():
    ours = model().double().eval()
    stock = BertForPreTraining(ours.config).double().eval()
    stock.load_state_dict(ours.state_dict())
    batch = inputs()
    expected = stock(
        **stock_arguments(batch),
        labels=stock_labels(batch),
        next_sentence_label=batch["next_sentence_label"],
    ).loss
    outputs = ours(**batch)
    count = (batch["mlm_labels"] != -100).sum()
    loss = outputs.task_values.sum() / count + outputs.auxiliary_values.mean()
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
    expected.backward()
    loss.backward()
    theirs = dict(stock.named_parameters())
    assert theirs.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        gradient = theirs[name].grad
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-15)


def test_unused_positions_have_no_task_and_no_loss():
    batch = inputs()
    outputs = model().eval()(**batch)
    unused = batch["mlm_labels"].flatten() == -100
    assert unused.any()
    assert (outputs.task_values[unused] == 0).all()
    assert (outputs.task_groups[unused] == -100).all()
    assert (outputs.task_values[~unused] > 0).all()
    assert (outputs.task_groups == batch["task_ids"].flatten())[~unused].all()


def test_class_means_weighted_by_counts_recombine_to_the_loss_of_ordinary_bert():
    ours = model().double().eval()
    batch = inputs()
    outputs = ours(**batch)
    found = task_sums(outputs.task_values, outputs.task_groups, 10)
    risks = found.sums / found.counts.clamp(min=1)
    logits = ours.cls.predictions(ours.bert(**stock_arguments(batch))[0])
    expected = cross_entropy(logits.flatten(0, 1), stock_labels(batch).flatten())
    recombined = (found.counts * risks).sum() / found.counts.sum()
    torch.testing.assert_close(recombined, expected, rtol=1e-13, atol=0)


def test_next_sentence_prediction_is_added_is_a_task_or_is_off():
    batch = inputs(tasks=9)
    added = model(next_sentence="added").eval()(**batch)
    task = model(next_sentence="task", next_sentence_task=9).eval()(**batch)
    off = model(next_sentence="off").eval()(**batch)
    masked = BATCH * PREDICTIONS
    assert added.auxiliary_values.shape == (BATCH,)
    assert task.auxiliary_values is None
    assert off.auxiliary_values is None
    assert torch.equal(task.task_values[:masked], added.task_values)
    assert torch.equal(task.task_values[masked:], added.auxiliary_values)
    assert task.task_groups[masked:].tolist() == [9] * BATCH
    assert torch.equal(off.task_values, added.task_values)
    pairs = added.auxiliary_values
    assert pairs.mean().item() == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize("mode", ["added", "task", "off"])
def test_every_parameter_has_a_gradient_even_if_only_one_task_is_trained(mode):
    ours = model(next_sentence=mode, next_sentence_task=9)
    outputs = ours(**inputs(tasks=9))
    total = outputs.task_values[outputs.task_groups == 0].sum()
    if mode == "added":
        total = total + 0.0 * outputs.auxiliary_values.sum()
    total.backward()
    without = [name for name, p in ours.named_parameters() if p.grad is None]
    assert without == []
    head = ours.cls.seq_relationship.weight.grad
    assert (head == 0).all()


def test_defaults_have_the_parameter_counts_of_bert_base():
    base = bert_config(ModelSize(), 30_522)
    assert parameters(PosBertForPreTraining, base) == 110_106_428
    assert parameters(BertForPreTraining, BertConfig()) == 110_106_428
    assert parameters(BertForMaskedLM, base) == 109_514_298
    assert parameters(BertForSequenceClassification, base) == 109_483_778
    assert parameters(BertModel, base) == 109_482_240
    with torch.device("meta"):
        encoder = PosBertForPreTraining(base).bert
    assert encoder.embeddings.word_embeddings.weight.numel() == 23_440_896
    assert sum(p.numel() for p in encoder.parameters()) == 109_482_240
    fewer = bert_config(ModelSize(layers=11), 30_522)
    layer = 110_106_428 - parameters(PosBertForPreTraining, fewer)
    assert layer == 7_087_872


def test_defaults_are_those_of_bert():
    found, expected = bert_config(ModelSize(), 30_522).to_dict(), BertConfig().to_dict()
    assert {k: v for k, v in found.items() if v != expected[k]} == {}


def test_sizes_reach_the_configuration():
    size = ModelSize(layers=3, hidden=24, heads=4, intermediate=40, positions=17, dropout=0.3)
    found, bert = bert_config(size, 77).to_dict(), BertConfig().to_dict()
    assert {name: value for name, value in found.items() if value != bert[name]} == {
        "vocab_size": 77,
        "num_hidden_layers": 3,
        "hidden_size": 24,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 17,
        "hidden_dropout_prob": 0.3,
        "attention_probs_dropout_prob": 0.3,
    }


@pytest.mark.parametrize("vocabulary", [500, 8000])
def test_the_first_loss_is_that_of_guessing(vocabulary):
    ours = model(vocabulary=vocabulary, size=ModelSize(layers=1, hidden=32, heads=2, positions=24))
    values = []
    for seed in range(20):
        batch = inputs(seed, vocabulary)
        values.append(ours(**batch).task_values[batch["mlm_labels"].flatten() != -100])
    mean = torch.cat(values).mean().item()
    # Logits of variance hidden · 0.02² add half of it.
    assert mean == pytest.approx(math.log(vocabulary) + 32 * 0.02**2 / 2, abs=0.05)


@torch.no_grad()
def test_bert_base_starts_from_guessing():
    ours = model(vocabulary=30_522, size=ModelSize()).eval()
    generator = torch.Generator().manual_seed(1)
    pieces = torch.randint(30_522, (8, 32), generator=generator)
    outputs = ours(
        pieces,
        masked_positions=torch.arange(1, 31).expand(8, -1),
        mlm_labels=torch.randint(30_522, (8, 30), generator=generator),
        task_ids=torch.zeros(8, 30, dtype=torch.long),
        next_sentence_label=torch.arange(8) % 2,
    )
    found = outputs.task_values.mean().item()
    assert found == pytest.approx(math.log(30_522) + 768 * 0.02**2 / 2, abs=0.1)
    # All pairs start with nearly the same two logits; d apart, they add d² / 8, and d is about 0.4.
    assert outputs.auxiliary_values.mean().item() == pytest.approx(math.log(2), abs=0.15)


HEADS = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}
POOLER = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model and the folder it is saved in."""
    ours = model(next_sentence="task", next_sentence_task=9).eval()
    folder = tmp_path_factory.mktemp("checkpoint")
    ours.save_pretrained(folder)
    return ours, folder


def loaded(kind, folder, **options):
    found, report = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not report["mismatched_keys"]
    return found.eval(), set(report["missing_keys"]), set(report["unexpected_keys"])


def test_a_checkpoint_loads_as_an_encoder(checkpoint):
    ours, folder = checkpoint
    encoder, missing, unexpected = loaded(AutoModel, folder)
    assert type(encoder) is BertModel
    assert missing == set()
    assert unexpected
    assert all(name.startswith("cls.") for name in unexpected)
    arguments = stock_arguments(inputs())
    for found, expected in zip(encoder(**arguments)[:2], ours.bert(**arguments)[:2], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", [AutoModelForPreTraining, BertForPreTraining])
def test_a_checkpoint_loads_as_the_stock_pre_training_model(checkpoint, kind):
    ours, folder = checkpoint
    stock, missing, unexpected = loaded(kind, folder)
    assert type(stock) is BertForPreTraining
    assert missing == unexpected == set()
    assert stock.cls.predictions.decoder.weight is stock.bert.embeddings.word_embeddings.weight
    arguments = stock_arguments(inputs())
    outputs, hidden = stock(**arguments), ours.bert(**arguments)
    assert torch.equal(outputs.prediction_logits, ours.cls.predictions(hidden[0]))
    assert torch.equal(outputs.seq_relationship_logits, ours.cls.seq_relationship(hidden[1]))


def test_a_checkpoint_loads_as_a_masked_language_model(checkpoint):
    ours, folder = checkpoint
    masked, missing, unexpected = loaded(AutoModelForMaskedLM, folder)
    assert missing == set()
    assert unexpected == HEADS | POOLER
    arguments = stock_arguments(inputs())
    logits = ours.cls.predictions(ours.bert(**arguments)[0])
    assert torch.equal(masked(**arguments).logits, logits)


def test_a_checkpoint_loads_as_a_classifier_with_a_new_head(checkpoint):
    ours, folder = checkpoint
    classifier, missing, unexpected = loaded(
        AutoModelForSequenceClassification, folder, num_labels=3
    )
    assert missing == {"classifier.weight", "classifier.bias"}
    assert all(name.startswith("cls.") for name in unexpected)
    arguments = stock_arguments(inputs())
    expected = classifier.classifier(ours.bert(**arguments)[1])
    assert expected.shape == (BATCH, 3)
    assert torch.equal(classifier(**arguments).logits, expected)


def test_a_checkpoint_loads_as_itself(checkpoint):
    ours, folder = checkpoint
    again, missing, unexpected = loaded(PosBertForPreTraining, folder)
    assert missing == unexpected == set()
    batch = inputs()
    found, expected = again(**batch), ours(**batch)
    assert torch.equal(found.task_values, expected.task_values)
    assert torch.equal(found.task_groups, expected.task_groups)


def test_a_checkpoint_of_the_stock_model_loads_as_ours(tmp_path):
    stock = BertForPreTraining(bert_config(TINY, VOCABULARY)).eval()
    stock.save_pretrained(tmp_path)
    ours, missing, unexpected = loaded(PosBertForPreTraining, tmp_path)
    assert missing == unexpected == set()
    arguments = stock_arguments(inputs())
    logits = ours.cls.predictions(ours.bert(**arguments)[0])
    assert torch.equal(logits, stock(**arguments).prediction_logits)
