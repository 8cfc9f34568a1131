# SPDX-License-Identifier: Apache-2.0
"""Partially masked canvases and the positions to score on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class View:
    """
    One partially masked canvas per row, and what its scores count for.

    A row's log-probability of token `i` is the sum over views of `weights[:, i]` times the log-probability of that
    token on the view. Positions of weight 0 are not scored at all, and rows without any weight are not forwarded.

    Args:
        prompt_ids (`torch.Tensor` of shape `(rows, prompt_length)`, int64):
            The prompt as the model sees it on this view.
        completion_ids (`torch.Tensor` of shape `(rows, length)`, int64):
            The completion as the model sees it: some tokens, the rest masked.
        weights (`torch.Tensor` of shape `(rows, length)`):
            Weight of each position.
    """

    prompt_ids: torch.Tensor
    completion_ids: torch.Tensor
    weights: torch.Tensor
