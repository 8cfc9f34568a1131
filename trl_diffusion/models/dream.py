# SPDX-License-Identifier: Apache-2.0
"""Dream as a native transformers model: Qwen2 with a bidirectional attention mask.

[Dream](https://huggingface.co/papers/2508.15487) was made from an autoregressive Qwen2.5 and has kept its shift:
logits at position `i` predict the token at position `i + 1`. Its [`DiffusionFamily`] says so, and nothing else does.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

from .bidirectional import MaskedDiffusionConfigMixin, MaskedDiffusionMixin, plain_rotary


@strict
class DreamConfig(MaskedDiffusionConfigMixin, Qwen2Config):
    r"""
    Configuration of a [`DreamModel`]: [`~transformers.Qwen2Config`] with the field names of the Hub's checkpoints.

    Args:
        mask_token_id (`int`, *optional*, defaults to `151666`):
            Id of the mask token.
        rope_theta (`float`, *optional*, defaults to `1000000.0`):
            Base of the rotary embedding.
        rope_scaling (`dict`, *optional*):
            Must be `None`: no checkpoint has it.

    The other fields are those of [`~transformers.Qwen2Config`] and of
    [`~trl_diffusion.models.MaskedDiffusionConfigMixin`].
    """

    model_type = "Dream"

    vocab_size: int = 152064
    hidden_size: int = 3584
    intermediate_size: int = 18944
    num_hidden_layers: int = 28
    num_attention_heads: int = 28
    num_key_value_heads: int | None = 4
    max_position_embeddings: int = 131072
    rope_theta: float = 1000000.0
    rope_scaling: dict | None = None
    mask_token_id: int | None = 151666
    pad_token_id: int | None = 151643
    bos_token_id: int | None = 151643
    eos_token_id: int | list[int] | None = 151643
    use_cache: bool = False

    def __post_init__(self, **kwargs: Any):
        if kwargs.get("use_mrope"):
            raise ValueError("`use_mrope` is not implemented for Dream: no checkpoint has it.")
        self.rope_theta = plain_rotary(self, {"rope_scaling": self.rope_scaling})
        super().__post_init__(**kwargs)


class DreamModel(MaskedDiffusionMixin, Qwen2ForCausalLM):
    """Dream with its LM head, under the class name that the Hub's checkpoints carry in `architectures`."""

    config_class = DreamConfig


class DreamTokenizer(Qwen2Tokenizer):
    """Qwen2's tokenizer, under the class name that the Hub's checkpoints carry in `tokenizer_class`."""


class _TokenizerConfig(PreTrainedConfig):
    """
    A key to register the tokenizer under, which is then found by its name.

    Under Dream's own configuration, `trust_remote_code=True` would take the Hub's remote code instead.
    """


def register() -> None:
    """
    Register Dream with the auto classes, so that hub ids and local folders load without remote code.

    Calling it twice is safe.
    """
    AutoConfig.register(DreamConfig.model_type, DreamConfig, exist_ok=True)
    # As on the Hub, where `AutoModel` is the way to load it: the model with its LM head.
    AutoModel.register(DreamConfig, DreamModel, exist_ok=True)
    AutoModelForCausalLM.register(DreamConfig, DreamModel, exist_ok=True)
    AutoTokenizer.register(_TokenizerConfig, tokenizer_class=DreamTokenizer, exist_ok=True)
