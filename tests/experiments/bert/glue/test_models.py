import io
import json
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, BertConfig, BertForMaskedLM

from experiments.bert.glue import models as finding
from experiments.bert.glue.models import Pretrained, classifier, find_models, tokenizer_of
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError
from experiments.records import RESULT


def pretrained(out, checkpoint, arm, seed):
    """A finished run of pre-training."""
    folder = out / arm / f"seed-{seed}"
    shutil.copytree(checkpoint, folder / "model")
    (folder / RESULT).write_text(json.dumps({"arm": arm, "seed": seed}), encoding="utf-8")
    return folder


def copied(checkpoint, folder):
    shutil.copytree(checkpoint, folder)
    return folder


def test_every_finished_run_below_a_folder_is_a_model(tmp_path, checkpoint):
    for arm, seed in (("minimax", 10), ("minimax", 9), ("average", 0)):
        pretrained(tmp_path, checkpoint, arm, seed)
    (pretrained(tmp_path, checkpoint, "average", 1) / RESULT).unlink()  # not finished
    tuned = pretrained(tmp_path, checkpoint, "average", 2) / RESULT  # of fine-tuning
    tuned.write_text(json.dumps({"arm": "a", "seed": 0, "task": "rte"}), encoding="utf-8")
    found = find_models([str(tmp_path)])
    assert [(each.arm, each.seed) for each in found] == [
        ("average", 0),
        ("minimax", 9),
        ("minimax", 10),
    ]
    assert found[1].folder(tmp_path / "out") == tmp_path / "out" / "minimax" / "seed-9"
    one = find_models([str(tmp_path / "minimax" / "seed-9" / "model")])
    assert one == [found[1]]
    assert find_models([str(tmp_path / "minimax"), one[0].path]) == found[1:]


def test_arms_are_in_the_order_of_the_tables_of_pre_training(tmp_path, checkpoint):
    for arm, date in (("a", "2026-01-02"), ("b", "2026-01-01"), ("average", "2026-01-03")):
        path = pretrained(tmp_path, checkpoint, arm, 0) / RESULT
        path.write_text(json.dumps({"arm": arm, "seed": 0, "date": date}), encoding="utf-8")
    assert [each.arm for each in find_models([str(tmp_path)])] == ["average", "b", "a"]


def test_a_checkpoint_has_the_name_of_its_folder_and_a_hub_id_its_own(tmp_path, checkpoint):
    assert find_models([str(checkpoint)]) == [Pretrained("tiny", None, str(checkpoint))]
    (hub,) = find_models(["google-bert/bert-base-uncased"])
    assert hub.folder(tmp_path) == tmp_path / "google-bert--bert-base-uncased"


def test_two_models_of_one_name_are_refused(tmp_path, checkpoint):
    other = copied(checkpoint, tmp_path / "tiny")
    with pytest.raises(ConfigurationError, match="are both tiny; give"):
        find_models([str(checkpoint), str(other)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}/empty", "holds no finished run of .*pretrain., and no config.json"),
        ("{}/nowhere", "is missing; run .*pretrain. first"),
        ("runs/bert/nowhere", "is missing; run .*pretrain. first"),
        ("./nowhere", "is missing"),
    ],
)
def test_a_folder_without_models_is_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        find_models([name.format(tmp_path)])


def test_what_cannot_be_reached_is_named(monkeypatch):
    def unreachable(*_, **__):
        raise OSError("We couldn't connect")

    monkeypatch.setattr(finding.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(ConfigurationError, match=r"owner/model: cannot be loaded \(OSError: We"):
        tokenizer_of(Pretrained("owner/model", None, "owner/model"), 8)


@pytest.mark.parametrize(("more", "refused"), [(0, False), (-1, True), (200, True), (None, False)])
def test_tokenizer_and_model_must_have_the_same_vocabulary(tmp_path, checkpoint, more, refused):
    folder = copied(checkpoint, tmp_path / "model")
    pieces = AutoConfig.from_pretrained(folder).vocab_size
    size = pieces + more if more is not None else -(-pieces // 64) * 64  # filled up
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**content, "vocab_size": size}))
    model = Pretrained("model", None, str(folder))
    if not refused:
        assert len(tokenizer_of(model, 16)) == pieces
        return
    with pytest.raises(
        ConfigurationError, match=rf"tokenizer has {pieces} pieces, the model {size}"
    ):
        tokenizer_of(model, 16)


def test_a_checkpoint_without_tokenizer_is_refused(tmp_path, checkpoint):
    folder = copied(checkpoint, tmp_path / "model")
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ConfigurationError, match="model"):
        tokenizer_of(Pretrained("model", None, str(folder)), 16)


