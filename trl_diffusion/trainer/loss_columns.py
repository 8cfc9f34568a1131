# SPDX-License-Identifier: Apache-2.0
"""Columns that TRL's losses take for further tokens: learned thresholds, and a filler that keeps normalisers right."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class LossColumns:
    """
    Further tokens for TRL's loss, `(rows, columns)` each.

    Args:
        log_probs (`torch.Tensor`):
            Under the current policy.
        old_log_probs (`torch.Tensor`):
            Under the old one. The reference policy agrees with the current one.
        entropies (`torch.Tensor`):
            Entropies.
        advantages (`torch.Tensor`):
            Advantages.
        mask (`torch.Tensor`):
            What each counts.
    """

    log_probs: torch.Tensor
    old_log_probs: torch.Tensor
    entropies: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor


def ballast(mask: torch.Tensor, weights: torch.Tensor) -> LossColumns:
    """
    A token without effect that brings the sum of a row's weights back to the number of its tokens.

    Monte-Carlo weights take the place of TRL's tool mask, so that they weigh the tokens in all of its sums, the KL
    term and the metrics included. They must not weigh in its normalisers: these sums are random, or cover a part of
    the text, and dividing by them would bias the loss.
    """
    missing = (mask.sum(-1) - (weights * mask).sum(-1))[:, None]
    nothing = torch.zeros_like(missing)
    return LossColumns(nothing, nothing, nothing, nothing, missing)


def widen(
    inputs: dict[str, torch.Tensor], scores: tuple[torch.Tensor, torch.Tensor], columns: LossColumns
) -> tuple[torch.Tensor, torch.Tensor]:
    """Append columns to TRL's tensors, and to the scores that it will ask for."""
    mask = inputs["completion_mask"]
    advantages = inputs["advantages"] if inputs["advantages"].dim() == 2 else inputs["advantages"][:, None]
    appended = {
        "advantages": (advantages.expand(mask.shape), columns.advantages),
        "tool_mask": (inputs.get("tool_mask", torch.ones_like(mask)), columns.mask),
        "completion_mask": (mask, torch.ones_like(columns.mask, dtype=mask.dtype)),
        "completion_ids": (inputs["completion_ids"], torch.zeros_like(columns.mask, dtype=torch.long)),
        "old_per_token_logps": (inputs.get("old_per_token_logps"), columns.old_log_probs),
        "ref_per_token_logps": (inputs.get("ref_per_token_logps"), columns.log_probs.detach()),
    }
    for name, (tokens, further) in appended.items():
        if tokens is not None:
            inputs[name] = torch.cat([tokens, further], dim=1)
    log_probs, entropies = scores
    return torch.cat([log_probs, columns.log_probs], dim=1), torch.cat([entropies, columns.entropies], dim=1)
