# SPDX-License-Identifier: Apache-2.0
"""Numbers that tell when texts degenerate."""

from __future__ import annotations

import torch


# Odd numbers, by which a sum that overflows as it likes tells practically all 4-grams apart.
_FACTORS = (0x4F1BBCDCBFA53E0B, 0x517CC1B727220A95, 0x2545F4914F6CDD1D, 0x369DEA0F31A53F85)


def repetition(ids: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """
    The share of 4-grams that a text has had before: seq-rep-4 of
    [Welleck et al.](https://huggingface.co/papers/1908.04319).

    Args:
        ids (`torch.Tensor` of shape `(rows, length)`, int64):
            Tokens.
        text (`torch.Tensor` of shape `(rows, length)`, bool):
            Those that are the text.

    Returns:
        `torch.Tensor` of shape `(rows,)`: 0 where all are different, and where there are none.
    """
    n = len(_FACTORS)
    if ids.shape[1] < n:
        return torch.zeros(len(ids), device=ids.device)
    counted = text.unfold(1, n, 1).all(-1)
    grams = (ids.unfold(1, n, 1) * torch.tensor(_FACTORS, device=ids.device)).sum(-1)
    nothing = torch.iinfo(torch.int64).max
    ordered = grams.masked_fill(~counted, nothing).sort(-1).values
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    distinct, total = (new & (ordered != nothing)).sum(-1), counted.sum(-1)
    return torch.where(total > 0, 1 - distinct / total.clamp(min=1), 0.0)
