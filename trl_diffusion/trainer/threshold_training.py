# SPDX-License-Identifier: Apache-2.0
"""What it takes to train a threshold head beside the model, or instead of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ..models import ThresholdHeadMixin


if TYPE_CHECKING:
    from .diffpo_config import DiFFPOConfig


HEAD = "threshold_head"


def attach_threshold_head(model: str | PreTrainedModel | PeftModel, args: DiFFPOConfig, peft_config: Any) -> Any:
    """
    Give the model a threshold head, unless it brings one: before anything is wrapped around it.

    A model given by its id will be loaded with the head; its configuration says so through `args.model_init_kwargs`.

    Returns:
        The PEFT configuration, with the head among the modules that are trained in full and saved with the adapter.

    Raises:
        `ValueError`: If the model's class has no place for a head, or its adapter was made without one.
    """
    described = args.threshold_head_config().to_dict()
    if isinstance(model, str):
        init_kwargs = dict(cast(dict[str, Any], args.model_init_kwargs or {}))
        config = AutoConfig.from_pretrained(model, revision=init_kwargs.get("revision"))
        _check_class(cast(type, AutoModelForCausalLM._model_mapping[type(config)]))
        if getattr(config, HEAD, None) is None:
            args.model_init_kwargs = init_kwargs | {HEAD: described}
    else:
        base = model.get_base_model() if isinstance(model, PeftModel) else model
        _check_class(type(base))
        if base.threshold_head is None:
            if isinstance(model, PeftModel):
                raise ValueError(
                    "`model` has an adapter, and no threshold head. Call `add_threshold_head` on the base model "
                    f"first, and name '{HEAD}' in `modules_to_save` of the LoRA configuration."
                )
            base.add_threshold_head(args.threshold_head_config())
    if peft_config is None:
        return None
    peft_config = copy.deepcopy(peft_config)
    peft_config.modules_to_save = [*(getattr(peft_config, "modules_to_save", None) or []), HEAD]
    return peft_config


def _check_class(model_class: type) -> None:
    if not issubclass(model_class, ThresholdHeadMixin):
        raise ValueError(
            f"{model_class.__name__} has no place for a threshold head. Set `regime='model'`, or mix "
            "`trl_diffusion.models.ThresholdHeadMixin` into the class."
        )


def head_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The head's parameters that are trained."""
    return [p for name, p in model.named_parameters() if f"{HEAD}." in name and p.requires_grad]


def freeze_what_the_regime_leaves(model: torch.nn.Module, regime: str) -> None:
    """Freeze the head (`"model"`), or all but the head (`"sampler"`)."""
    for name, parameter in model.named_parameters():
        is_head = f"{HEAD}." in name
        if (regime == "model" and is_head) or (regime == "sampler" and not is_head):
            parameter.requires_grad_(False)


def separate_learning_rate(optimizer: Any, parameters: list[torch.nn.Parameter], learning_rate: float) -> None:
    """Move parameters into a group of their own, with its own learning rate and without weight decay."""
    moved = {id(p) for p in parameters}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in moved]
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
    optimizer.add_param_group({"params": parameters, "lr": learning_rate, "weight_decay": 0.0})
