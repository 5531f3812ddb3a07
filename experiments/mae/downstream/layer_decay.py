"""Learning rates that fall from the head to the embeddings, as groups of an optimiser."""

from typing import Any

from timm.optim import param_groups_layer_decay

from experiments.mae.downstream.model import DownstreamModel

__all__ = ["parameter_groups"]

NOT_DECAYED = ("encoder.global_token",)
"""Without weight decay, as are all biases and other parameters of one dimension."""


def parameter_groups(
    model: DownstreamModel, *, learning_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Groups of all trainable parameters, each with its own ``lr`` and ``weight_decay``.

    With L blocks there are L + 2 layers: the embeddings with the global token at
    learning_rate · layer_decay^(L+1), block i (from 0) at ·layer_decay^(L-i), the head at
    learning_rate. The class tables of label modalities are decayed, as are other matrices. A
    scheduler that multiplies keeps the ratios; hand `learning_rate` to the optimiser as well, whose
    default is what transformers takes `min_lr` relative to.

    Args:
        model: with the head.
        learning_rate: of the head.
        weight_decay: of matrices and kernels.
        layer_decay: factor from a layer to the one before it; 1: none.

    Returns:
        Up to two groups a layer, in the order of the model's parameters.
    """
    groups = param_groups_layer_decay(
        model,
        weight_decay=weight_decay,
        no_weight_decay_list=NOT_DECAYED,
        layer_decay=layer_decay,
    )
    return [
        {
            "params": group["params"],
            "weight_decay": group["weight_decay"],
            "lr": learning_rate * group["lr_scale"],
        }
        for group in groups
    ]
