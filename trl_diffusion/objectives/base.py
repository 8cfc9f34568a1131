# SPDX-License-Identifier: Apache-2.0
"""
Objectives: from scores to a loss, for the methods whose loss is not one of TRL's.

An objective is a pure function of tensors. It knows nothing of models, views or trainers, and says what it needs:
whether the old and the reference policy are to be scored on the same views, and whether rows have weights that depend
on other rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..likelihood import Estimator, Scores


def identity(values: torch.Tensor) -> torch.Tensor:
    """Without other processes, there is nothing to gather."""
    return values


@dataclass
class Groups:
    """
    All completions of a batch of rollouts, wherever their rows live, in their groups.

    Args:
        advantages (`torch.Tensor` of shape `(groups, num_generations)`):
            TRL's advantages.
        lengths (`torch.Tensor` of shape `(groups, num_generations)`):
            Tokens of each text.
        counted (`torch.Tensor` of shape `(groups, num_generations)`, bool):
            Whether the completion takes part: it has a reward, and is no truncated one that is to be left out.
        log_ratio (`torch.Tensor` of shape `(groups, num_generations)`, *optional*):
            Log-probability of each completion under the reference policy minus that under the old policy, as the
            objective's `sequence_estimator` has it.
    """

    advantages: torch.Tensor
    lengths: torch.Tensor
    counted: torch.Tensor
    log_ratio: torch.Tensor | None = None

    def softmax(self, values: torch.Tensor) -> torch.Tensor:
        """Softmax within each group over the completions that are counted; zero where none is."""
        weights = values.masked_fill(~self.counted, -torch.inf).softmax(-1)
        return weights.where(self.counted.any(-1, keepdim=True), 0.0)

    @property
    def sizes(self) -> torch.Tensor:
        """Completions that are counted in each group, `(groups, 1)`, at least 1."""
        return self.counted.sum(-1, keepdim=True).clamp(min=1)

    def relative(self, values: torch.Tensor) -> torch.Tensor:
        """Non-negative values of the completions, as multiples of their mean over all that are counted."""
        values = values * self.counted
        return values / (values.sum() / self.counted.sum().clamp(min=1)).clamp(min=torch.finfo(values.dtype).tiny)


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
        gather (`Callable`, *optional*):
            Collects a tensor's rows from the micro-batches of all processes.
    """

    scores: Scores
    mask: torch.Tensor
    advantages: torch.Tensor
    old_log_probs: torch.Tensor
    ref_log_probs: torch.Tensor | None = None
    row_weights: torch.Tensor | None = None
    gather: Callable[[torch.Tensor], torch.Tensor] = identity

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

    def group_weights(self, groups: Groups) -> tuple[torch.Tensor, dict[str, torch.Tensor]] | None:
        """
        Weights of the completions that depend on each other, frozen until the next rollout.

        Args:
            groups ([`Groups`]):
                The completions.

        Returns:
            `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the weights, `(groups, num_generations)`, and values to log
            the mean of; `None` if rows have no weights.
        """
        return None

    def idle(self, advantages: torch.Tensor, row_weights: torch.Tensor | None) -> torch.Tensor | None:
        """
        Completions whose loss has no gradient, whatever the policy has become: they need not be scored.

        Args:
            advantages (`torch.Tensor` of shape `(rows,)`):
                TRL's advantages.
            row_weights (`torch.Tensor` of shape `(rows,)`, *optional*):
                What `group_weights` returned for these rows.

        Returns:
            `torch.Tensor` of shape `(rows,)`, bool; `None` if that cannot be told.
        """
        return None

    @abstractmethod
    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Returns:
            `tuple[torch.Tensor, dict[str, torch.Tensor]]`: the loss, a mean over rows, and values to log the mean of.
            Of values per row, `(rows,)`, only those of rows that are scored are logged.
        """
