from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from experiments.configuration import ConfigurationError
from experiments.mae.model.checkpoints import (
    CONFIGURATION,
    WEIGHTS,
    load_model,
    load_weights,
    save_model,
)
from tests.experiments.mae import samples

SIZE = samples.SIZE


def saved(folder, size=SIZE):
    model = samples.model(size, dtype=torch.float32)
    save_model(model, folder / "model")
    return model, folder / "model"


def test_a_model_that_is_read_computes_the_same_bit_for_bit(tmp_path):
    model, folder = saved(tmp_path)
    read = load_model(folder)
    assert read.size == SIZE
    batch = samples.batch(dtype=torch.float32)
    assert torch.equal(read(**batch).task_values, model(**batch).task_values)
    for name, value in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name


def test_a_file_holds_what_is_learned_and_nothing_else(tmp_path):
    model, folder = saved(tmp_path)
    assert load_file(folder / WEIGHTS).keys() == dict(model.named_parameters()).keys()
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIGURATION}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"patch_size": 4, "image_size": (12, 8)},
            r"safetensors: \S+rgb\S+proj\.weight .*\(16, 3, 4, 4\); found \(16, 3, 8, 8\) .*patch",
        ),
        ({"norm_rgb": False}, r"has decoders\.norm_rgb\.\S+, which the model has not"),
        ({"layers": 3}, r"has no encoder\.blocks\.2\.norm1\.weight"),
    ],
)
def test_parameters_of_another_model_are_refused_by_name(tmp_path, change, message):
    _, folder = saved(tmp_path)
    other = samples.model(replace(SIZE, **change))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ConfigurationError, match=message):
        load_weights(other, folder / WEIGHTS)
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


@pytest.mark.parametrize("name", [CONFIGURATION, WEIGHTS])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    _, folder = saved(tmp_path)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(b"[" + content[: len(content) // 2])
    with pytest.raises(ConfigurationError, match=rf"{name}: "):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=rf"{name}: "):
        load_model(folder)


def test_no_pickle_is_read(tmp_path):
    model, folder = saved(tmp_path)
    torch.save(model.state_dict(), folder / WEIGHTS)
    with pytest.raises(ConfigurationError, match=WEIGHTS):
        load_model(folder)
