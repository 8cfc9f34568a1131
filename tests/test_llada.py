# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from trl_diffusion.models import LLaDAConfig, LLaDAModel, LLaDAModelLM

from .conftest import DATA, make_model


REFERENCE = DATA / "llada_tiny"


@pytest.fixture(scope="module")
def reference():
    return load_file(REFERENCE / "reference.safetensors")


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def native(request):
    return AutoModelForCausalLM.from_pretrained(
        REFERENCE, dtype=torch.float32, attn_implementation=request.param
    ).eval()


@pytest.mark.parametrize("padding", ["full", "left_pad", "right_pad"])
def test_logits_equal_the_original_architecture(native, reference, padding):
    suffix = "" if padding == "full" else f"_{padding}"
    mask = reference.get(f"attention_mask{suffix}")
    with torch.no_grad():
        logits = native(input_ids=reference[f"input_ids{suffix}"], attention_mask=mask).logits
    torch.testing.assert_close(logits, reference[f"logits_{padding}"], atol=1e-4, rtol=0)


def test_padding_mask_matters(native, reference):
    """The fixture tells an honoured mask from an ignored one."""
    with torch.no_grad():
        logits = native(
            input_ids=reference["input_ids_left_pad"], attention_mask=reference["attention_mask_left_pad"]
        ).logits
    assert (logits - reference["logits_left_pad_mask_ignored"]).abs().max() > 0.1


def test_hidden_states_equal_the_original_architecture(native, reference):
    with torch.no_grad():
        hidden = native(input_ids=reference["input_ids"], output_hidden_states=True).hidden_states
    for layer, states in enumerate(hidden):
        torch.testing.assert_close(states, reference[f"hidden_states.{layer}"], atol=1e-4, rtol=0)


