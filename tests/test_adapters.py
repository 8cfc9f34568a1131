# SPDX-License-Identifier: Apache-2.0
"""Every method on every family, in full, with adapters, and on quantised weights."""

import dataclasses
import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.models import ThresholdHeadConfig, get_family, resolve_spec
from trl_diffusion.trainer.preflight import check_model_id

from .families import FAMILIES, write_checkpoint
from .trainers import METHODS, losses


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}


@pytest.fixture(scope="module")
def paths(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        write_checkpoint(family, folder / family)
        tokenizer.save_pretrained(folder / family)
    return {family: str(folder / family) for family in FAMILIES}


def train(build, method, path, **options):
    """One rollout, two updates on it. Returns the trainer and its parameters before."""
    options = {
        "num_iterations": 2,
        "max_steps": 2,
        "learning_rate": 1e-3,  # so that the second update is not clipped
        "max_completion_length": 4,
        "block_length": 4,
        "temperature": 3.0,  # so that completions differ
    } | options
    if method == "agrpo":
        options["num_step_draws"] = 2
    trainer = build(
        method, reward=lambda completions, **_: [*map(float, range(len(completions)))], **{"model": path} | options
    )
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    assert all(torch.isfinite(torch.tensor(losses(trainer)))) and len(losses(trainer)) == 2
    return trainer, before


def moved(trainer, before):
    """Names of parameters that changed. Quantised ones are packed anew in their first forward pass, and left out."""
    parameters = {name: p for name, p in trainer.model.named_parameters() if p.is_floating_point()}
    return {name for name, parameter in parameters.items() if not torch.equal(parameter, before[name])}


@pytest.mark.parametrize("how", ["full", "lora", "qlora"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_every_family(build, paths, method, family, how):
    # Both factors random: one that starts at zero keeps the other from moving in the first update.
    options = {"peft_config": LoraConfig(r=2, init_lora_weights=False)} if how != "full" else {}
    if how == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(**NF4)
    trainer, before = train(build, method, paths[family], **options)
    changed = moved(trainer, before)
    if how == "full":
        assert changed == before.keys()
    else:
        assert changed == {name for name in before if "lora_" in name}
        layers = [n.rsplit(".", 1)[-1] for n, m in trainer.model.named_modules() if isinstance(m, LoraLayer)]
        assert sorted(layers) == sorted(2 * get_family(trainer.model.config).lora_targets)
    quantised = [m for m in trainer.model.modules() if isinstance(m, Linear4bit)]
    assert len(quantised) == (14 if how == "qlora" else 0)


def test_gradients_flow_through_4_bit_layers_after_a_rollout(build, paths):
    """Against the weight taken out of its blocks."""
    quantization = BitsAndBytesConfig(**NF4)
    trainer, _ = train(
        build, "diffpo", paths["a2d-qwen2"], peft_config=LoraConfig(r=2), quantization_config=quantization
    )
    layer = next(m for n, m in trainer.model.named_modules() if n.endswith("q_proj.base_layer"))
    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    x = torch.randn(3, 64, requires_grad=True)
    output = layer(x)
    torch.testing.assert_close(output, x @ weight.T + layer.bias, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    torch.testing.assert_close(gradient, 2 * output.detach() @ weight, atol=1e-3, rtol=1e-3)


def test_weights_that_are_packed_already_are_refused(build, paths):
    model = AutoModelForCausalLM.from_pretrained(paths["llada"], quantization_config=BitsAndBytesConfig(**NF4))
    layer = next(m for m in model.modules() if isinstance(m, Linear4bit))
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(ValueError, match="packed for inference on this CPU"):
        build("diffpo", model=model, peft_config=LoraConfig(r=2))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["diffpo", "agrpo", "dmpo"])
def test_8_bit_weights_with_a_reference(build, paths, method, family):
    trainer, before = train(
        build,
        method,
        paths[family],
        beta=0.1,
        peft_config=LoraConfig(r=2),
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
    )
    assert moved(trainer, before) >= {name for name in before if "lora_B" in name}
    assert sum(isinstance(m, Linear8bitLt) for m in trainer.model.modules()) == 14
    if method != "dmpo":
        assert trainer.state.log_history[0]["kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("option", ["use_dora", "use_rslora"])
def test_variants_of_lora_pass_through(build, paths, option):
    trainer, before = train(build, "diffpo", paths["dream"], peft_config=LoraConfig(r=2, **{option: True}))
    assert getattr(trainer.model.peft_config["default"], option)
    assert moved(trainer, before) >= {name for name in before if "lora_B" in name}


@pytest.mark.parametrize("optim", ["adamw_bnb_8bit", "paged_adamw_8bit"])
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_8_bit_optimisers(build, paths, optim):
    trainer, before = train(build, "diffpo", paths["a2d-qwen3"], optim=optim)
    assert "bitsandbytes" in type(trainer.optimizer.optimizer).__module__
    assert moved(trainer, before) == before.keys()


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_threshold_head_is_neither_adapted_nor_quantised(build, paths, tmp_path, family, quantised):
    """It is trained in full, in float32, and saved with the adapter."""
    trainer, before = train(
        build,
        "diffpo",
        paths[family],
        regime="joint",
        peft_config=LoraConfig(r=2, init_lora_weights=False),
        quantization_config=BitsAndBytesConfig(**NF4) if quantised else None,
    )
    changed = moved(trainer, before)
    head = {name for name in before if "threshold_head" in name and "original_module" not in name}
    assert len(head) == 4 and changed == head | {name for name in before if "lora_" in name}
    assert all(dict(trainer.model.named_parameters())[name].dtype == torch.float32 for name in head)
    trainer.save_model(tmp_path / "adapter")

    described = trainer.model.config.threshold_head
    base = AutoModelForCausalLM.from_pretrained(
        paths[family],
        threshold_head=described,
        quantization_config=BitsAndBytesConfig(**NF4) if quantised else None,
    )
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    trained = {n: p for n, p in trainer.model.named_parameters() if "lora_" in n or "modules_to_save" in n}
    loaded = dict(again.named_parameters())
    assert all(torch.equal(loaded[name], parameter) for name, parameter in trained.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_adapters_are_saved_under_the_hubs_names(build, paths, tmp_path, family):
    """For those who do not have this package: a checkpoint like the one that training began with."""
    trainer, _ = train(build, "diffpo", paths[family], peft_config=LoraConfig(r=2, init_lora_weights=False))
    merged = trainer.model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    original = AutoModelForCausalLM.from_pretrained(paths[family])
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values()) and type(again) is type(original)
    ids = torch.arange(2, 9)[None]
    torch.testing.assert_close(again(ids).logits, merged.eval()(ids).logits)
    assert not torch.allclose(again(ids).logits, original(ids).logits, atol=1e-3)


def test_adapters_that_would_not_be_trained_are_refused(build, paths, tmp_path):
    trainer, _ = train(build, "diffpo", paths["llada"], peft_config=LoraConfig(r=2, init_lora_weights=False))
    trainer.save_model(tmp_path / "adapter")
    assert trainer.model.peft_config["default"].task_type == "CAUSAL_LM"
    with pytest.raises(ValueError, match="to be used and not to be trained"):
        build("diffpo", model=AutoModelForCausalLM.from_pretrained(tmp_path / "adapter"))
    for trainable in (False, True):
        base = AutoModelForCausalLM.from_pretrained(paths["llada"])
        model = PeftModel.from_pretrained(base, tmp_path / "adapter", is_trainable=trainable)
        if trainable:
            trainer, before = train(build, "diffpo", None, model=model)
            assert moved(trainer, before) == {name for name in before if "lora_" in name}
        else:
            with pytest.raises(ValueError, match="no parameter to train"):
                build("diffpo", model=model)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_modules": ["q_proj", "qproj"]}, "`peft_config.target_modules` .* have: qproj."),
        ({"target_modules": r".*\.attn\..*"}, "`peft_config.target_modules`"),
        ({"modules_to_save": ["lm_haed"]}, "`peft_config.modules_to_save` .* lm_haed"),
        ({"modules_to_save": ["threshold_head"]}, "`peft_config.modules_to_save` .* threshold_head"),
        ({"exclude_modules": ["gate"]}, "`peft_config.exclude_modules` .* gate"),
        ({"target_parameters": ["q_proj.wieght"]}, "`peft_config.target_parameters` .* q_proj.wieght"),
        ({"modules_to_save": "lm_head"}, "`peft_config.modules_to_save` must be a list"),
        ({"rank_pattern": {"qq_proj": 8}}, "`peft_config.rank_pattern` .* qq_proj"),
        ({"alpha_pattern": {"qq_proj": 8}}, "`peft_config.alpha_pattern` .* qq_proj"),
        ({"layers_to_transform": [0, 99]}, "`peft_config.layers_to_transform`: the model has no layer 99"),
        ({"target_modules": "("}, "is no regular expression"),
        ({"task_type": "SEQ_CLS"}, "`peft_config.task_type` must be 'CAUSAL_LM'"),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_names_that_match_nothing_are_refused(build, paths, options, words, loaded):
    model = AutoModelForCausalLM.from_pretrained(paths["llada"]) if loaded else paths["llada"]
    with pytest.raises(ValueError, match=words):
        build("diffpo", model=model, peft_config=LoraConfig(r=2, **options))


@pytest.mark.parametrize("options", [{"target_modules": ["q_proj", "embed_tokens"]}, {"trainable_token_indices": [1]}])
def test_the_embedding_may_be_wrapped(build, paths, options):
    trainer, before = train(build, "diffpo", paths["a2d-qwen2"], peft_config=LoraConfig(r=2, **options))
    assert any("embed_tokens" in name for name in moved(trainer, before))


def test_patterns_that_match_pass(build, paths):
    lora = LoraConfig(r=2, rank_pattern={r"layers\.0\.self_attn\.q_proj": 3}, layers_to_transform=[0])
    trainer = build("diffpo", model=paths["llada"], peft_config=lora)
    ranks = {p.shape[0] for n, p in trainer.model.named_parameters() if "lora_A" in n}
    assert ranks == {2, 3} and not any("layers.1" in n for n, p in trainer.model.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("lora", [False, True])
def test_the_mask_token_travels_with_the_model(build, paths, tmp_path, lora):
    """The one that it was trained with, whatever the configuration of its base model says."""
    peft_config = LoraConfig(r=2, init_lora_weights=False) if lora else None
    trainer, _ = train(build, "diffpo", paths["llada"], mask_token_id=9, peft_config=peft_config)
    trainer.save_model(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert DiffusionSampler(model).spec.mask_token_id == 9
    assert resolve_spec(model, mask_token_id=4).mask_token_id == 4


def test_a_backbone_is_refused(build, paths):
    with pytest.raises(ValueError, match="LLaDAModel, which has no LM head"):
        build("diffpo", model=AutoModel.from_pretrained(paths["llada"]))


def test_quantising_a_loaded_model_is_refused(build, paths):
    model = AutoModelForCausalLM.from_pretrained(paths["llada"])
    with pytest.raises(ValueError, match="`quantization_config` has no effect"):
        build("diffpo", model=model, quantization_config=BitsAndBytesConfig(**NF4), peft_config=LoraConfig(r=2))


def test_a_configuration_of_the_user_is_not_changed(build, paths):
    given = LoraConfig(r=2, exclude_modules=["o_proj"], modules_to_save=["lm_head"])
    trainer = build("diffpo", model=paths["llada"], peft_config=given, regime="joint")
    assert given.target_modules is None and given.modules_to_save == ["lm_head"] and given.task_type is None
    trained = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert not any("o_proj" in name for name in trained) and any("lm_head" in name for name in trained)
    assert any("threshold_head" in name for name in trained)


def test_settings_beside_an_adapter_that_peft_loads(build, paths, tmp_path):
    """PEFT reads the weights alone."""
    trainer, _ = train(build, "diffpo", paths["dream"], peft_config=LoraConfig(r=2, init_lora_weights=False))
    trainer.save_model(tmp_path / "adapter")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(paths["dream"]), tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"DiffusionGenerationConfig.from_pretrained\(adapter\)"):
        DiffusionSampler(model)
    config = DiffusionGenerationConfig.from_pretrained(str(tmp_path / "adapter"), max_batch_size=1)
    assert config == dataclasses.replace(trainer.decoder("eval"), max_batch_size=1)
    with pytest.raises(ValueError, match="dream' carries no decoding settings"):
        DiffusionGenerationConfig.from_pretrained(paths["dream"])


def test_what_lies_in_a_subfolder(build, paths, tmp_path):
    """Options that say where a model is reach every place that looks for it."""
    shutil.copytree(paths["llada"], tmp_path / "repository" / "inner")
    assert check_model_id(str(tmp_path / "repository"), {"subfolder": "inner"}, False).model_type == "llada"
    with pytest.raises(ValueError, match="model_type"):
        check_model_id(str(tmp_path / "repository"), {}, False)
    trainer, _ = train(
        build,
        "diffpo",
        paths["llada"],
        regime="joint",
        peft_config=LoraConfig(r=2, init_lora_weights=False),
    )
    trainer.save_model(tmp_path / "adapters" / "first")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "adapters", adapter_kwargs={"subfolder": "first"}, local_files_only=True
    )
    assert DiffusionSampler(model).config == trainer.decoder("eval")
    head = {name for name, _ in model.named_parameters() if "threshold_head" in name}
    assert len(head) >= 4


def test_heads_can_be_added_to_every_family(paths):
    for family in FAMILIES:
        model = AutoModelForCausalLM.from_pretrained(paths[family])
        model.add_threshold_head(ThresholdHeadConfig())
        ids = torch.arange(2, 9)[None].repeat(2, 1)
        output = model(ids, threshold_positions=torch.tensor([0, 3]))
        assert output.threshold_outputs.shape == (2, 7)
        torch.testing.assert_close(output.logits, model(ids).logits)
