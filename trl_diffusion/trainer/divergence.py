# SPDX-License-Identifier: Apache-2.0
"""Losses and gradients that are none: transformers would step into them, and log the losses before them."""

from __future__ import annotations

import math

import torch


def divergence(what: str, value: float | torch.Tensor | None, update: int) -> FloatingPointError | None:
    """
    The error to raise where a number must be finite.

    Args:
        what (`str`):
            Its name.
        value (`float` or `torch.Tensor`, *optional*):
            The number, if there is one.
        update (`int`):
            The update that it belongs to.
    """
    value = value.detach() if isinstance(value, torch.Tensor) else value
    if value is None or math.isfinite(value):
        return None
    return FloatingPointError(
        f"The {what} of update {update} is {float(value)}. The last checkpoint is from before: resume from it with a "
        "lower `learning_rate` or a smaller `max_grad_norm`."
    )
