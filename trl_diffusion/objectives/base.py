# SPDX-License-Identifier: Apache-2.0
"""
Objectives: from scores to a loss, for the methods whose loss is not one of TRL's.

An objective is a pure function of tensors. It knows nothing of models, views or trainers, and says what it needs:
whether the old and the reference policy are to be scored on the same views, and whether rows have weights that depend
on their whole group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from ..likelihood import Estimator, Scores


@dataclass
class LossInputs:
    """
    What an objective may look at: some rows of a batch, groups in no particular order.

    Args:
        scores ([`~trl_diffusion.likelihood.Scores`]):
            The current policy's, with gradient.
        mask (`torch.Tensor` of shape `(rows, length)`, bool):
            The tokens of the text.
        advantages (`torch.Tensor` of shape `(rows,)`):
            TRL's advantages.
        old_log_probs (`torch.Tensor` of shape `(rows, length)`):
            The old policy's estimate per token on the same views; the current one's, detached, on the first update.
        ref_log_probs (`torch.Tensor` of shape `(rows, length)`, *optional*):
            The reference policy's, if there is one.
        row_weights (`torch.Tensor` of shape `(rows,)`, *optional*):
            What `group_weights` returned for these rows.
    """

    scores: Scores
    mask: torch.Tensor
    advantages: torch.Tensor
    old_log_probs: torch.Tensor
    ref_log_probs: torch.Tensor | None = None
    row_weights: torch.Tensor | None = None

    @property
    def log_probs(self) -> torch.Tensor:
        """The current policy's estimate per token, `(rows, length)`."""
        return self.scores.token_log_probs

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each text, `(rows,)`, at least 1."""
        return self.mask.sum(-1).clamp(min=1)


class Objective(ABC):
    """Turns scores into a loss."""

    # Whether the old policy's scores are looked at, and whether the reference policy's are.
    needs_old: bool = False
    needs_reference: bool = False

    # Scores each rollout once, when it is made, under the old and the reference policy, for `group_weights`.
    sequence_estimator: Estimator | None = None

    def group_weights(
        self, advantages: torch.Tensor, log_ratio: torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]] | None:
        """
        Weights of the completions, from their whole group wherever its members live; frozen until the next rollout.

        Args:
            advantages (`torch.Tensor` of shape `(groups, num_generations)`):
                TRL's advantages.
            log_ratio (`torch.Tensor` of shape `(groups, num_generations)`, *optional*):
                Log-probability of each completion under the reference policy minus that under the old policy, as
                `sequence_estimator` has it.

        Returns:
            `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the weights, `(groups, num_generations)`, and values to log
            the mean of; `None` if rows have no weights.
        """
        return None

    @abstractmethod
    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Returns:
            `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the loss, a mean over rows, and values to log the mean of.
        """
