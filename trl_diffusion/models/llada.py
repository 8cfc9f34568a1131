# SPDX-License-Identifier: Apache-2.0
"""LLaDA as a native transformers model: Llama, a bidirectional attention mask and a renaming of weights.

The architecture of [LLaDA](https://huggingface.co/papers/2502.09992) is Llama's without the causal mask, so nothing of
it is written again here. The configuration keeps the field names of the Hub's checkpoints (`d_model`, `n_heads`, …)
and answers to Llama's names through `attribute_map`; the weight renaming reads the Hub's tensor names and writes them
back in `save_pretrained`. Logits at position `i` predict the token at position `i`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    PreTrainedConfig,
)
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, apply_renamings
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from .bidirectional import BidirectionalMixin, MaskedDiffusionConfigMixin, MaskedDiffusionMixin, plain_rotary


# What the Hub's configuration can say and this implementation does not do. A checkpoint that asks for it is refused
# rather than loaded into a different architecture.
_FIXED_FIELDS: dict[str, tuple[Any, ...]] = {
    "block_type": ("llama",),
    "layer_norm_type": ("rms",),
    "rope": (True,),
    "alibi": (False,),
    "attention_layer_norm": (False,),
    "bias_for_layer_norm": (False, None),
    "input_emb_norm": (False,),
    "scale_logits": (False,),
    "layer_norm_with_affine": (True,),
    "residual_dropout": (0.0,),
    "embedding_dropout": (0.0,),
    "attention_dropout": (0.0, None),
    "include_bias": (False,),
    "block_group_size": (1,),
}


@strict
class LLaDAConfig(MaskedDiffusionConfigMixin, PreTrainedConfig):
    r"""
    Configuration of a [`LLaDAModelLM`], with the field names of the checkpoints on the Hub.

    Args:
        d_model (`int`, *optional*, defaults to `4096`):
            Width of the hidden states.
        n_heads (`int`, *optional*, defaults to `32`):
            Number of attention heads.
        n_kv_heads (`int`, *optional*):
            Number of key-value heads. Defaults to `n_heads`.
        n_layers (`int`, *optional*, defaults to `32`):
            Number of transformer blocks.
        mlp_hidden_size (`int`, *optional*):
            Width of the gated MLP. Defaults to `mlp_ratio * d_model`.
        mlp_ratio (`int`, *optional*, defaults to `4`):
            Width of the MLP relative to `d_model`, used when `mlp_hidden_size` is not set.
        vocab_size (`int`, *optional*, defaults to `126464`):
            Number of tokens.
        embedding_size (`int`, *optional*):
            Rows of the embedding and of the LM head, and so the number of logits. Defaults to `vocab_size`.
        max_sequence_length (`int`, *optional*, defaults to `4096`):
            Longest sequence the model was trained on.
        rope_theta (`float`, *optional*, defaults to `500000.0`):
            Base of the rotary embedding.
        include_qkv_bias (`bool`, *optional*, defaults to `False`):
            Whether the query, key and value projections have a bias.
        weight_tying (`bool`, *optional*, defaults to `False`):
            Whether the LM head shares the embedding's weights.

    The mask token and the threshold head are fields of [`~trl_diffusion.models.MaskedDiffusionConfigMixin`].

    Fields of the Hub's `config.json` that change the architecture into something other than this one (ALiBi, layer
    norm instead of RMS norm, …) raise a `ValueError`. The others are kept and written back.
    """

    model_type = "llada"
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "num_hidden_layers": "n_layers",
        "intermediate_size": "mlp_hidden_size",
        "max_position_embeddings": "max_sequence_length",
        "hidden_act": "activation_type",
        "initializer_range": "init_std",
        "tie_word_embeddings": "weight_tying",
        "mlp_bias": "include_bias",
    }
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }

    vocab_size: int = 126464
    embedding_size: int | None = None
    d_model: int = 4096
    n_heads: int = 32
    n_kv_heads: int | None = None
    n_layers: int = 32
    mlp_hidden_size: int | None = None
    mlp_ratio: int | float = 4
    max_sequence_length: int = 4096
    activation_type: str = "silu"
    init_std: float = 0.02
    rms_norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    attention_dropout: int | float | None = 0.0
    include_bias: bool = False
    include_qkv_bias: bool | None = False
    weight_tying: bool = False
    multi_query_attention: bool | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    use_cache: bool = False
    rope_parameters: dict | None = None

    def __post_init__(self, **kwargs):
        for name, allowed in _FIXED_FIELDS.items():
            value = kwargs.get(name, getattr(self, name, allowed[0]))
            if value not in allowed:
                raise ValueError(
                    f"This LLaDA checkpoint has `{name}={value!r}`, which the native model does not implement "
                    f"(supported: {', '.join(map(repr, allowed))})."
                )
        if self.activation_type != "silu":
            raise ValueError(f"`activation_type={self.activation_type!r}` is not supported, only 'silu' is.")
        self.attention_dropout = 0.0
        for name, own_name in self.attribute_map.items():  # before anything is derived from them
            if name in kwargs:
                setattr(self, own_name, kwargs.pop(name))
        if self.n_kv_heads is None:
            self.n_kv_heads = 1 if self.multi_query_attention else self.n_heads
        if self.mlp_hidden_size is None:
            self.mlp_hidden_size = int(self.mlp_ratio * self.d_model)
        self.rope_theta = plain_rotary(self, kwargs)
        super().__post_init__(**kwargs)

    @property
    def attention_bias(self) -> bool:
        return bool(self.include_qkv_bias)

    @property
    def num_embeddings(self) -> int:
        """Rows of the embedding and of the LM head."""
        return self.vocab_size if self.embedding_size is None else self.embedding_size

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    def validate_architecture(self):
        """Part of `@strict`-powered validation."""
        if self.d_model % self.n_heads != 0:
            raise ValueError(f"`d_model` ({self.d_model}) must be a multiple of `n_heads` ({self.n_heads}).")
        if self.n_heads % cast(int, self.n_kv_heads) != 0:
            raise ValueError(f"`n_heads` ({self.n_heads}) must be a multiple of `n_kv_heads` ({self.n_kv_heads}).")
        if self.embedding_size is not None and self.embedding_size < self.vocab_size:
            raise ValueError(
                f"`embedding_size` ({self.embedding_size}) must be at least `vocab_size` ({self.vocab_size})."
            )


class LLaDAModel(BidirectionalMixin, LlamaModel):
    """The bidirectional transformer of LLaDA, without the LM head."""

    config_class = LLaDAConfig

    def __init__(self, config: LLaDAConfig):
        if config.rope_parameters is None:  # `from_pretrained(..., rope_scaling=None)` has removed them
            plain_rotary(config, {})
        super().__init__(cast(LlamaConfig, config))
        # No `padding_idx`: in LLaDA's checkpoints the padding token is the end-of-text token, whose row must learn.
        self.embed_tokens = nn.Embedding(config.num_embeddings, config.d_model)
        for layer in cast(list[LlamaDecoderLayer], self.layers):
            if config.attention_bias:  # Llama has one flag for all four projections, LLaDA means the first three
                layer.self_attn.o_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.post_init()


class LLaDAModelLM(MaskedDiffusionMixin, LlamaForCausalLM):
    """
    LLaDA with its LM head, under the class name that the Hub's checkpoints carry in `architectures`.

    It predicts the token *at* each position, so it is no causal language model; it answers to `AutoModelForCausalLM`
    because the checkpoints do, and so that TRL loads it from a string id. Decoding it is
    [`~trl_diffusion.DiffusionSampler`]'s work.
    """

    config_class = LLaDAConfig

    def __init__(self, config: LLaDAConfig):
        # Llama's own `__init__` would build the causal backbone first: an 8B model's worth of throw-away parameters.
        super(LlamaForCausalLM, self).__init__(config)
        self.model = LLaDAModel(config)
        self.vocab_size = config.num_embeddings
        self.lm_head = nn.Linear(config.d_model, config.num_embeddings, bias=False)
        self.register_load_state_dict_pre_hook(_rename_state_dict)
        self.post_init()

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Embedding:
        """transformers' own, which knows of one size where LLaDA's configuration has two."""
        self.config.embedding_size = None
        embeddings = super().resize_token_embeddings(*args, **kwargs)
        self.config.embedding_size = self.vocab_size = embeddings.num_embeddings
        return embeddings


def _rename_state_dict(module: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any) -> None:
    """
    Let a plain `load_state_dict` understand checkpoints, too.

    `Trainer` resumes that way instead of through `from_pretrained`. Without this it would find no name that it knows,
    say so in a warning, and go on with the weights that training had started from.
    """
    renaming = cast(list[WeightRenaming], _weight_renaming())
    for name in [name for name in state_dict if name.startswith(f"{prefix}model.transformer.")]:
        state_dict[prefix + apply_renamings(name.removeprefix(prefix), renaming)] = state_dict.pop(name)


def register() -> None:
    """
    Register LLaDA with the auto classes, so that hub ids and local folders load without remote code.

    Local code wins over a checkpoint's remote code, with `trust_remote_code` unset and set. Calling it twice is safe.
    """
    register_checkpoint_conversion_mapping(LLaDAConfig.model_type, _weight_renaming(), overwrite=True)
    AutoConfig.register(LLaDAConfig.model_type, LLaDAConfig, exist_ok=True)
    AutoModel.register(LLaDAConfig, LLaDAModel, exist_ok=True)
    AutoModelForCausalLM.register(LLaDAConfig, LLaDAModelLM, exist_ok=True)


def _weight_renaming() -> list[WeightConverter | WeightRenaming]:
    """The Hub's tensor names on the left, Llama's on the right. Applied in order on loading, backwards on saving."""
    return [
        # `ff_out` names the LM head and, inside a block, the down projection: the head goes first.
        WeightRenaming("model.transformer.ff_out", "lm_head"),
        WeightRenaming("model.transformer.wte", "model.embed_tokens"),
        WeightRenaming("model.transformer.ln_f", "model.norm"),
        WeightRenaming("model.transformer.blocks", "model.layers"),
        WeightRenaming(".attn_norm", ".input_layernorm"),
        WeightRenaming(".ff_norm", ".post_attention_layernorm"),
        WeightRenaming(r"(?<!self_attn)\.q_proj", ".self_attn.q_proj"),
        WeightRenaming(r"(?<!self_attn)\.k_proj", ".self_attn.k_proj"),
        WeightRenaming(r"(?<!self_attn)\.v_proj", ".self_attn.v_proj"),
        WeightRenaming(".attn_out", ".self_attn.o_proj"),
        WeightRenaming(".ff_proj", ".mlp.gate_proj"),
        WeightRenaming(r"(?<!mlp)\.up_proj", ".mlp.up_proj"),
        WeightRenaming(".ff_out", ".mlp.down_proj"),
    ]
