# SPDX-License-Identifier: Apache-2.0
"""
The models written again, in float64, from the description of their architectures: nothing here is transformers'.

A pre-norm transformer: RMS norms, rotary positions, grouped-query attention with optional biases and optional norms of
queries and keys, a gated MLP. Angles are float32, as the models have them.
"""

import math
from dataclasses import dataclass

import torch


@dataclass
class Architecture:
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    theta: float


def logits(tensors: dict, arch: Architecture, ids: list[int], attends) -> torch.Tensor:
    """
    Logits of one sequence, `(length, vocabulary)`.

    Args:
        tensors: Weights by Llama's names.
        ids: Tokens.
        attends: Function of query and key position: whether the one sees the other.
    """
    weights = {name: value.double() for name, value in tensors.items()}
    length = len(ids)
    mask = torch.tensor([[attends(q, k) for k in range(length)] for q in range(length)])
    hidden = weights["model.embed_tokens.weight"][ids]
    layer = 0
    while (prefix := f"model.layers.{layer}.") + "self_attn.q_proj.weight" in weights:
        part = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        hidden = hidden + attention(part, arch, rms_norm(hidden, part["input_layernorm.weight"], arch.eps), mask)
        hidden = hidden + mlp(part, rms_norm(hidden, part["post_attention_layernorm.weight"], arch.eps))
        layer += 1
    assert layer > 0
    hidden = rms_norm(hidden, weights["model.norm.weight"], arch.eps)
    return hidden @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


def rms_norm(x, weight, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def linear(part, name, x):
    bias = part.get(f"{name}.bias")
    return x @ part[f"{name}.weight"].T + (0 if bias is None else bias)


def attention(part, arch, x, mask):
    outputs = []
    queries = linear(part, "self_attn.q_proj", x).unflatten(-1, (arch.heads, arch.head_dim))
    keys = linear(part, "self_attn.k_proj", x).unflatten(-1, (arch.kv_heads, arch.head_dim))
    values = linear(part, "self_attn.v_proj", x).unflatten(-1, (arch.kv_heads, arch.head_dim))
    if "self_attn.q_norm.weight" in part:
        queries = rms_norm(queries, part["self_attn.q_norm.weight"], arch.eps)
        keys = rms_norm(keys, part["self_attn.k_norm.weight"], arch.eps)
    for head in range(arch.heads):
        shared = head * arch.kv_heads // arch.heads
        query, key = rotate(queries[:, head], arch.theta), rotate(keys[:, shared], arch.theta)
        scores = query @ key.T / math.sqrt(arch.head_dim)
        outputs.append(scores.masked_fill(~mask, -math.inf).softmax(-1) @ values[:, shared])
    return linear(part, "self_attn.o_proj", torch.cat(outputs, dim=-1))


def rotate(x, theta):
    """Pairs of dimensions `i` and `i + d/2` turned by `position * theta^(-2i/d)`."""
    half = x.shape[-1] // 2
    frequencies = 1.0 / theta ** (torch.arange(0, 2 * half, 2, dtype=torch.int64).float() / (2 * half))
    angles = torch.arange(len(x)).float()[:, None] * frequencies
    cos, sin = angles.cos().double(), angles.sin().double()
    first, second = x[:, :half], x[:, half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def mlp(part, x):
    gate = linear(part, "mlp.gate_proj", x)
    return linear(part, "mlp.down_proj", gate * torch.sigmoid(gate) * linear(part, "mlp.up_proj", x))
