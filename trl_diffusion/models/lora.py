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
        The configuration, a copy if anything was added.

    Raises:
        `ValueError`: If a name matches nothing, with the targets that the family offers.
    """
    if not hasattr(peft_config, "target_modules"):  # not every method of PEFT has targets
        return peft_config
    family, peft_config = get_family(model.config), copy.deepcopy(peft_config)
    if peft_config.task_type is None:  # else `AutoPeftModelForCausalLM` could not load what is saved
        peft_config.task_type = "CAUSAL_LM"
    parameters = getattr(peft_config, "target_parameters", None)
    if peft_config.target_modules == "all-linear" or (peft_config.target_modules is None and not parameters):
        peft_config.target_modules = set(family.lora_targets)
    modules = [name for name, _ in model.named_modules()]
    for option, names in (
        ("target_modules", modules),
        ("exclude_modules", modules),
        ("modules_to_save", modules),
        ("target_parameters", [name for name, _ in model.named_parameters()]),
    ):
        if missing := _unmatched(getattr(peft_config, option, None), names):
            raise ValueError(
                f"`peft_config.{option}` names what this model does not have: {', '.join(missing)}. The linear layers "
                f"of {family.name}'s blocks are called {', '.join(family.lora_targets)}; without `target_modules` all "
                "of them are taken."
            )
    return peft_config


def _unmatched(wanted: str | Iterable[str] | None, names: list[str]) -> list[str]:
    """Those of the wanted names, or the one regular expression over full names, that match none."""
    if isinstance(wanted, str):
        return [] if any(re.fullmatch(wanted, name) for name in names) else [wanted]
    return [w for w in sorted(wanted or ()) if not any(n == w or n.endswith(f".{w}") for n in names)]
