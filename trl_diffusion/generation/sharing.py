# SPDX-License-Identifier: Apache-2.0
"""Equal canvases go through the model once, whoever needs them: in rollouts and in updates."""

from __future__ import annotations

import torch


def distinct(canvases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Find equal rows.

    Args:
        canvases (`torch.Tensor` of shape `(rows, length)`, int64):
            Canvases, in which padding is marked by a number that is no token.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: the first row of each kind, `(kinds,)`, and the kind of each row,
        `(rows,)`.
    """
    _, kind = torch.unique(canvases, dim=0, return_inverse=True)
    rows = torch.arange(len(canvases), device=canvases.device)
    kinds = int(kind.max()) + 1 if len(canvases) else 0
    return rows.new_zeros(kinds).scatter_reduce_(0, kind, rows, "amin", include_self=False), kind


def slots(place: torch.Tensor) -> torch.Tensor:
    """
    Number those that share a place.

    Args:
        place (`torch.Tensor` of shape `(n,)`, int64):
            A place for each.

    Returns:
        `torch.Tensor` of shape `(n,)`, int64: how many with the same place come before.
    """
    ordered, order = place.sort(stable=True)
    slot = torch.empty_like(place)
    slot[order] = torch.arange(len(place), device=place.device) - torch.searchsorted(ordered, ordered)
    return slot
