# SPDX-License-Identifier: Apache-2.0
"""Bad input is refused by name, before a weight is loaded or a step is taken."""

import ast
import dataclasses
import inspect
import re
import sys

import pytest
from datasets import Dataset
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import GPT2Config, GPT2LMHeadModel
from trl import GRPOConfig, GRPOTrainer, TrlParser

from trl_diffusion import (
    DiFFPOConfig,
    DiFFPOTrainer,
    DiffuGRPOConfig,
    DiffuGRPOTrainer,
    DiffusionGRPOConfig,
    DiffusionGRPOTrainer,
)
from trl_diffusion.generation.config import RULE_NAMES
from trl_diffusion.generation.unmasking import RULES, SCHEDULED_RULES
from trl_diffusion.trainer import base_config
from trl_diffusion.trainer.trl_hooks import contract

from .conftest import make_model
from .trainers import METHODS


def length_reward(completions, **kwargs):
    return [float(len(c)) for c in completions]


@pytest.fixture
def arguments(tmp_path, tokenizer, model_path):
    """What a trainer needs, for a test to break in one place."""
    return {
        "model": model_path,
        "reward_funcs": length_reward,
        "args": config(tmp_path),
        "train_dataset": Dataset.from_dict({"prompt": ["1+1=", "2+2="]}),
        "processing_class": tokenizer,
    }


def config(tmp_path, cls=DiffuGRPOConfig, **options):
    return cls(
        **{
            "output_dir": str(tmp_path),
            "use_cpu": True,
            "bf16": False,
            "report_to": "none",
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 8,
            "block_length": 4,
        }
        | options
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"use_vllm": True}, "`use_vllm=True`"),
        ({"use_transformers_continuous_batching": True}, "`use_transformers_continuous_batching=True`"),
        ({"cache_implementation": "static"}, "`cache_implementation='static'`"),
        ({"generation_kwargs": {"num_beams": 2}}, "`generation_kwargs="),
        ({"repetition_penalty": 1.1}, "`repetition_penalty=1.1`"),
        ({"top_p": 0.9}, "`top_p=0.9`"),
        ({"top_k": 50}, "`top_k=50`"),
        ({"min_p": 0.1}, "`min_p=0.1`"),
        ({"top_entropy_quantile": 0.2}, "`top_entropy_quantile=0.2`"),
        ({"cast_lm_head_to_fp32": True}, "`cast_lm_head_to_fp32=True`"),
        ({"use_liger_kernel": True}, "`use_liger_kernel=True`"),
        ({"loss_type": "gropo"}, "`loss_type='gropo'`: must be one of 'grpo', 'dapo'"),
        ({"importance_sampling_level": "word"}, "`importance_sampling_level='word'`: must be one of 'token'"),
        ({"scale_rewards": "sometimes"}, "`scale_rewards='sometimes'`: must be one of 'group', 'batch', 'none'"),
        ({"pad_to_multiple_of": 8}, "`pad_to_multiple_of=8` is not supported"),
        ({"max_completion_length": None}, "`max_completion_length` must be set"),
        ({"temperature": 0.0}, "`temperature=0.0`"),
        ({"block_length": 5}, "`max_completion_length` (8) must be a multiple of `block_length` (5). Set"),
        ({"unmasking": "wino"}, "`unmasking` must be one of"),
        ({"entropy_bound": -1.0}, "`entropy_bound`"),
        ({"max_denoising_steps": 9}, "`max_denoising_steps` (9) must be a multiple"),
        ({"sampler_batch_size": 0}, "`sampler_batch_size`"),
        ({"num_generations": 3}, "generation_batch_size (4) must be divisible by num_generations (3)"),
        ({"p_mask_prompt": 1.0}, "`p_mask_prompt=1.0`"),
    ],
)
def test_options_without_meaning(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config(tmp_path, **options)


def test_truncation_cap_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="importance_sampling_clip_max"):
        config(tmp_path, DiFFPOConfig, importance_sampling_clip_max=0.0)


