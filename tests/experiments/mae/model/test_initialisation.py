import math

import pytest
import torch
from torch import nn

from experiments.mae.configuration import SEMSEG, TINY, ModelSize
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.initialisation import initialise

SIZE = ModelSize(
    norm_rgb=True,
    image_size=(32, 32),
    width=128,
    layers=2,
    heads=4,
    decoder_width=64,
    decoder_layers=1,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MultiModalMaskMae(SIZE)


def linear_maps(model):
    """(name, weight ``[out, in]``) of every linear map, queries, keys and values one by one."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or "token" in name or "modalities" in name or "classes" in name:
            continue
        if "qkv.weight" in name or "in_proj_weight" in name:
            yield from ((f"{name}.{i}", part) for i, part in enumerate(parameter.chunk(3)))
        else:
            yield name, parameter.flatten(1)


def test_every_linear_map_is_xavier_uniform_with_queries_keys_and_values_apart(model):
    maps = list(linear_maps(model))
    assert len(maps) == 3 + 2 * (3 + 3) + 4 * (1 + 4 + 2 + 3 + 3 + 1)
    for name, weight in maps:
        bound = math.sqrt(6 / sum(weight.shape))
        largest = weight.abs().max().item()
        assert 0.99 * bound < largest <= bound * (1 + 1e-6), name
        spread = weight.std().item() / (bound / math.sqrt(3))
        assert abs(spread - 1) < 4 / math.sqrt(weight.numel()), name


def test_biases_are_0_and_layer_norms_the_identity(model):
    norms = [each for each in model.modules() if isinstance(each, nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 4 * (3 + 2)
    assert all((norm.weight == 1).all() and norm.eps == 1e-6 for norm in norms)
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 3 + 2 * 4 + 4 * (1 + 2 + 2 + 4 + 1) + len(norms)
    assert all((bias == 0).all() for bias in biases)


def test_tokens_and_classes_are_normal_with_deviation_0_02_and_mask_tokens_0(model):
    drawn = {
        "global": model.encoder.global_token,
        "classes": model.encoder.embeddings["semseg"].classes.weight,
        "modalities": torch.cat([each.modalities for each in model.decoders.values()]),
    }
    for name, values in drawn.items():
        error = 4 / math.sqrt(2 * values.numel())
        assert values.std().item() == pytest.approx(0.02, rel=error), name
        assert values.abs().max() < 0.1
    assert all((decoder.mask_token == 0).all() for decoder in model.decoders.values())


def test_parameters_follow_torch_s_seed_and_nothing_is_left_of_what_was_there(model):
    torch.manual_seed(0)
    again = MultiModalMaskMae(SIZE)
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.fill_(torch.nan)
    initialise(again)
    assert all(parameter.isfinite().all() for parameter in again.parameters())
    assert not torch.equal(again.encoder.global_token, model.encoder.global_token)


def test_the_class_of_void_stays_0():
    size = ModelSize(
        modalities=(SEMSEG.__class__(name="semseg", classes=40, void=True),),
        image_size=TINY.image_size,
        width=8,
        heads=1,
        layers=1,
    )
    table = MultiModalMaskMae(size).encoder.embeddings["semseg"].classes.weight
    assert (table[40] == 0).all()
    assert (table[:40].abs().sum(1) > 0).all()
