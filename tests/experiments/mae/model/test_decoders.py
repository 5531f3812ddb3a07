import pytest
import torch

from experiments.mae.configuration import ModelSize
from experiments.mae.model.decoders import CrossAttentionDecoder
from tests.experiments.mae import samples
from tests.experiments.mae.model import reference

SIZE = samples.SIZE


@pytest.fixture(scope="module")
def decoders():
    return samples.model().decoders


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    encoded = torch.randn(3, 1 + 5, 16, generator=generator, dtype=torch.float64)
    ids_keep = torch.rand(3, 18, generator=generator).argsort(1)[:, :5]  # in no order
    return encoded, ids_keep


def numel(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "head", "total"),
    [
        ("rgb", 197_376, 2_765_056),
        ("depth", 65_792, 2_633_472),
        ("semseg", 546_896, 3_114_576),
    ],
)
def test_the_paper_s_decoders_have_the_documented_numbers_of_parameters(name, head, total):
    size = ModelSize()
    with torch.device("meta"):
        made = CrossAttentionDecoder(size, size.modality(name))
    assert numel(made.project) == 196_864
    assert numel(made.attention) == 263_168
    assert numel(made.norm_queries, made.norm_context, made.norm) == 1_536
    assert numel(made.mlp) == 525_568
    assert numel(made.blocks) == 1_579_520
    assert made.modalities.numel() == 768
    assert made.mask_token.numel() == 256
    assert numel(made.head) == head
    assert numel(made) == total


def test_gradients_reach_tokens_and_parameters_as_in_the_reference(decoders):
    made = decoders["depth"]
    encoded, ids_keep = inputs()
    encoded = encoded[:1].requires_grad_()
    wanted = [encoded, *made.parameters()]
    weights = torch.linspace(-1, 1, 6 * 64, dtype=torch.float64).view(6, 64)
    expected = torch.autograd.grad(
        (weights * reference.decoder(made, encoded[0], ids_keep[0], SIZE)).sum(), wanted
    )
    found = torch.autograd.grad((weights * made(encoded, ids_keep[:1])[0, :, :, 0]).sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("task", SIZE.tasks)
def test_it_is_cross_attention_from_the_places_of_the_target_to_what_is_visible(decoders, task):
    made = decoders[task]
    encoded, ids_keep = inputs()
    outputs = {"depth": 1, "semseg": samples.CLASSES}.get(task, 3)
    found = made(encoded, ids_keep)
    assert found.shape == (3, 6, 4 if task == "semseg" else 64, outputs)
    for sample in range(3):
        expected = reference.decoder(made, encoded[sample], ids_keep[sample], SIZE)
        torch.testing.assert_close(found[sample].flatten(1), expected, rtol=1e-10, atol=1e-12)


def test_the_order_of_the_visible_tokens_makes_no_difference(decoders):
    encoded, ids_keep = inputs()
    order = torch.tensor([4, 1, 0, 3, 2])
    permuted = torch.cat([encoded[:, :1], encoded[:, 1:][:, order]], dim=1)
    found = decoders["depth"](permuted, ids_keep[:, order])
    torch.testing.assert_close(found, decoders["depth"](encoded, ids_keep))


def test_queries_choose_but_are_not_added():
    made = samples.model().decoders["rgb"]
    encoded, ids_keep = inputs()
    with torch.no_grad():
        made.attention.out_proj.weight.zero_()
    found = made(encoded, ids_keep)
    # All places and samples alike: nothing but the bias of the attention goes on.
    torch.testing.assert_close(found, found[:1, :1].expand_as(found))


def test_a_target_that_is_wholly_visible_or_hidden_is_reconstructed(decoders):
    encoded, _ = inputs()
    for ids in (range(5), range(6, 11)):
        ids_keep = torch.tensor([list(ids)] * 3)
        expected = reference.decoder(decoders["rgb"], encoded[0], ids_keep[0], SIZE)
        found = decoders["rgb"](encoded, ids_keep)[0].flatten(1)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
