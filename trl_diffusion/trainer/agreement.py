# SPDX-License-Identifier: Apache-2.0
"""
Processes that keep each other informed: who is still busy, and who has failed.

A process that raises an error takes no part in what the others do next, and they would wait for it until the patience
of their backend ends, minutes later and with a message about a timeout. Where user code runs (rewards, rollouts), all
processes therefore hear of an error before they go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object


class PeerError(RuntimeError):
    """Another process failed, and this one cannot go on without it."""


@contextmanager
def agree(accelerator: Accelerator) -> Iterator[None]:
    """
    Leave this block with all processes, or raise in all of them.

    Nothing inside may need the other processes: one that has failed takes no part.

    Args:
        accelerator ([`~accelerate.Accelerator`]):
            Of this process.

    Raises:
        Whatever was raised inside, where it was raised; [`PeerError`] with its message in the other processes.
    """
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    raise_together(accelerator, error)


def raise_together(accelerator: Accelerator, error: Exception | None) -> None:
    """
    Raise this error, if there is one, here and [`PeerError`] in the other processes: each must call this, or
    [`anyone_busy`].
    """
    anyone_busy(accelerator, False, error)


def anyone_busy(accelerator: Accelerator, busy: bool, error: Exception | None = None) -> bool:
    """
    Whether any process is busy. Every process must call it.

    Raises:
        `error`, if there is one; [`PeerError`] in the other processes.
    """
    if accelerator.num_processes > 1:
        flags = torch.tensor([float(busy), float(error is not None)], device=accelerator.device)
        busy_ones, failed_ones = accelerator.reduce(flags, "sum").tolist()
        if failed_ones:
            messages = gather_object([None if error is None else _described(error)])
            if error is None:
                index, message = next((i, text) for i, text in enumerate(messages) if text is not None)
                raise PeerError(f"Process {index} of {accelerator.num_processes} failed: {message}")
        busy = busy_ones > 0
    if error is not None:
        raise error
    return busy


def _described(error: Exception) -> str:
    return " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