def test_boolean_attention_pattern(reference):
    native = AutoModelForCausalLM.from_pretrained(REFERENCE, dtype=torch.float32, attn_implementation="sdpa").eval()
    ids = reference["input_ids"]
    pattern = reference["attention_bias_block"].expand(ids.shape[0], 1, -1, -1)
    with torch.no_grad():
        logits = native(input_ids=ids, attention_mask=pattern).logits
    torch.testing.assert_close(logits, reference["logits_block_bias"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("trust_remote_code", [None, True])
def test_loads_without_remote_code(trust_remote_code):
    model, info = AutoModelForCausalLM.from_pretrained(
        REFERENCE, trust_remote_code=trust_remote_code, output_loading_info=True
    )
    assert type(model) is LLaDAModelLM
    assert not any(info.values())
    assert type(AutoModel.from_pretrained(REFERENCE)) is LLaDAModel
    assert type(AutoConfig.from_pretrained(REFERENCE)) is LLaDAConfig


def test_save_writes_the_hubs_names(tmp_path):
    AutoModelForCausalLM.from_pretrained(REFERENCE).save_pretrained(tmp_path)
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(REFERENCE / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    written = json.loads((tmp_path / "config.json").read_text())
    original = json.loads((REFERENCE / "config.json").read_text())
    changed = {name for name in original if written.get(name) != original[name]}
    assert changed <= {"transformers_version"}
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.arange(12)[None]
    assert torch.equal(again(ids).logits, AutoModelForCausalLM.from_pretrained(REFERENCE)(ids).logits)


def test_a_model_made_from_scratch_is_saved_under_the_hubs_names_too(tmp_path):
    make_model().save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert "model.transformer.ff_out.weight" in names
    assert all(name.startswith("model.transformer.") for name in names)


def test_load_state_dict_understands_checkpoints():
    """How transformers' Trainer resumes. Names it does not know it merely warns about."""
    model = AutoModelForCausalLM.from_pretrained(REFERENCE)
    state_dict = load_file(REFERENCE / "model.safetensors")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_state_dict(state_dict, strict=True)
    ids = torch.arange(12)[None]
    assert torch.equal(model(ids).logits, AutoModelForCausalLM.from_pretrained(REFERENCE)(ids).logits)
    model.load_state_dict(model.state_dict(), strict=True)


def test_base_model_saves_and_loads_the_hubs_names(tmp_path):
    base = AutoModel.from_pretrained(REFERENCE)
    base.save_pretrained(tmp_path)
    again, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert all(torch.equal(a, b) for a, b in zip(base.state_dict().values(), again.state_dict().values()))


def test_logits_to_keep_selects_positions(native, reference):
    ids = reference["input_ids"]
    keep = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    with torch.no_grad():
        kept, all_logits = native(input_ids=ids, logits_to_keep=keep).logits, native(input_ids=ids).logits
    assert torch.equal(kept, all_logits[keep])


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(torch.arange(2, 18)[None]).logits.square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*gradients):
        torch.testing.assert_close(plain, checkpointed)


def test_every_row_of_the_embedding_learns():
    """Padding and end of text share a token in LLaDA: a padding index would freeze it."""
    model = make_model()
    model(torch.tensor([[0, 3]])).logits.sum().backward()
    assert model.model.embed_tokens.weight.grad[0].abs().sum() > 0


def test_grouped_queries_biases_and_wide_embeddings_round_trip(tmp_path):
    model = make_model(n_heads=4, n_kv_heads=2, include_qkv_bias=True, embedding_size=30)
    attention = model.model.layers[0].self_attn
    assert attention.k_proj.weight.shape == (16, 32)
    assert attention.q_proj.bias is not None and attention.o_proj.bias is None
    assert model(torch.tensor([[2, 3]])).logits.shape == (1, 2, 30)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(torch.tensor([[2, 3]])).logits, model(torch.tensor([[2, 3]])).logits)


def test_tied_head_round_trips(tmp_path):
    model = make_model(weight_tying=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize(
    "field, value",
    [
        ("activation_type", "gelu"),
        ("alibi", True),
        ("attention_dropout", 0.1),
        ("attention_layer_norm", True),
        ("bias_for_layer_norm", True),
        ("block_group_size", 2),
        ("block_type", "sequential"),
        ("embedding_dropout", 0.1),
        ("embedding_size", 3),
        ("include_bias", True),
        ("input_emb_norm", True),
        ("layer_norm_type", "default"),
        ("layer_norm_with_affine", False),
        ("n_heads", 3),
        ("n_kv_heads", 3),
        ("residual_dropout", 0.1),
        ("rope", False),
        ("rope_scaling", {"type": "linear", "factor": 4.0}),
        ("scale_logits", True),
    ],
)
def test_other_architectures_are_refused(tmp_path, field, value):
    shutil.copytree(REFERENCE, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text()) | {field: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, StrictDataclassError), match=field):
        AutoConfig.from_pretrained(tmp_path)


def test_the_rotary_base_is_said_once_or_twice_alike():
    config = AutoConfig.from_pretrained(REFERENCE)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": config.rope_theta}
    config.rope_theta = 1234.0  # as `from_pretrained(..., rope_theta=1234.0)` does
    with pytest.raises(ValueError, match="`rope_theta` is 1234.0, and .* Set both"):
        AutoModelForCausalLM.from_config(config)
    config.rope_parameters["rope_theta"] = 1234.0
    expected = 1234.0 ** -(torch.arange(0, config.head_dim, 2) / config.head_dim)
    torch.testing.assert_close(AutoModelForCausalLM.from_config(config).model.rotary_emb.inv_freq, expected)
    given = LLaDAConfig(rope_parameters={"rope_type": "default", "rope_theta": 99.0})
    assert given.rope_theta == 99.0
    LLaDAModelLM.from_pretrained(REFERENCE, rope_scaling=None)


def test_configuration_answers_to_llamas_names():
    config = LLaDAConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, max_position_embeddings=99)
    assert (config.d_model, config.n_heads, config.n_layers, config.max_sequence_length) == (64, 4, 2, 99)
    assert (config.n_kv_heads, config.mlp_hidden_size, config.head_dim) == (4, 256, 16)
    assert (config.hidden_size, config.intermediate_size) == (64, 256)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_is_bidirectional_without_padding(implementation):
    model = make_model()
    model.set_attn_implementation(implementation)
    one, other = torch.tensor([[2, 3, 4, 5]]), torch.tensor([[2, 3, 4, 9]])
    assert not torch.allclose(model(one).logits[0, 0], model(other).logits[0, 0])


def test_left_to_right_generation_is_refused(model):
    with pytest.raises(NotImplementedError, match="DiffusionSampler"):
        model.generate(torch.tensor([[2]]))
