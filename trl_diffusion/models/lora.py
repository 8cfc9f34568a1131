# SPDX-License-Identifier: Apache-2.0
"""What an adapter covers: a family's preset, and the refusal of names that would silently match nothing."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedModel

from .spec import get_family


def resolve_lora_targets(model: PreTrainedModel, peft_config: Any) -> Any:
    """
    Require every name of a PEFT configuration to match something, where PEFT itself is content if one of them does.
    All linear layers of the blocks are the targets if the configuration names none, or "all-linear", which would
    include a threshold head.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, which may be on the meta device.
        peft_config ([`~peft.PeftConfig`]):
            The configuration.

    Returns:
        A copy of the configuration, completed.

    Raises:
        `ValueError`: If a name matches nothing, with the targets that the family offers.
    """
    if not hasattr(peft_config, "target_modules"):  # not every method of PEFT has targets
        return peft_config
    family, peft_config = get_family(model.config), copy.deepcopy(peft_config)
    if peft_config.task_type is None:  # else `AutoPeftModelForCausalLM` could not load what is saved
        peft_config.task_type = "CAUSAL_LM"
    elif peft_config.task_type != "CAUSAL_LM":
        raise ValueError(f"`peft_config.task_type` must be 'CAUSAL_LM', got {peft_config.task_type!r}.")
    if isinstance(getattr(peft_config, "modules_to_save", None), str):  # PEFT would take each letter for a name
        raise ValueError(f"`peft_config.modules_to_save` must be a list, got {peft_config.modules_to_save!r}.")
    parameters = getattr(peft_config, "target_parameters", None)
    if peft_config.target_modules == "all-linear" or (peft_config.target_modules is None and not parameters):
        peft_config.target_modules = set(family.lora_targets)
    modules = [name for name, _ in model.named_modules()]
    for option, names in (
        ("target_modules", modules),
        ("exclude_modules", modules),
        ("modules_to_save", modules),
        ("target_parameters", [name for name, _ in model.named_parameters()]),
        ("rank_pattern", modules),
        ("alpha_pattern", modules),
    ):
        if missing := _unmatched(getattr(peft_config, option, None), names):
            raise ValueError(
                f"`peft_config.{option}` names what this model does not have: {', '.join(missing)}. The linear layers "
                f"of {family.name}'s blocks are called {', '.join(family.lora_targets)}; without `target_modules` all "
                "of them are taken."
            )
    layers, count = getattr(peft_config, "layers_to_transform", None), model.config.num_hidden_layers
    wrong = [layer for layer in ([layers] if isinstance(layers, int) else layers or ()) if not 0 <= layer < count]
    if wrong:
        raise ValueError(
            f"`peft_config.layers_to_transform`: the model has no layer {wrong[0]}, only {count} from 0 on."
        )
    return peft_config


def _unmatched(wanted: str | dict[str, Any] | Iterable[str] | None, names: list[str]) -> list[str]:
    """Those of the wanted names, a pattern's keys or the one regular expression over full names that match none."""
    if isinstance(wanted, dict):
        return [key for key in wanted if not any(_fullmatch(rf"(.*\.)?({key})", name) for name in names)]
    if isinstance(wanted, str):
        return [] if any(_fullmatch(wanted, name) for name in names) else [wanted]
    return [w for w in sorted(wanted or ()) if not any(n == w or n.endswith(f".{w}") for n in names)]


def _fullmatch(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise ValueError(f"`peft_config`: {pattern!r} is no regular expression: {error}.") from None
