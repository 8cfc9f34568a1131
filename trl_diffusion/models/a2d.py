# SPDX-License-Identifier: Apache-2.0
"""
Autoregressive models turned into masked diffusion LMs ("A2D"): Llama, Qwen2 and Qwen3 with a bidirectional mask.

Nothing but the attention mask differs from the causal models, so each is three classes without a method. Their
`model_type`s are those that converted checkpoints on the Hub carry (`a2d-qwen3`, …). [`convert_causal_lm`] makes such
a checkpoint out of a causal one, to be trained as a diffusion model.
"""

from __future__ import annotations

import copy
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
)

from .bidirectional import BidirectionalMixin, MaskedDiffusionConfigMixin, MaskedDiffusionMixin


@strict
class A2DLlamaConfig(MaskedDiffusionConfigMixin, LlamaConfig):
    """[`~transformers.LlamaConfig`] of a bidirectional Llama."""

    model_type = "a2d-llama"


@strict
class A2DQwen2Config(MaskedDiffusionConfigMixin, Qwen2Config):
    """[`~transformers.Qwen2Config`] of a bidirectional Qwen2."""

    model_type = "a2d-qwen2"


@strict
class A2DQwen3Config(MaskedDiffusionConfigMixin, Qwen3Config):
    """[`~transformers.Qwen3Config`] of a bidirectional Qwen3."""

    model_type = "a2d-qwen3"


class A2DLlamaModel(BidirectionalMixin, LlamaModel):
    """Llama without its LM head and without a causal mask."""

    config_class = A2DLlamaConfig


class A2DQwen2Model(BidirectionalMixin, Qwen2Model):
    """Qwen2 without its LM head and without a causal mask."""

    config_class = A2DQwen2Config


class A2DQwen3Model(BidirectionalMixin, Qwen3Model):
    """Qwen3 without its LM head and without a causal mask."""

    config_class = A2DQwen3Config


class A2DLlamaLMHeadModel(MaskedDiffusionMixin, LlamaForCausalLM):
    """Llama as a masked diffusion LM."""

    config_class = A2DLlamaConfig


class A2DQwen2LMHeadModel(MaskedDiffusionMixin, Qwen2ForCausalLM):
    """Qwen2 as a masked diffusion LM."""

    config_class = A2DQwen2Config


class A2DQwen3LMHeadModel(MaskedDiffusionMixin, Qwen3ForCausalLM):
    """Qwen3 as a masked diffusion LM."""

    config_class = A2DQwen3Config


_CLASSES = (
    (A2DLlamaConfig, A2DLlamaModel, A2DLlamaLMHeadModel),
    (A2DQwen2Config, A2DQwen2Model, A2DQwen2LMHeadModel),
    (A2DQwen3Config, A2DQwen3Model, A2DQwen3LMHeadModel),
)


# In what was causal: no cache, and no windows.
_EVERYTHING_IS_SEEN = {"use_cache": False, "use_sliding_window": False, "sliding_window": None, "layer_types": None}


def register() -> None:
    """Register the converted models with the auto classes. Calling it twice is safe."""
    for config, backbone, model in _CLASSES:
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, backbone, exist_ok=True)
        AutoModelForCausalLM.register(config, model, exist_ok=True)


def convert_causal_lm(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    mask_token: str = "<|mask|>",
    logit_shift: int = 0,
) -> PreTrainedModel:
    """
    The masked diffusion LM with a causal one's weights: the starting point for training it by denoising.

    Until it is trained, it predicts nothing useful. The weights are shared with `model`, not copied.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            A `LlamaForCausalLM`, `Qwen2ForCausalLM` or `Qwen3ForCausalLM`.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer. It is given the mask token, if it has none.
        mask_token (`str`, *optional*, defaults to `"<|mask|>"`):
            Text of the mask token to add.
        logit_shift (`int`, *optional*, defaults to `0`):
            Whether the logits at position `i` shall predict the token at `i`, or, as in the causal model, the next one
            (`1`).

    Returns:
        [`~transformers.PreTrainedModel`]

    Raises:
        `ValueError`: If the model is of another architecture.

    Example:

    ```python
    >>> model = convert_causal_lm(AutoModelForCausalLM.from_pretrained("Qwen/Qwen3-0.6B"), tokenizer)
    >>> model.save_pretrained("qwen3-diffusion")
    >>> tokenizer.save_pretrained("qwen3-diffusion")
    ```
    """
    causal_types = {config.model_type.removeprefix("a2d-"): (config, cls) for config, _, cls in _CLASSES}
    known = isinstance(model, PreTrainedModel) and model.config.model_type in causal_types
    if not known or not hasattr(model, "lm_head"):
        raise ValueError(
            f"`model` is a {type(model).__name__}; LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM can be "
            "converted. Merge an adapter first."
        )
    if logit_shift not in (0, 1):
        raise ValueError(f"`logit_shift` must be 0 or 1, got {logit_shift}.")
    config_class, model_class = causal_types[model.config.model_type]
    if processing_class.mask_token_id is None:
        processing_class.add_special_tokens({"mask_token": mask_token})
    if processing_class.mask_token_id >= model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(processing_class))
    described: dict[str, Any] = {
        name: value for name, value in model.config.to_dict().items() if name not in ("model_type", "architectures")
    }
    config = config_class(
        **described
        | {"mask_token_id": processing_class.mask_token_id, "logit_shift": logit_shift}
        | _EVERYTHING_IS_SEEN
    )
    converted: Any = model_class.from_pretrained(
        None,
        config=config,
        state_dict=model.state_dict(),
        dtype=model.dtype,
        attn_implementation=model.config._attn_implementation,
    )
    converted.name_or_path = converted.config._name_or_path = ""  # it is nowhere to be loaded from yet
    converted.generation_config = copy.deepcopy(model.generation_config)
    return converted.to(model.device)
