"""The parts of a transformer by hand, from plain tensors: a sample, a head, a query a time."""

import math

import torch


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def layer_norm(layer, x):
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6) * layer.weight + layer.bias


def attention(queries, keys, values, heads):
    """Of ``[n, width]`` and ``[m, width]`` each."""
    width = queries.shape[-1] // heads
    rows = []
    for query in queries:
        parts = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = torch.stack([query[part] @ key[part] / math.sqrt(width) for key in keys])
            parts.append(torch.softmax(scores, 0) @ values[:, part])
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def mlp(layer, x):
    hidden = linear(layer.fc1, x)
    return linear(layer.fc2, 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2))))


def block(layer, x, heads):
    """Pre-norm self-attention and MLP."""
    queries, keys, values = linear(layer.attn.qkv, layer_norm(layer.norm1, x)).chunk(3, -1)
    x = x + linear(layer.attn.proj, attention(queries, keys, values, heads))
    return x + mlp(layer.mlp, layer_norm(layer.norm2, x))


def cross_attention(layer, queries, context, heads):
    """`torch.nn.MultiheadAttention` with keys and values of the context."""
    weights, biases = layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3)
    given = (queries, context, context)
    projected = [
        x @ weight.T + bias for x, weight, bias in zip(given, weights, biases, strict=True)
    ]
    return linear(layer.out_proj, attention(*projected, heads))


def decoder(made, encoded, ids_keep, size):
    """One sample of `CrossAttentionDecoder`: ``[1 + K, encoder width]`` and K ids."""
    projected = linear(made.project, encoded)
    tokens = []
    for token in range(len(size.modalities) * size.patches):
        modality, patch = divmod(token, size.patches)
        kept = ids_keep.tolist()
        content = projected[1 + kept.index(token)] if token in kept else made.mask_token.flatten()
        tokens.append(content + made.modalities[modality, 0] + made.positions()[patch])
    context = torch.stack([projected[0], *(tokens[token] for token in ids_keep)])
    start = made.place * size.patches
    x = cross_attention(
        made.attention,
        layer_norm(made.norm_queries, torch.stack(tokens[start : start + size.patches])),
        layer_norm(made.norm_context, context),
        size.decoder_heads,
    )
    x = x + mlp(made.mlp, layer_norm(made.norm, x))
    for each in made.blocks:
        x = block(each, x, size.decoder_heads)
    return linear(made.head, x)
