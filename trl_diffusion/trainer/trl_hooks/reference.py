# SPDX-License-Identifier: Apache-2.0
"""The reference model under FSDP2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import fsdp2_prepare_model
from torch.distributed.fsdp import FSDPModule
from trl.models.utils import prepare_fsdp
from trl.trainer import grpo_trainer


@contextmanager
def reference_by_layers() -> Iterator[None]:
    """
    While a trainer is built: its reference model is sharded layer by layer under FSDP2, as the policy is. TRL makes it
    one unit, so that a pass needs all of it on every device, and twice while it is gathered: 32 GB in bfloat16 for
    LLaDA-8B.
    """
    module = cast(Any, grpo_trainer)
    module.prepare_fsdp = _prepare
    try:
        yield
    finally:
        module.prepare_fsdp = prepare_fsdp


def _prepare(model: torch.nn.Module, accelerator: Accelerator) -> torch.nn.Module:
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        return cast(torch.nn.Module, prepare_fsdp(model, accelerator))
    model = fsdp2_prepare_model(accelerator, model).eval()
    for module in model.modules():
        if isinstance(module, FSDPModule):  # accelerate leaves the LM head in place for a backward pass
            module.set_reshard_after_forward(bool(plugin.reshard_after_forward), recurse=False)
    return model
