from dataclasses import replace

import pytest
import torch

from experiments.configuration import ConfigurationError
from experiments.mae.downstream.encoders import fresh_encoder, pretrained_encoder
from experiments.mae.model.checkpoints import CONFIGURATION, WEIGHTS, save_model
from tests.experiments.mae import samples
from tests.experiments.mae.downstream import cases

SIZE = samples.SIZE
VOID = samples.CLASSES


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A pre-trained model and its folder."""
    model = samples.model(dtype=torch.float32)
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    save_model(model, folder)
    return model, folder


@pytest.mark.parametrize("names", [["rgb"], ["semseg"], ["depth", "rgb"], list(SIZE.names)])
@pytest.mark.parametrize("scale", [1, 2])
def test_it_computes_what_the_pre_trained_encoder_does_on_some_of_the_modalities(
    saved, names, scale
):
    model, folder = saved
    encoder = pretrained_encoder(folder, names)
    given = samples.images(dtype=torch.float32, scale=scale)
    given = {name: given[name] for name in names}
    assert torch.equal(encoder(given), model.encoder(given))
    assert encoder.size.names == tuple(name for name in SIZE.names if name in names)
    assert set(encoder.embeddings) == set(names)


def test_the_embeddings_of_places_are_interpolated_from_those_of_pre_training(saved):
    _, folder = saved
    encoder = pretrained_encoder(folder, ["rgb"], image_size=(56, 40))
    own = fresh_encoder(replace(SIZE, image_size=(56, 40)), ["rgb"])
    places = encoder.embeddings["rgb"].positions((7, 5))
    assert encoder.embeddings["rgb"].positions.grid == SIZE.grid
    assert not torch.allclose(places, own.embeddings["rgb"].positions((7, 5)))
    torch.testing.assert_close(places.mean(0), encoder.embeddings["rgb"].positions().mean(0),
                               atol=0.1, rtol=0)  # fmt: skip


def test_labels_may_be_void_afterwards_and_are_then_embedded_as_zero(saved):
    model, folder = saved
    assert not SIZE.modality("semseg").void
    embedding = pretrained_encoder(folder, ["semseg"]).embeddings["semseg"]
    table = model.encoder.embeddings["semseg"].classes.weight
    assert torch.equal(embedding.classes.weight[:VOID], table)
    assert embedding.classes.weight[VOID].tolist() == [0] * 6
    tokens = embedding(torch.full((1, 6, 4), VOID))
    torch.testing.assert_close(tokens[0], embedding.patches.bias + embedding.positions())
    (embedding(torch.randint(VOID + 1, (3, 6, 4))) ** 2).sum().backward()
    assert embedding.classes.weight.grad[VOID].tolist() == [0] * 6


def test_a_model_that_knew_void_keeps_its_table(tmp_path):
    model = samples.model(cases.void_size(), dtype=torch.float32)
    save_model(model, tmp_path / "model")
    encoder = pretrained_encoder(tmp_path / "model", ["semseg"])
    table = model.encoder.embeddings["semseg"].classes.weight
    assert torch.equal(encoder.embeddings["semseg"].classes.weight, table)


def test_the_fresh_encoder_has_the_same_shape_and_other_values(saved):
    _, folder = saved
    pretrained = pretrained_encoder(folder, SIZE.names, drop_path=0.2)
    torch.manual_seed(1)
    fresh = fresh_encoder(SIZE, SIZE.names, drop_path=0.2)
    assert fresh.size == pretrained.size
    shapes = {name: value.shape for name, value in pretrained.state_dict().items()}
    assert {name: value.shape for name, value in fresh.state_dict().items()} == shapes
    for name, value in fresh.state_dict().items():
        assert not torch.equal(value, pretrained.state_dict()[name]), name
    assert fresh.embeddings["semseg"].classes.weight[VOID].tolist() == [0] * 6
    torch.manual_seed(1)
    again = fresh_encoder(SIZE, SIZE.names)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in fresh.state_dict().items())


def test_stochastic_depth_is_that_of_fine_tuning(saved):
    _, folder = saved
    for encoder in (
        pretrained_encoder(folder, ["rgb"], drop_path=0.3),
        fresh_encoder(SIZE, ["rgb"], drop_path=0.3),
    ):
        assert encoder.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)
        given = {"rgb": samples.images(dtype=torch.float32)["rgb"]}
        assert not torch.equal(encoder(given), encoder(given))
        encoder.eval()
        assert torch.equal(encoder(given), encoder(given))


@pytest.mark.parametrize(
    ("names", "found"),
    [([], "none"), (["rgb", "normal"], "rgb, normal"), (["rgb", "rgb"], "rgb, rgb")],
)
def test_modalities_that_the_model_has_not_are_refused(saved, names, found):
    _, folder = saved
    message = rf"model\.yaml: `inputs` .*\(rgb, depth, semseg\), each once; found {found}$"
    with pytest.raises(ConfigurationError, match=message):
        pretrained_encoder(folder, names)
    with pytest.raises(ConfigurationError, match=rf"^`inputs` .*found {found}$"):
        fresh_encoder(SIZE, names)


def test_images_that_cannot_be_cut_into_the_model_s_patches_are_refused(saved):
    _, folder = saved
    message = r"`image_size` should be multiples of .* patch size 8; found \(64, 36\)"
    with pytest.raises(ConfigurationError, match=message):
        pretrained_encoder(folder, ["rgb"], image_size=(64, 36))
    with pytest.raises(ConfigurationError, match=message):
        fresh_encoder(SIZE, ["rgb"], image_size=(64, 36))


@pytest.mark.parametrize("name", [CONFIGURATION, WEIGHTS])
def test_damaged_files_are_named(tmp_path, name):
    save_model(samples.model(dtype=torch.float32), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"[" + content[: len(content) // 2])
    with pytest.raises(ConfigurationError, match=rf"{name}: "):
        pretrained_encoder(tmp_path, ["rgb"])
    (tmp_path / name).unlink()
    with pytest.raises(ConfigurationError, match=rf"{name}: "):
        pretrained_encoder(tmp_path, ["rgb"])


def test_parameters_of_another_patch_size_are_refused_by_name(tmp_path):
    save_model(samples.model(dtype=torch.float32), tmp_path)
    other = samples.model(replace(SIZE, patch_size=4, image_size=(12, 8)), dtype=torch.float32)
    save_model(other, tmp_path / "other")
    (tmp_path / CONFIGURATION).write_text((tmp_path / "other" / CONFIGURATION).read_text())
    with pytest.raises(ConfigurationError, match=r"safetensors: .*shape.*patch size"):
        pretrained_encoder(tmp_path, ["rgb"])


def test_no_pickle_is_read(tmp_path):
    model = samples.model(dtype=torch.float32)
    save_model(model, tmp_path)
    torch.save(model.state_dict(), tmp_path / WEIGHTS)
    with pytest.raises(ConfigurationError, match=WEIGHTS):
        pretrained_encoder(tmp_path, ["rgb"])
