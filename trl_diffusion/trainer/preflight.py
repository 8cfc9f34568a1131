# SPDX-License-Identifier: Apache-2.0
"""Checks that need no weights, made before any are loaded."""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import init_empty_weights
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import find_adapter_config_file

from ..models import get_family, resolve_lora_targets
from ..models.hub import hub_options


if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base_config import DiffusionGRPOConfig


# What reward functions receive beside the dataset's columns.
RESERVED_COLUMNS = {"nfe", "threshold"}


def check_output_dir(args: DiffusionGRPOConfig) -> None:
    """
    Refuse a folder in which nothing can be written: at the first checkpoint it would be too late.

    Raises:
        `ValueError`: With what the operating system says.
    """
    if not args.should_save:
        return
    try:
        os.makedirs(cast(str, args.output_dir), exist_ok=True)
        with tempfile.TemporaryFile(dir=args.output_dir):
            pass
    except OSError as error:
        raise ValueError(f"Nothing can be written in `output_dir={args.output_dir!r}`: {error}.") from None


def check_reference(args: DiffusionGRPOConfig, is_sharded: bool) -> None:
    """
    Refuse a reference model that moves and is `is_sharded`: a checkpoint could not hold it.

    Raises:
        `ValueError`: With what to do instead.
    """
    if args.sync_ref_model and is_sharded:
        raise ValueError(
            "`sync_ref_model` is not supported where ZeRO-3 or FSDP shards the model: the reference could not be "
            "saved with a checkpoint. Set `sync_ref_model=False`, or train under ZeRO-2 or DDP."
        )


def check_model(model: str | PreTrainedModel, args: DiffusionGRPOConfig, peft_config: Any | None) -> None:
    """
    Refuse what is no masked diffusion LM, or is one that could not be trained as it is.

    Raises:
        `ValueError`: With the argument to change.
    """
    if not isinstance(model, (str, PreTrainedModel, PeftModel)):
        raise TypeError(f"`model` must be a model or its id, got {type(model).__name__}.")
    if isinstance(model, str):
        check_model_id(model, args.model_init_kwargs, args.trust_remote_code)
        return
    get_family(model.config)
    if model.get_output_embeddings() is None:
        raise ValueError(
            f"`model` is a {type(model).__name__}, which has no LM head. Load it by `AutoModelForCausalLM`."
        )
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError(
            "`model` has an adapter that transformers has loaded, to be used and not to be trained. Load it by "
            "`peft.PeftModel.from_pretrained(base_model, ..., is_trainable=True)` instead."
        )
    if args.beta != 0.0 and peft_config is None and not hasattr(model, "peft_config") and not model.name_or_path:
        raise ValueError(
            f"`beta={args.beta}` needs a reference model, which is loaded a second time from where the model came "
            "from, and this one was not loaded from anywhere. Save it and pass the folder, use `peft_config`, or "
            "set `beta=0.0`."
        )


def check_model_id(model: str, init_kwargs: Any, trust_remote_code: bool) -> PreTrainedConfig:
    """
    The configuration of a model that has not been loaded yet.

    Raises:
        `ValueError`: If it is an adapter, or no masked diffusion LM.
    """
    options = cast(dict[str, Any], init_kwargs or {})
    if find_adapter_config_file(model, **hub_options(options)) is not None:
        raise ValueError(
            f"`model={model!r}` is an adapter. Load it on its base model, and pass the result: "
            "`peft.PeftModel.from_pretrained(base_model, ..., is_trainable=True)`."
        )
    config = AutoConfig.from_pretrained(
        model, trust_remote_code=options.get("trust_remote_code", trust_remote_code), **hub_options(options)
    )
    get_family(config)
    return config


def check_peft_config(model: str | PreTrainedModel, args: DiffusionGRPOConfig, peft_config: Any | None) -> Any | None:
    """
    The PEFT configuration with the family's targets if it names none, see
    [`~trl_diffusion.models.resolve_lora_targets`]. Without loading any weights.

    Raises:
        `ValueError`: If it names what the model does not have.
    """
    if peft_config is None or isinstance(model, PeftModel):
        return peft_config
    if isinstance(model, str):
        config = check_model_id(model, args.model_init_kwargs, args.trust_remote_code)
        if head := (cast(dict[str, Any], args.model_init_kwargs or {})).get("threshold_head"):
            config.update({"threshold_head": head})  # the model will be loaded with one
        model_class = AutoModelForCausalLM._model_mapping.get(type(config), None)
        if model_class is None:  # remote code: PEFT has the word
            return peft_config
        with init_empty_weights():  # not `from_config`, which would shard it under ZeRO-3
            model = cast(Any, model_class)(config)
    return resolve_lora_targets(cast(PreTrainedModel, model), peft_config)


