import pytest
import torch

from experiments.mae.configuration import ModelSize
from experiments.mae.model.encoder import MultiModalEncoder, blocks
from tests.experiments.mae import samples
from tests.experiments.mae.model import reference


@pytest.fixture(scope="module")
def encoder():
    return samples.model().encoder


@pytest.fixture(scope="module")
def batch():
    return samples.batch()


def test_the_paper_s_encoder_has_the_documented_numbers_of_parameters_and_no_final_norm():
    with torch.device("meta"):
        made = MultiModalEncoder(ModelSize())
        tokens = made({"rgb": torch.empty(2, 3, 224, 224)}, torch.zeros(2, 98, dtype=torch.long))
    count = [sum(p.numel() for p in each.parameters()) for each in made.blocks]
    assert count == [7_087_872] * 12
    assert sum(count) == 85_054_464
    assert made.global_token.numel() == 768
    assert [name for name, _ in made.named_children()] == ["embeddings", "blocks"]
    assert tokens.shape == (2, 99, 768)


def test_it_is_a_transformer_on_the_visible_tokens_after_the_global_one(encoder, batch):
    found = encoder(batch["modalities"], batch["ids_keep"])
    tokens = torch.cat(
        [
            encoder.embeddings[name](batch["modalities"][name])
            for name in ("rgb", "depth", "semseg")
        ],
        dim=1,
    )
    wanted = list(encoder.parameters())
    for sample, ids in enumerate(batch["ids_keep"]):
        x = torch.cat([encoder.global_token[0], tokens[sample, ids]])
        for block in encoder.blocks:
            x = reference.block(block, x, samples.SIZE.heads)
        torch.testing.assert_close(found[sample], x, rtol=1e-11, atol=1e-12)
        expected = torch.autograd.grad(x.square().sum(), wanted, retain_graph=True)
        gradients = torch.autograd.grad(found[sample].square().sum(), wanted, retain_graph=True)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_the_order_of_the_visible_tokens_is_that_of_the_output(encoder, batch):
    order = torch.tensor([3, 0, 4, 1, 2])
    found = encoder(batch["modalities"], batch["ids_keep"])
    permuted = encoder(batch["modalities"], batch["ids_keep"][:, order])
    torch.testing.assert_close(permuted[:, 0], found[:, 0])
    torch.testing.assert_close(permuted[:, 1:], found[:, 1:][:, order])


def test_without_a_mask_all_tokens_of_the_given_modalities_are_encoded(encoder, batch):
    assert encoder(batch["modalities"]).shape == (4, 1 + 18, 16)
    rgb = {"rgb": batch["modalities"]["rgb"]}
    ids = torch.arange(6).expand(4, -1)
    torch.testing.assert_close(encoder(rgb), encoder(batch["modalities"], ids))


def test_the_order_of_a_mapping_is_not_that_of_the_tokens(encoder, batch):
    backwards = dict(reversed(batch["modalities"].items()))
    assert list(backwards) != list(batch["modalities"])
    found = encoder(backwards, batch["ids_keep"])
    assert torch.equal(found, encoder(batch["modalities"], batch["ids_keep"]))


def test_hidden_patches_have_no_influence(encoder, batch):
    found = encoder(batch["modalities"], batch["ids_keep"])
    other = dict(samples.images(seed=9))
    for name, start in (("rgb", 0), ("depth", 6), ("semseg", 12)):
        side = 8 if name != "semseg" else 2
        for sample, ids in enumerate(batch["ids_keep"].tolist()):
            for place in range(6):
                if start + place in ids:
                    y, x = (side * each for each in divmod(place, 2))
                    patch = (sample, ..., slice(y, y + side), slice(x, x + side))
                    other[name][patch] = batch["modalities"][name][patch]
    torch.testing.assert_close(encoder(other, batch["ids_keep"]), found)


def test_stochastic_depth_rises_linearly_to_the_last_block():
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks(8, 2, 5, 4.0, 0.2)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rates == [
        getattr(block.drop_path2, "drop_prob", 0.0) for block in blocks(8, 2, 5, 4.0, 0.2)
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "some of rgb, depth, semseg; found none"),
        (["rgb", "normal"], "some of rgb, depth, semseg; found normal"),
    ],
)
def test_modalities_that_are_not_the_model_s_are_refused(encoder, names, message):
    with pytest.raises(ValueError, match=message):
        encoder({name: torch.zeros(1, 3, 24, 16) for name in names})
