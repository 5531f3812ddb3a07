"""The encoder of one modality as a timm Vision Transformer."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from experiments.configuration import ConfigurationError
from experiments.mae.configuration import ImageModality, ModelSize
from experiments.mae.model.encoder import LAYER_NORM, MultiModalEncoder

__all__ = ["export_encoder", "load_exported", "timm_arguments", "timm_state"]


def timm_arguments(size: ModelSize, modality: str = "rgb") -> dict[str, Any]:
    """Arguments of timm's `VisionTransformer` for the encoder of one modality.

    With ``norm_layer`` of ε 1e-6 (timm's default) and these, `timm_state` loads strictly; at the
    default size so does ``timm.create_model("vit_base_patch16_224", num_classes=0,
    no_embed_class=True, final_norm=False)``.

    Args:
        size: of the model.
        modality: an image modality of it.

    Raises:
        ValueError: there is no such modality, or it is one of labels.
    """
    return {
        "img_size": list(size.image_size),
        "patch_size": size.patch_size,
        "in_chans": _image(size, modality).channels,
        "num_classes": 0,
        "embed_dim": size.width,
        "depth": size.layers,
        "num_heads": size.heads,
        "mlp_ratio": size.mlp_ratio,
        "class_token": True,
        "no_embed_class": True,  # the global token has no position
        "final_norm": False,
    }


def timm_state(encoder: MultiModalEncoder, modality: str = "rgb") -> dict[str, Tensor]:
    """State of a timm `VisionTransformer` that computes what the encoder does on one modality.

    The global token is timm's class token.

    Args:
        encoder: of a pre-trained or fine-tuned model.
        modality: an image modality of it.

    Raises:
        ValueError: as `timm_arguments`.
    """
    _image(encoder.size, modality)
    embedding: Any = encoder.embeddings[modality]
    state = {
        "cls_token": encoder.global_token,
        "pos_embed": embedding.positions()[None],
        "patch_embed.proj.weight": embedding.patches.proj.weight,
        "patch_embed.proj.bias": embedding.patches.proj.bias,
        **{f"blocks.{name}": value for name, value in encoder.blocks.state_dict().items()},
    }
    return {name: value.detach().clone().contiguous() for name, value in state.items()}


def export_encoder(encoder: MultiModalEncoder, path: Path, modality: str = "rgb") -> None:
    """Write `timm_state` as safetensors, with `timm_arguments` in the metadata.

    Args:
        encoder: of a pre-trained or fine-tuned model.
        path: the file.
        modality: an image modality of it.

    Raises:
        ValueError: as `timm_arguments`.
    """
    arguments = json.dumps(timm_arguments(encoder.size, modality))
    metadata = {"format": "pt", "modality": modality, "timm_arguments": arguments}
    save_file(timm_state(encoder, modality), path, metadata=metadata)


def load_exported(path: Path, **options: Any) -> VisionTransformer:
    """The timm model of an exported file.

    Args:
        path: written by `export_encoder`.
        options: further arguments of timm's `VisionTransformer`, such as `drop_path_rate`.

    Raises:
        ConfigurationError: the file cannot be read, or is not one of `export_encoder`.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if "timm_arguments" not in metadata:
        raise ConfigurationError(
            f"{path}: has no timm_arguments in its metadata; export the encoder of a model first"
        )
    arguments = {**json.loads(metadata["timm_arguments"]), **options}
    model = VisionTransformer(norm_layer=LAYER_NORM, **arguments)
    model.load_state_dict(state)
    return model


def _image(size: ModelSize, name: str) -> ImageModality:
    modality = size.modality(name)
    if isinstance(modality, ImageModality):
        return modality
    raise ValueError(f"`modality` should be an image modality, which timm embeds; found {name!r}")
