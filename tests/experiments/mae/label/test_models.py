import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.configuration import ConfigurationError
from experiments.mae.label.depth import load_depth
from experiments.mae.label.models import find
from tests.experiments.mae.label.conftest import CPU, picture


@pytest.fixture
def folder(models, tmp_path):
    return Path(shutil.copytree(models["dpt"], tmp_path / "copy"))


def load(folder):
    return load_depth(str(folder), kind="inverse", device=CPU)


def test_a_folder_that_is_none_is_named(tmp_path):
    missing = str(tmp_path / "nothing")
    with pytest.raises(ConfigurationError, match=r"--depth .*nothing.*: cannot be found"):
        load(missing)


def test_a_revision_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"--semseg '.*none' at v7: cannot be found"):
        find(str(tmp_path / "none"), "v7", "--semseg")


def test_a_folder_has_no_revisions(folder):
    with pytest.raises(ConfigurationError, match=r"--depth-revision .*found 'v7' for the folder"):
        find(str(folder), "v7", "--depth")


def test_pickled_weights_are_not_read(folder, monkeypatch):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("something was unpickled"))
    with pytest.raises(ConfigurationError, match=r"should have weights in safetensors.*pickle"):
        load(folder)


def test_no_code_of_a_model_is_run(folder):
    config = folder / "config.json"
    content = json.loads(config.read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    config.write_text(json.dumps({**content, **own}))
    (folder / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(ConfigurationError, match=r"cannot be used \(.*custom code"):
        load(folder)


def test_damaged_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load(folder)


def test_a_model_without_an_image_processor_is_refused(folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigurationError, match=r"preprocessor_config\.json"):
        load(folder)


def without(folder, part):
    path = folder / "model.safetensors"
    kept = {name: values for name, values in load_file(path).items() if part not in name}
    save_file(kept, path, metadata={"format": "pt"})


def test_weights_that_the_network_uses_must_be_there(folder):
    without(folder, "head.head.2.weight")
    with pytest.raises(ConfigurationError, match="weights of DPTForDepthEstimation are missing"):
        load(folder)


def test_weights_that_the_network_never_uses_may_be_missing(folder):
    # Published DPTs lack these, for the first stage of fusion has nothing to add.
    before = load(folder)
    without(folder, "fusion_stage.layers.0.residual_layer1")
    after = load(folder)
    image = picture((40, 56))
    ours, theirs = (each.depths([each.prepare(image)], [(40, 56)])[0] for each in (before, after))
    assert (ours == theirs).all()


def test_weights_of_another_shape_are_refused(folder):
    config = folder / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "fusion_hidden_size": 12}))
    with pytest.raises(
        ConfigurationError, match=r"head\.0\.bias should have the shape \(6,\).*found \(4,\)"
    ):
        load(folder)


def test_the_digest_is_of_weights_configuration_and_image_processor_not_of_the_place(
    models, folder
):
    first = load(models["dpt"]).model.digest
    assert load(folder).model.digest == first
    path = folder / "model.safetensors"
    weights = load_file(path)
    changed = {**weights, "head.head.4.bias": weights["head.head.4.bias"] + 1e-6}
    save_file(changed, path, metadata={"format": "pt"})
    second = load(folder).model.digest
    save_file(weights, path, metadata={"format": "pt"})
    preprocessing = folder / "preprocessor_config.json"
    content = json.loads(preprocessing.read_text())
    preprocessing.write_text(json.dumps({**content, "image_mean": [0.4, 0.5, 0.5]}))
    assert len({first, second, load(folder).model.digest}) == 3


OLD, NEW = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"


@pytest.fixture
def cache(models, tmp_path, monkeypatch):
    """A cache of the Hub with two commits of a model, which differ in a bias."""
    repository = tmp_path / "hub/models--someone--dpt"
    for number, commit in enumerate((OLD, NEW)):
        snapshot = Path(shutil.copytree(models["dpt"], repository / "snapshots" / commit))
        weights = load_file(snapshot / "model.safetensors")
        weights["head.head.4.bias"] += number
        save_file(weights, snapshot / "model.safetensors", metadata={"format": "pt"})
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(NEW)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return repository


@pytest.mark.parametrize(
    ("revision", "commit", "bias"), [(None, NEW, 4), ("main", NEW, 4), (OLD, OLD, 3)]
)
def test_a_model_of_the_cache_is_that_of_the_revision_and_told_by_its_commit(
    cache, revision, commit, bias
):
    found = load_depth("someone/dpt", revision=revision, kind="inverse", device=CPU)
    assert found.describe()["commit"] == commit
    assert found.model.network.head.head[4].bias.item() == bias
    assert find(str(cache / "snapshots" / OLD), None, "--depth").commit is None


@pytest.mark.usefixtures("cache")
def test_a_commit_that_is_not_in_the_cache_is_named():
    with pytest.raises(ConfigurationError, match=r"'someone/dpt' at beef: cannot be found"):
        find("someone/dpt", "beef", "--depth")
