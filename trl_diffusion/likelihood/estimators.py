# SPDX-License-Identifier: Apache-2.0
"""
Estimators: from a rollout to the views its tokens are scored on.

The likelihood of a masked diffusion LM's completion has no closed form that is cheap, so every method scores the
tokens from some states: the trajectory's own or coarser ones (`trajectory_estimators.py`), or the final text masked
anew (`remasking_estimators.py`). An estimator is that choice and nothing else. Given the seeds it is deterministic:
old, reference and current policy score the same views, whatever the batch, the shuffle or the rank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from .views import Pass, RolloutBatch, View


class Estimator(ABC):
    """Turns rollouts into views."""

    # Whether the rows of a group share their seed. Then views without the completion are the same for the whole group,
    # and are scored once.
    seed_per_group: ClassVar[bool] = False

    # Whether completions of a prompt are scored on canvases that they have in common, so that it pays to score them
    # together.
    shares_canvases: ClassVar[bool] = False

    # Whether tokens are scored on the very canvases they were written on. Then the old policy's scores are those that
    # the sampler recorded, and tokens behind the end of the text are scored, too, if the text depends on them.
    exact: ClassVar[bool] = False

    @abstractmethod
    def passes(self, batch: RolloutBatch, draw: int, mask_token_id: int) -> list[Pass]:
        """
        Args:
            batch ([`~trl_diffusion.likelihood.RolloutBatch`]):
                The rollouts.
            draw (`int`):
                Column of `batch.seeds` to use. All randomness comes from there.
            mask_token_id (`int`):
                The mask token.

        Returns:
            `list[Pass]`: over the same rows. Only scored tokens have a weight.
        """


class NoTokens(Estimator):
    """Scores no token: for training that leaves the model as it is, where only the learned thresholds count."""

    exact = True

    def passes(self, batch, draw, mask_token_id):
        nothing = torch.zeros_like(batch.trajectory.log_probs)
        view = View(batch.prompt_ids, batch.trajectory.state_before(0, mask_token_id), nothing)
        return [Pass([view], token_weights=nothing)]


def split_passes(views: list[View], views_per_forward: int | None) -> list[Pass]:
    """
    Distribute views of which each token is scored on one only over passes.

    Args:
        views (`list[View]`):
            Views with disjoint weights of 0 and 1.
        views_per_forward (`int`, *optional*):
            Views in one pass. Defaults to all of them. Views that score nothing are left out.

    Returns:
        `list[Pass]`: each token has the number of passes as its weight where it is scored, so that the mean over
        passes counts it once.
    """
    useful = torch.stack([view.weights for view in views]).flatten(1).any(1).tolist()
    views = [view for view, is_useful in zip(views, useful, strict=True) if is_useful] or views[:1]
    size = views_per_forward or len(views)
    chunks = [views[start : start + size] for start in range(0, len(views), size)]
    return [Pass(chunk, len(chunks) * torch.stack([view.weights for view in chunk]).sum(0)) for chunk in chunks]


def check_views_per_forward(views_per_forward: int | None) -> None:
    """
    Raises:
        `ValueError`: If it is not positive.
    """
    if views_per_forward is not None and views_per_forward < 1:
        raise ValueError(f"`views_per_forward` must be at least 1, got {views_per_forward}.")