def altered(checkpoint, folder, change):
    """A copy of a checkpoint with changed parameters."""
    path = copied(checkpoint, folder) / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    return Pretrained("model", None, str(folder))


def test_a_checkpoint_without_its_whole_encoder_is_refused(tmp_path, checkpoint):
    heads = altered(
        checkpoint,
        tmp_path / "heads",
        lambda saved: {n: p for n, p in saved.items() if not n.startswith("bert.")},
    )
    with pytest.raises(ConfigurationError, match=r"lacks \d+ parameters of the encoder .*random"):
        classifier(heads, TASKS["rte"])
    query = "bert.encoder.layer.0.attention.self.query.weight"
    one = altered(
        checkpoint,
        tmp_path / "one",
        lambda saved: {n: p for n, p in saved.items() if n != query},
    )
    with pytest.raises(ConfigurationError, match=rf"lacks 1 parameters .*{query}"):
        classifier(one, TASKS["rte"])


def test_a_checkpoint_without_pooler_is_refused(tmp_path):
    config = BertConfig(
        vocab_size=30,
        num_hidden_layers=1,
        hidden_size=8,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=r"bert\.pooler\.dense"):
        classifier(Pretrained("model", None, str(tmp_path)), TASKS["rte"])


def test_a_truncated_checkpoint_is_refused(tmp_path, checkpoint):
    folder = copied(checkpoint, tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match=r"model: cannot be loaded \(SafetensorError"):
        classifier(Pretrained("model", None, str(folder)), TASKS["rte"])


class Malicious:
    """What its pickle would run leaves a file behind."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (type(self.mark).touch, (self.mark,))


def saved_by_torch(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda _: b"", "EOFError"),
        (lambda _: bytes(range(256)), "UnpicklingError"),
        (lambda _: saved_by_torch([1, 2]), "TypeError"),
        (lambda mark: pickle.dumps(Malicious(mark), 2), "UnpicklingError"),
        (lambda mark: saved_by_torch({"a": Malicious(mark)}), "UnpicklingError"),
    ],
)
def test_a_damaged_or_malicious_pickle_is_refused_and_not_run(
    tmp_path, checkpoint, content, reason
):
    folder = copied(checkpoint, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    mark = tmp_path / "mark"
    (folder / "pytorch_model.bin").write_bytes(content(mark))
    with pytest.raises(ConfigurationError, match=rf"model: cannot be loaded \({reason}") as error:
        classifier(Pretrained("model", None, str(folder)), TASKS["rte"])
    assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "None"}}'])
def test_a_damaged_tokenizer_is_refused(tmp_path, checkpoint, content):
    folder = copied(checkpoint, tmp_path / "model")
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="model: cannot be loaded"):
        tokenizer_of(Pretrained("model", None, str(folder)), 16)


def test_a_head_of_another_task_is_refused(tmp_path, checkpoint):
    made = classifier(Pretrained("tiny", None, str(checkpoint)), TASKS["mnli"])
    made.save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be loaded"):
        classifier(Pretrained("model", None, str(tmp_path)), TASKS["rte"])


def test_the_identity_is_that_of_the_parameters(tmp_path, checkpoint):
    model = Pretrained("tiny", None, str(checkpoint))
    same = replace(model, path=str(copied(checkpoint, tmp_path / "same")))
    other = altered(
        checkpoint,
        tmp_path / "other",
        lambda saved: {n: p + (1e-3 if "pooler" in n else 0.0) for n, p in saved.items()},
    )
    assert model.identity() == same.identity() != other.identity()


def reversed_ids(folder):
    """Every piece gets the id of another; what the model reads is another text."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    last = max(vocabulary.values())
    content["model"]["vocab"] = {piece: last - number for piece, number in vocabulary.items()}
    path.write_text(json.dumps(content), encoding="utf-8")


def other_options(folder):
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "model_max_length": 7}), encoding="utf-8")


def a_vocabulary(folder):
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n", encoding="utf-8")


@pytest.mark.parametrize("change", [reversed_ids, other_options, a_vocabulary])
def test_another_tokenizer_makes_another_model(tmp_path, checkpoint, change):
    folder = copied(checkpoint, tmp_path / "other")
    before = Pretrained("tiny", None, str(checkpoint)).identity()
    assert Pretrained("tiny", None, str(folder)).identity() == before
    change(folder)
    assert Pretrained("tiny", None, str(folder)).identity() != before


def test_the_size_of_bert_base_is_that_of_the_fact_sheet():
    from transformers import BertForSequenceClassification

    for labels in (1, 2, 3):
        with torch.device("meta"):
            model = BertForSequenceClassification(BertConfig(num_labels=labels))
        assert sum(p.numel() for p in model.parameters()) == 109_482_240 + 769 * labels
