# SPDX-License-Identifier: Apache-2.0
"""
The last transformer layer, which need not compute what nobody reads.

Attention needs keys and values of every position, but what follows it in the last layer (the MLP, two thirds of the
layer's work in LLaDA) only concerns the positions whose logits or hidden states are wanted.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaDecoderLayer
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer


class LastLayerMixin(nn.Module):
    """For decoder layers with one norm before the attention and one before the MLP. Mixed in before transformers'."""

    input_layernorm: Any
    self_attn: Any
    post_attention_layernorm: Any
    mlp: Any

    def forward(self, hidden_states: torch.Tensor, *, kept: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """
        transformers' own, or, at the places in `kept`, `(positions,)`, alone: `(1, positions, width)`. They are places
        in all rows one after another, and no mask: their number is known, and a compiled graph does not break here.
        """
        if kept is None:
            return super().forward(hidden_states, **kwargs)
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = (hidden_states + attended).flatten(0, 1)[kept.to(hidden_states.device)]
        return (hidden_states + self.mlp(self.post_attention_layernorm(hidden_states)))[None]


class LastLlamaLayer(LastLayerMixin, LlamaDecoderLayer):  # type: ignore[misc, unused-ignore]
    """Llama's."""


class LastQwen2Layer(LastLayerMixin, Qwen2DecoderLayer):  # type: ignore[misc, unused-ignore]
    """Qwen2's."""


class LastQwen3Layer(LastLayerMixin, Qwen3DecoderLayer):  # type: ignore[misc, unused-ignore]
    """Qwen3's."""


_LAST_LAYERS: dict[type[nn.Module], type[LastLayerMixin]] = {
    LlamaDecoderLayer: LastLlamaLayer,
    Qwen2DecoderLayer: LastQwen2Layer,
    Qwen3DecoderLayer: LastQwen3Layer,
}


def specialise_last_layer(layers: nn.ModuleList) -> set[str]:
    """Let the last of these layers know that it is the last. Returns the name of its class, if it is a known one."""
    if not len(layers) or type(layers[-1]) not in _LAST_LAYERS:
        return set()
    last = layers[-1]
    last.__class__ = cast(type, _LAST_LAYERS[type(last)])
    return {type(last).__name__}