def keep_4bit_layers_differentiable(model: torch.nn.Module) -> None:
    """
    Keep bitsandbytes from packing 4-bit weights in rollouts on a CPU.

    On CPUs with AVX512-BF16 it packs them in the first forward pass in eval mode, for a kernel without a gradient, and
    uses that one in training, too: adapters would learn from gradients that miss everything that flows through a
    frozen layer, and layers with a bias would fail.

    Raises:
        `ValueError`: If the model's weights are packed already.
    """
    for module in cast("Iterator[Any]", model.modules()):
        if hasattr(module, "support_avx512bf16_for_cpu"):
            if getattr(module.weight.quant_state, "packing_format_for_cpu", False):
                raise ValueError(
                    "`model` has 4-bit weights that bitsandbytes has packed for inference on this CPU, where they "
                    "have no gradient. Load it again, and do not run it before it is passed to the trainer."
                )
            module.support_avx512bf16_for_cpu = False


def check_dataset(dataset: Any, name: str, least: int = 1) -> None:
    """
    Require a `prompt` column and as many prompts as are needed at a time, and refuse images and reserved names.

    Raises:
        `ValueError`: Naming the dataset and its columns.
    """
    if isinstance(dataset, dict):
        for key, part in dataset.items():
            check_dataset(part, f"{name}[{key!r}]", least)
        return
    if hasattr(dataset, "__len__") and len(dataset) == 0:
        raise ValueError(f"`{name}` is empty.")
    if hasattr(dataset, "__len__") and len(dataset) < least:  # TRL would say nothing, and train nothing
        raise ValueError(
            f"`{name}` has {len(dataset)} prompts, fewer than the {least} of one rollout (the completions of all "
            "processes and micro-batches, divided by `num_generations`). Take more prompts, or a smaller batch."
        )
    columns = getattr(dataset, "column_names", None)
    if columns is None:
        return
    if "prompt" not in columns:
        raise ValueError(
            f"`{name}` has no column 'prompt' (it has: {', '.join(columns)}). Rename the column that holds the "
            f"prompts: dataset.rename_column(..., 'prompt')."
        )
    if taken := RESERVED_COLUMNS & set(columns):
        raise ValueError(
            f"`{name}` has a column '{taken.pop()}', the name under which reward functions receive what the sampler "
            "recorded. Rename the column."
        )
    if {"image", "images"} & set(columns):
        raise ValueError(f"`{name}` has images, which diffusion trainers do not support. Remove the column.")


def room_for_prompts(config: Any, args: DiffusionGRPOConfig) -> float:
    """Tokens that a model with this configuration has positions for, beside the canvas."""
    positions = getattr(config, "max_position_embeddings", None)
    return math.inf if positions is None else positions - args.max_completion_length


def check_prompts(prompt_ids: list[list[int]], config: Any, args: DiffusionGRPOConfig, where: str = "") -> None:
    """
    Refuse prompts without tokens, and those that leave no room for the canvas.

    Raises:
        `ValueError`: If there is one.
    """
    if not all(prompt_ids):
        raise ValueError(f"A prompt is empty after tokenization{where}. Remove it from the dataset.")
    longest, room = max(map(len, prompt_ids)), room_for_prompts(config, args)
    if longest > room:
        raise ValueError(
            f"A prompt has {longest} tokens{where}, and a canvas of "
            f"`max_completion_length={args.max_completion_length}` leaves room for {max(room, 0)} of "
            f"the {config.max_position_embeddings} positions that the model was trained for. Remove or shorten the "
            "prompt, or shorten the canvas."
        )


def check_processing_class(processing_class: Any) -> None:
    """
    Refuse multimodal processors.

    Raises:
        `TypeError`: If it is neither a tokenizer nor `None`.
    """
    if processing_class is not None and not isinstance(processing_class, PreTrainedTokenizerBase):
        raise TypeError(
            f"`processing_class` must be a tokenizer, got {type(processing_class).__name__}: diffusion trainers do "
            "not support images."
        )
