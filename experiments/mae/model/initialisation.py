"""The start of training: Xavier-uniform for every linear map of the model."""

import math

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from experiments.mae.model.decoders import CrossAttentionDecoder
from experiments.mae.model.embeddings import LabelEmbedding
from experiments.mae.model.encoder import MultiModalEncoder

__all__ = ["initialise"]


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Draw the parameters of a model anew, from torch's generator.

    Xavier-uniform for every linear map, where the projections to queries, keys and values are one
    each, and a convolution is a linear map of its patch; biases 0. LayerNorms 1 and 0. Class
    tables, global token and embeddings of modalities: N(0, 0.02²); mask tokens 0.

    Args:
        model: modules of this package, or any that hold them.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _xavier(module.weight)
            _zero(module.bias)
        elif isinstance(module, nn.Conv2d):
            _xavier(module.weight.flatten(1))
            _zero(module.bias)
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    # What is more than one linear map, or none, after the general rule.
    for module in model.modules():
        if isinstance(module, Attention):
            _xavier(module.qkv.weight, parts=3)
        elif isinstance(module, nn.MultiheadAttention):
            _xavier(module.in_proj_weight, parts=3)
            _zero(module.in_proj_bias)
        elif isinstance(module, LabelEmbedding):
            module.init_classes()
        elif isinstance(module, MultiModalEncoder | CrossAttentionDecoder):
            module.init_tokens()


def _xavier(weight: Tensor, parts: int = 1) -> None:
    """Xavier-uniform for a weight ``[out, in]``, or for each of equal parts of its rows."""
    fan_out, fan_in = weight.shape[0] // parts, weight.shape[1]
    bound = math.sqrt(6 / (fan_in + fan_out))
    nn.init.uniform_(weight, -bound, bound)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
