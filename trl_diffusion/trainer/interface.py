# SPDX-License-Identifier: Apache-2.0
"""What TRL's training step asks of a diffusion trainer, in the terms of this library."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..generation import Trajectory
from ..likelihood import Estimator, Pass, RolloutBatch, Scores, View
from ..objectives import Objective
from .loss_columns import LossColumns


@dataclass
class Rollout:
    """
    What the sampler made of a batch of prompts, in the order of its rows.

    Args:
        trajectory ([`~trl_diffusion.Trajectory`]):
            How the canvases were written.
        draw_seeds (`torch.Tensor` of shape `(rows, draws)`, int64):
            Randomness of the estimator, one column per inner iteration.
        sequence_seeds (`torch.Tensor` of shape `(rows, 1)`, int64):
            Randomness of the objective's sequence estimator.
        has_reward (`torch.Tensor` of shape `(rows of all processes,)`, bool, *optional*):
            Whether any reward function had something to say.
        wanted (`list[str]`):
            The policies whose scores TRL has asked for, `"old"` or `"ref"`.
    """

    trajectory: Trajectory
    draw_seeds: torch.Tensor
    sequence_seeds: torch.Tensor
    has_reward: torch.Tensor | None = None
    wanted: list[str] = field(default_factory=list)


class MethodInterface:
    """The methods that `trl_hooks` calls, and `base_trainer.py` implements."""

    def rollout(self, prompt_ids: list[list[int]]) -> Rollout:
        """Sample one completion per prompt."""
        raise NotImplementedError

    def score(
        self,
        model: torch.nn.Module,
        batch: RolloutBatch,
        views: list[View],
        entropies: str = "none",
        thresholds: bool = False,
    ) -> Scores:
        """Score the rollouts' tokens under `model` on some views, and their thresholds if they are learned."""
        raise NotImplementedError

    def row_weights(
        self, objective: Objective, output: dict[str, torch.Tensor], rollout: Rollout
    ) -> dict[str, torch.Tensor]:
        """The objective's weights of the local rows, from all rows; rows without a reward leave the loss."""
        raise NotImplementedError

    def fixed_scores(self, batch: RolloutBatch, wanted: list[str]) -> dict[str, torch.Tensor]:
        """Scores `(rows, draws, length)` under the policies that do not change until the next rollout."""
        raise NotImplementedError

    def passes(self, estimator: Estimator, batch: RolloutBatch, draw: int) -> list[Pass]:
        """The estimator's passes, equally many in all processes."""
        raise NotImplementedError

    def token_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor) -> torch.Tensor | None:
        """Non-negative factors `(rows, length)` on the tokens' advantages, or `None` if all count alike."""
        raise NotImplementedError

    def threshold_advantages(self, advantages: torch.Tensor) -> torch.Tensor:
        """Advantages of the learned thresholds, from those of the completions, `(rows,)` each."""
        raise NotImplementedError

    def threshold_columns(
        self, texts: torch.Tensor, advantages: torch.Tensor, batch: RolloutBatch, scores: Scores
    ) -> LossColumns:
        """The thresholds as tokens of their own, which the old policy drew with a known probability."""
        raise NotImplementedError

    def own_loss(
        self, objective: Objective, inputs: dict[str, torch.Tensor], batch: RolloutBatch, scores: Scores
    ) -> torch.Tensor:
        """The loss of the method's own objective, on one pass."""
        raise NotImplementedError

    def reward_columns(self, trajectory: Trajectory) -> dict[str, list]:
        """Columns that reward functions receive by name, one value per row."""
        raise NotImplementedError
