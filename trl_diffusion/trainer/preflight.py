# SPDX-License-Identifier: Apache-2.0
"""Checks that need no weights, made before any are loaded."""

from __future__ import annotations

import copy
import os
import re
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import init_empty_weights
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from ..models import get_family


if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base_config import DiffusionGRPOConfig


# What reward functions receive beside the dataset's columns.
RESERVED_COLUMNS = {"nfe", "threshold"}


def check_model(model: str | PreTrainedModel, args: DiffusionGRPOConfig, peft_config: Any | None) -> Any | None:
    """
    Refuse a model that is no masked diffusion LM, and LoRA targets that would match nothing.

    Returns:
        The PEFT configuration, with the family's targets if it names none.

    Raises:
        `ValueError`: With the argument to change.
    """
    if not isinstance(model, (str, PreTrainedModel, PeftModel)):
        raise TypeError(f"`model` must be a model or its id, got {type(model).__name__}.")
    if isinstance(model, str):
        if os.path.isfile(os.path.join(model, "adapter_config.json")):
            raise ValueError(
                f"`model={model!r}` is an adapter. Load it on its base model, and pass the result: "
                "`peft.PeftModel.from_pretrained(base_model, ..., is_trainable=True)`."
            )
        init_kwargs = cast(dict[str, Any], args.model_init_kwargs or {})
        trust_remote_code = init_kwargs.get("trust_remote_code", args.trust_remote_code)
        config = AutoConfig.from_pretrained(
            model, revision=init_kwargs.get("revision"), trust_remote_code=trust_remote_code
        )
        get_family(config)
        if peft_config is not None:
            with init_empty_weights():
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    else:
        get_family(model.config)
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
    if peft_config is not None and isinstance(model, PreTrainedModel):
        return resolve_lora_targets(model, peft_config)
    return peft_config


def resolve_lora_targets(model: PreTrainedModel, peft_config: Any) -> Any:
    """
    Require every LoRA target to match a module, where PEFT itself is content if one of them does. All linear layers of
    the blocks are the targets if the configuration names none, or "all-linear", which would include a threshold head.

    Returns:
        The configuration, a copy if anything was added.

    Raises:
        `ValueError`: If a target matches nothing, naming the targets that the family offers.
    """
    if not hasattr(peft_config, "target_modules"):  # not every method of PEFT has targets
        return peft_config
    family, targets = get_family(model.config), peft_config.target_modules
    if peft_config.task_type is None:  # else `AutoPeftModelForCausalLM` could not load what is saved
        peft_config = copy.deepcopy(peft_config)
        peft_config.task_type = "CAUSAL_LM"
    if targets is None or targets == "all-linear":
        peft_config = copy.deepcopy(peft_config)
        targets = peft_config.target_modules = set(family.lora_targets)
    names = [name for name, _ in model.named_modules()]
    if isinstance(targets, str):  # a regular expression over full names
        missing = [] if any(re.fullmatch(targets, name) for name in names) else [targets]
    else:
        missing = [t for t in sorted(targets) if not any(n == t or n.endswith(f".{t}") for n in names)]
    if missing:
        raise ValueError(
            f"`peft_config.target_modules` names modules that this model does not have: {', '.join(missing)}. The "
            f"linear layers of {family.name}'s blocks are called {', '.join(family.lora_targets)}; without "
            "`target_modules` all of them are taken."
        )
    return peft_config


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


def check_dataset(dataset: Any, name: str) -> None:
    """
    Require a `prompt` column, and refuse images and reserved names.

    Raises:
        `ValueError`: Naming the dataset and its columns.
    """
    if isinstance(dataset, dict):
        for key, part in dataset.items():
            check_dataset(part, f"{name}[{key!r}]")
        return
    if hasattr(dataset, "__len__") and len(dataset) == 0:
        raise ValueError(f"`{name}` is empty.")
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