def test_every_sampler_option_reaches_the_sampler(tmp_path):
    options = {
        "block_length": 2,
        "stop_at_eos": False,
        "unmasking": "low_confidence",
        "entropy_bound": 0.7,
        "confidence_threshold": 0.3,
        "max_denoising_steps": 4,
        "temperature": 0.6,
    }
    decoder = config(tmp_path, sampler_batch_size=3, **options).generation_config((5,))
    assert {name: getattr(decoder, name) for name in options} == options
    assert (decoder.max_new_tokens, decoder.max_batch_size, decoder.eos_token_ids) == (8, 3, (5,))


def test_the_estimator_gets_its_options(arguments, tmp_path):
    arguments["args"] = config(tmp_path, p_mask_prompt=0.4)
    assert DiffuGRPOTrainer(**arguments).estimator.p_mask_prompt == 0.4


def test_defaults_are_the_methods(tmp_path):
    args = config(tmp_path)
    assert (args.epsilon, args.loss_type, args.scale_rewards, args.p_mask_prompt) == (0.5, "bnpo", "none", 0.15)
    args = config(tmp_path, DiFFPOConfig)
    assert (args.epsilon, args.loss_type, args.scale_rewards) == (0.5, "grpo", "none")
    assert (args.importance_sampling_correction, args.importance_sampling_clip_max) == (True, 2.0)


def test_precision_default_fits_the_machine(tmp_path, monkeypatch):
    assert DiffuGRPOConfig(str(tmp_path)).bf16 is base_config.is_torch_bf16_gpu_available()
    assert DiffuGRPOConfig(str(tmp_path), use_cpu=True).bf16 is False
    assert DiffuGRPOConfig(str(tmp_path), use_cpu=True, bf16=True).bf16 is True


def test_every_option_has_help():
    for cls, _ in METHODS.values():
        for field in dataclasses.fields(cls):
            assert field.metadata.get("help") or field.name in GRPOConfig.__dataclass_fields__, field.name


@pytest.mark.parametrize("argument", ["tools", "rollout_func", "environment_factory"])
def test_arguments_without_meaning(arguments, argument):
    with pytest.raises(ValueError, match=f"`{argument}` is not supported"):
        DiffuGRPOTrainer(**arguments, **{argument: [print]})


def test_unknown_arguments(arguments):
    with pytest.raises(TypeError, match="unexpected keyword argument 'reward_fn'"):
        DiffuGRPOTrainer(**arguments, reward_fn=print)


def test_another_methods_config(arguments):
    with pytest.raises(TypeError, match="`args` must be a DiFFPOConfig, got DiffuGRPOConfig"):
        DiFFPOTrainer(**arguments)


def test_trls_own_config(arguments, tmp_path):
    arguments["args"] = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    with pytest.raises(TypeError, match="`args` must be a DiffuGRPOConfig, got GRPOConfig"):
        DiffuGRPOTrainer(**arguments)


@pytest.mark.parametrize("name", ["train_dataset", "eval_dataset"])
def test_dataset_without_prompts(arguments, name):
    arguments[name] = Dataset.from_dict({"question": ["1+1="]})
    with pytest.raises(ValueError, match=f"`{name}` has no column 'prompt' \\(it has: question\\)"):
        DiffuGRPOTrainer(**arguments)


def test_dataset_with_a_reserved_column(arguments):
    arguments["train_dataset"] = Dataset.from_dict({"prompt": ["1+1="], "nfe": [3]})
    with pytest.raises(ValueError, match="`train_dataset` has a column 'nfe'"):
        DiffuGRPOTrainer(**arguments)


def test_dataset_with_images(arguments):
    arguments["train_dataset"] = Dataset.from_dict({"prompt": ["1+1="], "image": ["x.png"]})
    with pytest.raises(ValueError, match="`train_dataset` has images"):
        DiffuGRPOTrainer(**arguments)


def test_processor_instead_of_a_tokenizer(arguments):
    arguments["processing_class"] = object()
    with pytest.raises(TypeError, match="`processing_class` must be a tokenizer, got object"):
        DiffuGRPOTrainer(**arguments)


@pytest.mark.parametrize("as_path", [True, False])
def test_model_that_is_no_diffusion_lm(arguments, tmp_path, as_path):
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=23))
    if as_path:
        (tmp_path / "config.json").write_text(model.config.to_json_string())  # and no weights: none may be needed
        model = str(tmp_path)
    arguments["model"] = model
    with pytest.raises(ValueError, match="`model_type='gpt2'` is not a known masked diffusion language model"):
        DiffuGRPOTrainer(**arguments)


