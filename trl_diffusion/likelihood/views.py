# SPDX-License-Identifier: Apache-2.0
"""What estimators read, rollouts, and return: partially masked canvases and the positions to score on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..generation.trajectory import Trajectory


@dataclass
class RolloutBatch:
    """
    Rollouts whose tokens are to be scored.

    Args:
        prompt_ids (`torch.Tensor` of shape `(rows, prompt_length)`, int64):
            Prompts, padded on the left.
        prompt_mask (`torch.Tensor` of shape `(rows, prompt_length)`):
            `0` on padding.
        scored (`torch.Tensor` of shape `(rows, length)`, bool):
            The tokens that the loss counts: the text up to its end, and for the estimators that are exact what else
            took part in writing it, see [`~trl_diffusion.Trajectory.decisive_mask`]. All of them are written.
        trajectory ([`~trl_diffusion.Trajectory`]):
            How the canvases were written.
        seeds (`torch.Tensor` of shape `(rows, draws)`, int64):
            Randomness of the estimator, one column per draw: each inner iteration has its own.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    scored: torch.Tensor
    trajectory: Trajectory
    seeds: torch.Tensor

    def __getitem__(self, rows: slice) -> RolloutBatch:
        return RolloutBatch(
            self.prompt_ids[rows], self.prompt_mask[rows], self.scored[rows], self.trajectory[rows], self.seeds[rows]
        )

    def __len__(self) -> int:
        return len(self.trajectory)


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


@dataclass
class Pass:
    """
    Views that go through the model together, forward and backward.

    The loss of a draw is the mean over its passes. Their gradients are accumulated one after the other, so that memory
    does not grow with their number.

    Args:
        views (`list[View]`):
            The views, over the same rows.
        token_weights (`torch.Tensor` of shape `(rows, length)`, *optional*):
            Weights of the tokens in the loss, for passes that score a part of the tokens: averaged over passes and
            draws, each has weight 1. By default the pass scores all tokens, and each counts once.
    """

    views: list[View]
    token_weights: torch.Tensor | None = None
