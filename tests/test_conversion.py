# SPDX-License-Identifier: Apache-2.0
"""Causal models turned into masked diffusion LMs, and a family of one's own."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from trl_diffusion.models import convert_causal_lm, resolve_spec

from .conftest import in_float64, make_model
from .families import LAYERS, MLP, WIDTH
from .reference import Architecture
from .reference import logits as reference_logits
from .trainers import losses, make_trainer


CAUSAL = {
    "a2d-llama": (LlamaConfig, LlamaForCausalLM, {}),
    "a2d-qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "a2d-qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "tie_word_embeddings": True}),
}


def causal_model(kind, vocabulary):
    config_class, model_class, options = CAUSAL[kind]
    torch.manual_seed(0)
    config = config_class(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=MLP, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, rope_parameters={"rope_type": "default", "rope_theta": 5e4},
        **options,
    )  # fmt: skip
    return model_class(config).eval()


@pytest.fixture
def tokenizer_without_mask(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.mask_token = None
    return tokenizer


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("logit_shift", [0, 1])
@torch.no_grad()
def test_a_converted_model_has_the_weights_and_sees_everything(tmp_path, tokenizer, kind, logit_shift):
    causal = causal_model(kind, len(tokenizer))
    ids = [5, 6, 7, 8, 9]
    before = causal(torch.tensor([ids])).logits
    model = convert_causal_lm(causal, tokenizer, logit_shift=logit_shift)
    assert model.config.model_type == kind
    assert resolve_spec(model) == resolve_spec(model, tokenizer)
    assert (resolve_spec(model).mask_token_id, resolve_spec(model).logit_shift) == (
        tokenizer.mask_token_id,
        logit_shift,
    )
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(model) and resolve_spec(again) == resolve_spec(model)
    arch = Architecture(4, 2, 16, causal.config.rms_norm_eps, 5e4)
    weights = dict(causal.named_parameters())
    expected = reference_logits(weights, arch, ids, lambda q, k: True)
    torch.testing.assert_close(in_float64(model)(torch.tensor([ids])).logits[0], expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(in_float64(again)(torch.tensor([ids])).logits[0], expected, atol=1e-9, rtol=0)
    expected = reference_logits(weights, arch, ids, lambda q, k: k <= q)  # the causal model is as it was
    torch.testing.assert_close(before[0].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_mask_token_is_added_where_there_is_none(tokenizer_without_mask, kind):
    tokenizer = tokenizer_without_mask
    words = len(tokenizer)
    model = convert_causal_lm(causal_model(kind, words), tokenizer, mask_token="<new_mask>")
    assert tokenizer.mask_token_id == words == model.config.mask_token_id
    assert model.get_input_embeddings().num_embeddings == words + 1
    assert model(torch.tensor([[5, words]])).logits.shape == (1, 2, words + 1)


def test_a_converted_model_is_trained_like_any_other(tmp_path, tokenizer):
    model = convert_causal_lm(causal_model("a2d-qwen3", len(tokenizer)), tokenizer, logit_shift=1)
    trainer = make_trainer("diffpo", tmp_path, tokenizer, None, model=model, temperature=3.0)
    trainer.train()
    assert trainer.spec.logit_shift == 1 and any(losses(trainer))


def test_what_a_converted_model_keeps_and_what_it_loses(tokenizer):
    causal = causal_model("a2d-qwen2", len(tokenizer))
    causal.config.use_sliding_window, causal.config.sliding_window = True, 2
    causal.config.layer_types = ["sliding_attention"] * LAYERS
    causal.generation_config.eos_token_id = [0, 5]
    causal.set_attn_implementation("eager")
    model = convert_causal_lm(causal, tokenizer)
    assert model.config.layer_types == ["full_attention"] * LAYERS and model.config.sliding_window is None
    assert model.generation_config.eos_token_id == [0, 5] and model.config._attn_implementation == "eager"
    assert model.name_or_path == "" and not model.config.use_cache
    with pytest.raises(ValueError, match="Sliding windows are not supported"):
        type(model)(type(model.config)(**causal.config.to_dict() | {"model_type": "a2d-qwen2"}))


def test_what_cannot_be_converted(tokenizer):
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=23, n_embd=8, n_layer=1, n_head=1))
    adapted = get_peft_model(causal_model("a2d-llama", 23), LoraConfig(r=2, target_modules=["q_proj"]))
    for model, name in (
        (gpt2, "GPT2LMHeadModel"),
        (adapted, "PeftModel"),
        (causal_model("a2d-llama", 23).model, "Ll"),
        (convert_causal_lm(causal_model("a2d-llama", 23), tokenizer), "A2DLlamaLMHeadModel"),
        (make_model(23), "LLaDAModelLM"),
    ):
        with pytest.raises(ValueError, match=f"`model` is a {name}.*can be converted"):
            convert_causal_lm(model, tokenizer)
    with pytest.raises(ValueError, match="`logit_shift` must be 0 or 1"):
        convert_causal_lm(causal_model("a2d-llama", 23), tokenizer, logit_shift=2)