def test_model_without_mask_token(arguments, tokenizer, tmp_path):
    tokenizer = type(tokenizer).from_pretrained(arguments["model"], mask_token=None)
    arguments["model"] = make_model(len(tokenizer), mask_token_id=None)
    arguments["processing_class"] = tokenizer
    with pytest.raises(ValueError, match="No mask token"):
        DiffuGRPOTrainer(**arguments)
    arguments["args"] = config(tmp_path, mask_token_id=1)
    assert DiffuGRPOTrainer(**arguments).spec.mask_token_id == 1


def test_mask_token_that_ends_texts(arguments, tmp_path):
    arguments["args"] = config(tmp_path, mask_token_id=0)
    with pytest.raises(ValueError, match="`mask_token_id=0` is also an end-of-text token"):
        DiffuGRPOTrainer(**arguments)


def test_tokenizer_of_another_model(arguments):
    arguments["model"] = make_model(vocab_size=12)
    with pytest.raises(ValueError, match="`processing_class` has 23 tokens and the model only 12 embeddings"):
        DiffuGRPOTrainer(**arguments)


@pytest.mark.parametrize("prompt, message", [("", "A prompt is empty"), ("1" * 60, "60 tokens")])
def test_prompts_that_cannot_be_decoded(arguments, tmp_path, prompt, message):
    arguments["train_dataset"] = Dataset.from_dict({"prompt": [prompt]}).to_iterable_dataset()
    arguments["args"] = config(tmp_path, max_steps=1)
    with pytest.raises(ValueError, match=message):
        DiffuGRPOTrainer(**arguments).train()


def test_one_long_prompt_is_found_before_training(arguments):
    arguments["train_dataset"] = Dataset.from_dict({"prompt": ["1="] * 40 + ["2" * 57, "3="]})
    with pytest.raises(ValueError, match=r"57 tokens \(row 40 of `train_dataset`: '22.*leaves room for 56 of the 64"):
        DiffuGRPOTrainer(**arguments)


def test_empty_dataset(arguments):
    arguments["train_dataset"] = Dataset.from_dict({"prompt": []})
    with pytest.raises(ValueError, match="`train_dataset` is empty"):
        DiffuGRPOTrainer(**arguments)


def test_fewer_prompts_than_a_rollout_takes(arguments, tmp_path):
    """TRL would leave out the rest of the dataset, which here is all of it, and end without an update."""
    arguments["args"] = config(tmp_path, per_device_train_batch_size=6, num_generations=2)
    with pytest.raises(ValueError, match="`train_dataset` has 2 prompts, fewer than the 3 of one rollout"):
        DiffuGRPOTrainer(**arguments)
    arguments["args"] = config(tmp_path, per_device_train_batch_size=4, num_generations=2)
    DiffuGRPOTrainer(**arguments, eval_dataset=arguments["train_dataset"].select([0]))


def test_tokenizer_without_an_end(arguments, tokenizer):
    model = make_model(len(tokenizer))
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = None
    arguments |= {
        "model": model,
        "processing_class": type(tokenizer).from_pretrained(arguments["model"], eos_token=None),
    }
    with pytest.raises(ValueError, match="`processing_class` has no end-of-text token"):
        DiffuGRPOTrainer(**arguments)


def test_adapter_instead_of_a_model(arguments, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    arguments["model"] = str(tmp_path)
    with pytest.raises(ValueError, match="is an adapter. Load it on its base model"):
        DiffuGRPOTrainer(**arguments)


def test_something_that_is_no_model(arguments):
    arguments["model"] = object()
    with pytest.raises(TypeError, match="`model` must be a model or its id, got object"):
        DiffuGRPOTrainer(**arguments)


def test_base_trainer_says_what_it_is(arguments, tmp_path):
    arguments["args"] = config(tmp_path, DiffusionGRPOConfig)
    with pytest.raises(NotImplementedError, match="Use a method's trainer"):
        DiffusionGRPOTrainer(**arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"block_length": "4"},
        {"block_length": 4.0},
        {"entropy_bound": None},
        {"temperature": "1"},
        {"unmasking": ["random"]},
        {"sampler_batch_size": 2.5},
        {"stop_at_eos": 1},
        {"mask_token_id": "<|mask|>"},
    ],
)
def test_wrong_types_are_named(tmp_path, options):
    (name,) = options
    with pytest.raises(TypeError, match=f"`{name}` must be (int|float|str|bool), got"):
        config(tmp_path, **options)


