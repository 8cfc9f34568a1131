# SPDX-License-Identifier: Apache-2.0
"""Errors of one process, which all must hear of: else the others wait for it until their patience ends."""

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

    Nothing inside may need the other processes: one that has failed would not take part.

    Args:
        accelerator ([`~accelerate.Accelerator`]):
            Of this process.

    Raises:
        Whatever was raised inside, where it was raised; [`PeerError`] with its message in the other processes.
    """
    error: BaseException | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    raise_together(accelerator, error)


def raise_together(accelerator: Accelerator, error: BaseException | None) -> None:
    """Raise this error, or, if there is none, that another process has one. Every process must call it."""
    if accelerator.num_processes > 1:
        failed = torch.tensor(float(error is not None), device=accelerator.device)
        if accelerator.reduce(failed, "sum").item():
            tell(accelerator, error)
    if error is not None:
        raise error


def tell(accelerator: Accelerator, error: BaseException | None) -> None:
    """Exchange what has gone wrong, in all processes, and raise. At least one must have an error."""
    messages = gather_object([None if error is None else f"{type(error).__name__}: {error}"])
    if error is not None:
        raise error
    index, message = next((i, message) for i, message in enumerate(messages) if message is not None)
    raise PeerError(f"Process {index} of {accelerator.num_processes} failed: {message}")
