# SPDX-License-Identifier: Apache-2.0
"""SDAR as a native transformers model: Qwen3 with a block-causal attention mask.

SDAR is autoregressive over blocks and a masked diffusion LM inside them: a position sees its own block and all before
it. Logits at position `i` predict the token at position `i`.
"""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from .bidirectional import MaskedDiffusionConfigMixin, MaskedDiffusionMixin


@strict
class SDARConfig(MaskedDiffusionConfigMixin, Qwen3Config):
    r"""
    Configuration of a [`SDARForCausalLM`]: [`~transformers.Qwen3Config`], and what makes it a diffusion model.

    Args:
        block_size (`int`, *optional*, defaults to `4`):
            Length of the attention's blocks, counted from the first token.

    The other fields are those of [`~transformers.Qwen3Config`] and of
    [`~trl_diffusion.models.MaskedDiffusionConfigMixin`].
    """

    model_type = "sdar"

    block_size: int = 4
    is_causal: bool = True

    def validate_architecture(self):
        """Part of `@strict`-powered validation."""
        if self.block_size < 1:
            raise ValueError(f"`block_size` must be at least 1, got {self.block_size}.")


class SDARForCausalLM(MaskedDiffusionMixin, Qwen3ForCausalLM):
    """SDAR with its LM head."""

    config_class = SDARConfig


def register() -> None:
    """Register SDAR with the auto classes. Calling it twice is safe."""
    AutoConfig.register(SDARConfig.model_type, SDARConfig, exist_ok=True)
    AutoModelForCausalLM.register(SDARConfig, SDARForCausalLM, exist_ok=True)
