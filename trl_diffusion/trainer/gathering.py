# SPDX-License-Identifier: Apache-2.0
"""Rollouts with the parameters of a sharded model in one place: no forward pass may then wait for other processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule


@contextmanager
def unsharded(model: torch.nn.Module, reshard_after_forward: bool) -> Iterator[None]:
    """
    Gather the parameters of a model once, for any number of forward passes.

    Args:
        model (`torch.nn.Module`):
            Sharded by `torch.distributed.fsdp.fully_shard`.
        reshard_after_forward (`bool`):
            What holds for all of it otherwise, also for final norm and LM head, which accelerate would leave in place:
            PEFT switches adapters on and off by `requires_grad`, and of parameters in place PyTorch forgets it.
    """
    modules = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in modules:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in modules:
            module.reshard()
            module.set_reshard_after_forward(reshard_after_forward, recurse=False)


@contextmanager
def untraced(engine: torch.nn.Module) -> Iterator[None]:
    """
    Keep DeepSpeed's ZeRO-3 from comparing the order of modules between the processes, which it does at the start of a
    forward pass until it has seen two alike. TRL removes its other hooks where it gathers parameters, but not this
    one: a process that makes one pass where another makes two would leave it waiting.

    Args:
        engine (`torch.nn.Module`):
            DeepSpeed's, or any other model, to which nothing is done.
    """
    optimizer: Any = getattr(engine, "optimizer", None)
    offload = getattr(optimizer, "parameter_offload", optimizer)
    if not hasattr(offload, "get_param_coordinator"):
        yield
        return
    coordinator = offload.get_param_coordinator()
    coordinator.reset_step = lambda: None
    try:
        yield
    finally:
        del coordinator.reset_step
