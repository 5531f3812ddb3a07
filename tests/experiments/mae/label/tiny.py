"""Models of random weights in the format of published ones, small enough for tests."""

from types import MappingProxyType

import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    SwinConfig,
)

CLASSES = 7
NAMES = {number: f"class {number}" for number in range(CLASSES)}


def save(folder, network, processor, gains=MappingProxyType({}), bias=True):
    """Weights large enough that outputs follow the image."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            gain = next((gains[part] for part in gains if part in name), 1.2)
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(gain * noise / parameter[0].numel() ** 0.5)
            else:
                parameter.add_(0.1 * noise)
        if bias:  # else the last ReLU might leave nothing
            network.head.get_submodule(_LAST[type(network)]).bias.fill_(3.0)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


_LAST = {DPTForDepthEstimation: "head.4", DepthAnythingForDepthEstimation: "conv3"}


def dpt(folder, **options):
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        is_hybrid=False,
        **_NECK,
    )
    processor = DPTImageProcessor(**{"size": {"height": 64, "width": 64}, **options})
    return save(folder, DPTForDepthEstimation(config), processor)


def dpt_dinov2(folder, **options):
    torch.manual_seed(0)
    config = DPTConfig(backbone_config=_dinov2(), is_hybrid=False, **_NECK)
    return save(folder, DPTForDepthEstimation(config), DPTImageProcessor(**options))


_NECK = {
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 8,
    "head_in_index": -1,
}


def _dinov2():
    return Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )


def depth_anything(folder, kind="relative", max_depth=1):
    torch.manual_seed(0)
    config = DepthAnythingConfig(
        backbone_config=_dinov2(),
        reassemble_hidden_size=16,
        patch_size=14,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=max_depth,
        **_NECK,
    )
    processor = DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    return save(folder, DepthAnythingForDepthEstimation(config), processor)


def mask2former(folder, names=NAMES, **options):
    backbone = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=12,
        id2label=names,
    )
    torch.manual_seed(0)
    processor = Mask2FormerImageProcessor(
        **{"size": {"shortest_edge": 64, "longest_edge": 96}, "size_divisor": 32, **options}
    )
    network = Mask2FormerForUniversalSegmentation(config)
    return save(
        folder, network, processor, {"class_predictor": 8.0, "mask_embedder": 2.5}, bias=False
    )


def segformer(folder, names=NAMES):
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=names,
    )
    torch.manual_seed(0)
    processor = SegformerImageProcessor(size={"height": 64, "width": 64})
    return save(folder, SegformerForSemanticSegmentation(config), processor, bias=False)