@pytest.mark.parametrize("as_path", [True, False])
@pytest.mark.parametrize("targets", [["attn_out", "ff_proj"], ["q_proj", "attn_out"], r"blocks\..*ff_out"])
def test_lora_targets_that_match_nothing(arguments, targets, as_path):
    """Seven public trainers pass other names than the model's and train half of the adapters."""
    if not as_path:
        arguments["model"] = make_model()
    with pytest.raises(ValueError, match=r"`peft_config.target_modules` .* called q_proj, k_proj"):
        DiffuGRPOTrainer(**arguments, peft_config=LoraConfig(r=2, target_modules=targets))


@pytest.mark.parametrize("targets", [None, "all-linear"])
def test_lora_without_targets_adapts_all_linear_layers_of_the_blocks(arguments, targets):
    peft_config = LoraConfig(r=2, target_modules=targets)
    trainer = DiffuGRPOTrainer(**arguments, peft_config=peft_config)
    adapted = {n.split(".lora_A")[0] for n, _ in trainer.model.named_parameters() if "lora_A" in n}
    linears = {
        name
        for name, module in trainer.model.named_modules()
        if isinstance(module, BaseTunerLayer) and ".layers." in name
    }
    assert adapted == linears and len(adapted) == 2 * 7
    assert peft_config.target_modules == targets  # the user's own is left as it was


def test_reference_model_that_cannot_be_loaded_again(arguments, tmp_path, tokenizer):
    arguments["model"] = make_model(len(tokenizer))
    arguments["args"] = config(tmp_path, beta=0.1)
    with pytest.raises(ValueError, match="`beta=0.1` needs a reference model"):
        DiffuGRPOTrainer(**arguments)


def test_log_probs_without_a_trajectory(arguments):
    trainer = DiffuGRPOTrainer(**arguments)
    with pytest.raises(RuntimeError, match="outside of a rollout"):
        trainer._get_per_token_logps_and_entropies(trainer.model, None, None, 4)


def test_trl_contract_holds_and_names_what_broke(monkeypatch):
    contract.check_trl()
    monkeypatch.setattr(contract.GRPOTrainer, "_calculate_rewards", lambda self, batch: None)
    monkeypatch.delattr(contract.GRPOTrainer, "_log_completion_extra")
    with pytest.raises(ImportError, match=r"_calculate_rewards takes .*_log_completion_extra is missing.*pip install"):
        contract.check_trl()


def test_untested_trl_is_warned_about(monkeypatch):
    monkeypatch.setattr(contract.trl, "__version__", "1.99.0")
    with pytest.warns(UserWarning, match=r"trl 1\.99\.0 is untested"):
        contract.check_trl()


def test_rules_of_ones_own_are_choices(monkeypatch):
    """In scripts with TRL's parser, too; those of the package are known without PyTorch."""
    words = ["--output_dir", "x", "--use_cpu", "true", "--unmasking", "mine"]
    with pytest.raises(SystemExit):
        TrlParser([DiffuGRPOConfig]).parse_args_and_config(words)
    with monkeypatch.context() as patch:
        patch.setitem(SCHEDULED_RULES, "mine", SCHEDULED_RULES["random"])
        (config,) = TrlParser([DiffuGRPOConfig]).parse_args_and_config(words)
        assert config.unmasking == "mine" and "mine" in RULE_NAMES
    monkeypatch.delitem(sys.modules, "trl_diffusion.generation.unmasking")
    assert list(RULE_NAMES) == list(RULES)


@pytest.mark.parametrize("name", base_config._CHOICES)
def test_choices_are_those_that_trl_looks_for(name):
    """It lists them nowhere, and compares with each: `self.loss_type == "cispo"`, `in ["grpo", "sapo"]`."""
    looked_for = set()
    for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(GRPOTrainer)))):
        if isinstance(node, ast.Compare) and getattr(node.left, "attr", "") == name:
            looked_for |= {constant.value for constant in ast.walk(node) if isinstance(constant, ast.Constant)}
    assert looked_for == set(base_config._CHOICES[name])
