import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import ModelSize
from experiments.mae.model.encoder import MultiModalEncoder
from experiments.mae.model.export import export_encoder, load_exported, timm_arguments, timm_state
from tests.experiments.mae import samples


@pytest.fixture(scope="module")
def encoder():
    return samples.model(dtype=torch.float32).encoder


def test_the_paper_s_encoder_loads_strictly_into_the_vit_b_of_timm_s_factory():
    with torch.device("meta"):
        ours = MultiModalEncoder(ModelSize())
        theirs = timm.create_model(
            "vit_base_patch16_224", num_classes=0, no_embed_class=True, final_norm=False
        )
    theirs.load_state_dict(timm_state(ours), strict=True, assign=True)
    assert theirs(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 768)
    # The positions, which are not learned here, are among theirs.
    assert sum(p.numel() for p in theirs.parameters()) == 85_054_464 + 768 + 590_592 + 150_528


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_an_exported_encoder_computes_the_same(tmp_path, encoder, modality):
    export_encoder(encoder, tmp_path / "vit.safetensors", modality)
    read = load_exported(tmp_path / "vit.safetensors")
    image = samples.images(dtype=torch.float32)[modality]
    expected = encoder({modality: image})
    torch.testing.assert_close(read.forward_features(image), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(read(image), expected[:, 0], rtol=1e-5, atol=1e-6)


def test_options_of_timm_are_passed_on(tmp_path, encoder):
    export_encoder(encoder, tmp_path / "vit.safetensors")
    read = load_exported(tmp_path / "vit.safetensors", drop_path_rate=0.3, dynamic_img_size=True)
    assert read.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)
    larger = samples.images(dtype=torch.float32, scale=2)["rgb"]
    assert read.forward_features(larger).shape == (4, 1 + 24, 16)


def test_an_export_is_a_copy(encoder):
    state = timm_state(encoder)
    state["cls_token"].zero_()
    assert encoder.global_token.abs().max() > 0


def test_labels_and_unknown_modalities_have_no_counterpart_in_timm(encoder):
    with pytest.raises(ValueError, match=r"`modality` should be an image modality.*'semseg'"):
        timm_state(encoder, "semseg")
    with pytest.raises(ValueError, match=r"rgb, depth, semseg.*'normal'"):
        timm_arguments(encoder.size, "normal")


def test_files_that_are_no_export_are_named(tmp_path, encoder):
    path = tmp_path / "vit.safetensors"
    with pytest.raises(ConfigurationError, match=r"vit\.safetensors"):
        load_exported(path)
    path.write_bytes(b"no tensors at all")
    with pytest.raises(ConfigurationError, match=r"vit\.safetensors"):
        load_exported(path)
    save_file(timm_state(encoder), path)
    with pytest.raises(ConfigurationError, match=r"has no timm_arguments in its metadata"):
        load_exported(path)
    assert "pos_embed" in load_file(path)
