# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints of every family, written as they lie on the Hub: its field names, its tensor names."""

import json

import torch
from safetensors.torch import save_file

from .reference import Architecture


VOCABULARY, MASK, LAYERS = 23, 1, 2  # the vocabulary of the tests' tokenizer
WIDTH, MLP = 64, 128  # 4-bit weights come in blocks of 64

# What a family's config.json says, with the variants that it can express.
_LLADA = {
    "model_type": "llada", "architectures": ["LLaDAModelLM"], "activation_type": "silu", "alibi": False,
    "attention_dropout": 0.0, "attention_layer_norm": False, "block_type": "llama", "d_model": WIDTH,
    "embedding_size": VOCABULARY, "include_bias": False, "include_qkv_bias": False, "layer_norm_type": "rms",
    "max_sequence_length": 64, "mlp_hidden_size": MLP, "mlp_ratio": 4, "n_heads": 4, "n_kv_heads": 4,
    "n_layers": LAYERS, "rms_norm_eps": 1e-05, "rope": True, "rope_theta": 500000.0, "scale_logits": False,
    "use_cache": False, "vocab_size": VOCABULARY, "weight_tying": False, "mask_token_id": MASK, "pad_token_id": 0,
    "eos_token_id": 0,
    "auto_map": {
        "AutoConfig": "configuration_llada.LLaDAConfig", "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
    },
}  # fmt: skip
_QWEN = {
    "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": WIDTH, "initializer_range": 0.02,
    "intermediate_size": MLP, "max_position_embeddings": 64, "max_window_layers": LAYERS, "num_attention_heads": 4,
    "num_hidden_layers": LAYERS, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "use_cache": True,
    "use_sliding_window": False, "vocab_size": VOCABULARY, "mask_token_id": MASK, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
_DREAM = _QWEN | {
    "model_type": "Dream", "architectures": ["DreamModel"], "use_mrope": False,
    "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
}  # fmt: skip
_LLAMA = {name: value for name, value in _QWEN.items() if "window" not in name}

CONFIGS = {
    "llada": _LLADA,
    "llada-grouped": _LLADA | {"n_kv_heads": 2, "rope_theta": 10000.0},
    "llada-multi-query": _LLADA | {"n_kv_heads": None, "multi_query_attention": True},
    "llada-bias": _LLADA | {"include_qkv_bias": True, "rms_norm_eps": 1e-3},
    "llada-tied": _LLADA | {"weight_tying": True},
    "llada-wide": _LLADA | {"embedding_size": VOCABULARY + 5},
    "dream": _DREAM,
    "dream-tied": _DREAM | {"tie_word_embeddings": True, "num_key_value_heads": 4},
    "a2d-llama": _LLAMA | {"model_type": "a2d-llama", "architectures": ["A2DLlamaLMHeadModel"]},
    "a2d-qwen2": _QWEN | {"model_type": "a2d-qwen2", "architectures": ["A2DQwen2LMHeadModel"]},
    "a2d-qwen3": _QWEN
    | {
        "model_type": "a2d-qwen3",
        "architectures": ["A2DQwen3LMHeadModel"],
        "head_dim": 16,
        "tie_word_embeddings": True,
    },
}
CONFIGS["sdar"] = CONFIGS["a2d-qwen3"] | {
    "model_type": "sdar",
    "architectures": ["SDARForCausalLM"],
    "block_size": 4,
    "tie_word_embeddings": False,
    "auto_map": {
        "AutoConfig": "configuration_sdar.SDARConfig",
        "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM",
    },
}
FAMILIES = ["llada", "dream", "a2d-llama", "a2d-qwen2", "a2d-qwen3", "sdar"]

# Llama's names on the left, LLaDA's on the right.
_LLADA_NAMES = {
    "model.embed_tokens": "model.transformer.wte",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "model.layers": "model.transformer.blocks",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "mlp.gate_proj": "ff_proj",
    "mlp.down_proj": "ff_out",
    "mlp.": "",
}


def hub_name(family: str, name: str) -> str:
    if family.startswith("llada"):
        for ours, theirs in _LLADA_NAMES.items():
            name = name.replace(ours, theirs)
    return name


def architecture(config: dict) -> Architecture:
    if config["model_type"] == "llada":
        kv_heads = 1 if config.get("multi_query_attention") else config["n_kv_heads"]
        heads = config["n_heads"]
    else:
        heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim", WIDTH // heads)
    return Architecture(heads, kv_heads, head_dim, config["rms_norm_eps"], config["rope_theta"])


def attends(config: dict):
    """Whether a query position sees a key position."""
    block = config.get("block_size")
    return lambda query, key: block is None or query // block >= key // block


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint, by Llama's names."""
    arch, kind = architecture(config), config["model_type"]
    rows = config.get("embedding_size", VOCABULARY)
    wide, narrow = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    result = {"model.embed_tokens.weight": (rows, WIDTH), "model.norm.weight": (WIDTH,)}
    if not config.get("weight_tying", config.get("tie_word_embeddings")):
        result["lm_head.weight"] = (rows, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        result |= {f"{prefix}{norm}.weight": (WIDTH,) for norm in ("input_layernorm", "post_attention_layernorm")}
        for name, size in (("q", wide), ("k", narrow), ("v", narrow)):
            result[f"{prefix}self_attn.{name}_proj.weight"] = (size, WIDTH)
            if kind in ("Dream", "a2d-qwen2") or config.get("include_qkv_bias"):
                result[f"{prefix}self_attn.{name}_proj.bias"] = (size,)
        if kind in ("a2d-qwen3", "sdar"):
            result |= {f"{prefix}self_attn.{name}_norm.weight": (arch.head_dim,) for name in "qk"}
        result[f"{prefix}self_attn.o_proj.weight"] = (WIDTH, wide)
        result |= {f"{prefix}mlp.{name}_proj.weight": (MLP, WIDTH) for name in ("gate", "up")}
        result[f"{prefix}mlp.down_proj.weight"] = (WIDTH, MLP)
    return result


def write_checkpoint(family: str, path, seed: int = 0) -> dict[str, torch.Tensor]:
    """A checkpoint with random weights in a folder. Returns its tensors by Llama's names."""
    generator = torch.Generator().manual_seed(seed)
    config = CONFIGS[family]
    tensors = {}
    for name, shape in shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        tensors[name] = 1 + 0.2 * noise if "norm" in name else 0.4 * noise
    path.mkdir(exist_ok=True, parents=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(
        {hub_name(family, name): tensor for name, tensor in tensors.items()},
        path / "model.safetensors",
        metadata={"format": "pt"},
    )
    return tensors
