# SPDX-License-Identifier: Apache-2.0
"""What it takes to train a threshold head beside the model, or instead of it."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from ..models import ThresholdHeadMixin
from .preflight import check_model_id


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
        `ValueError`: If the model's class has no place for a head, its adapter was made without one, or the head that
            it brings is not the one that the options describe.
    """
    described = args.threshold_head_config().to_dict()
    if isinstance(model, str):
        init_kwargs = dict(cast(dict[str, Any], args.model_init_kwargs or {}))
        if HEAD in init_kwargs:
            raise ValueError(f"`model_init_kwargs`: describe the head by the `threshold_*` options, not by '{HEAD}'.")
        config = check_model_id(model, init_kwargs, args.trust_remote_code)
        _check_class(cast(type, AutoModelForCausalLM._model_mapping[type(config)]))
        _check_attention(config, args)
        if getattr(config, HEAD, None) is None:
            args.model_init_kwargs = init_kwargs | {HEAD: described}
        else:
            _check_head(getattr(config, HEAD), args)
    else:
        base = cast(Any, model.get_base_model() if isinstance(model, PeftModel) else model)
        _check_class(type(base))
        _check_attention(base.config, args)
        if base.threshold_head is None:
            if isinstance(model, PeftModel):
                raise ValueError(
                    "`model` has an adapter, and no threshold head. Call `add_threshold_head` on the base model "
                    f"first, and name '{HEAD}' in `modules_to_save` of the LoRA configuration."
                )
            base.add_threshold_head(args.threshold_head_config())
        else:
            _check_head(base.config.threshold_head, args)
    if peft_config is None:
        return None
    peft_config = copy.deepcopy(peft_config)
    named = getattr(peft_config, "modules_to_save", None) or []
    peft_config.modules_to_save = [*named, *({HEAD} - set(named))]
    return peft_config


def _check_head(described: dict[str, Any], args: DiFFPOConfig) -> None:
    """
    A head that the model brings stays as it is: options that ask for another one have no effect.

    Raises:
        `ValueError`: If there are any, or if the head was made for another unmasking rule.
    """
    if described["rule"] != args.unmasking:
        raise ValueError(
            f"`unmasking={args.unmasking!r}`: the model's threshold head was made for {described['rule']!r}."
        )
    defaults = {f.name: f.default for f in dataclasses.fields(args)}
    for option, name in (
        ("threshold_head", "kind"),
        ("threshold_grid", "grid"),
        ("threshold_limit", "limit"),
        ("threshold_per_block", "per_block"),
        (args.unmasking, "initial"),  # where the head starts has the rule's name
    ):
        value = getattr(args, option, None)
        if value != defaults.get(option) and value != described[name]:
            raise ValueError(
                f"`{option}={value!r}`: the model has a threshold head already, with {described[name]!r}. Leave the "
                "option unset to train that one, or pass a model that was loaded without its head "
                "(`AutoModelForCausalLM.from_pretrained(..., threshold_head=None)`)."
            )


def _check_attention(config: Any, args: DiFFPOConfig) -> None:
    if args.threshold_per_block and getattr(config, "block_size", None):
        raise ValueError(
            "`threshold_per_block=True` is not supported for models with block-causal attention. Leave it at False: a "
            "threshold is chosen once, before the first block."
        )


def _check_class(model_class: type) -> None:
    if not issubclass(model_class, ThresholdHeadMixin):
        raise ValueError(
            f"{model_class.__name__} has no place for a threshold head. Set `regime='model'`, or mix "
            "`trl_diffusion.models.ThresholdHeadMixin` into the class."
        )


def head_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The head's parameters that are trained."""
    return [p for name, p in model.named_parameters() if f"{HEAD}." in name and p.requires_grad]


def keep_in_float32(parameters: list[torch.nn.Parameter]) -> None:
    """Undo what a model's `to(torch.bfloat16)`, and TRL for adapters on 4-bit weights, did to them."""
    for parameter in parameters:
        parameter.data = parameter.data.float()


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
