# SPDX-License-Identifier: Apache-2.0
"""
Estimators: from a trajectory to the views its tokens are scored on.

The likelihood of a masked diffusion LM's completion has no closed form that is cheap, so every method scores the
tokens from some coarsening of the states they were written in. An estimator is that choice and nothing else. Given the
seeds it is deterministic: old, reference and current policy score the same views, whatever the batch, the shuffle or
the rank.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from ..generation.noise import uniform
from ..generation.trajectory import Trajectory
from .views import View


class Estimator(ABC):
    """Turns trajectories into views."""

    # Whether the rows of a group share their seed. Then views without the completion are the same for the whole group,
    # and are scored once.
    seed_per_group: ClassVar[bool] = False

    @abstractmethod
    def views(
        self,
        prompt_ids: torch.Tensor,
        prompt_mask: torch.Tensor,
        trajectory: Trajectory,
        seeds: torch.Tensor,
        mask_token_id: int,
    ) -> list[View]:
        """
        Args:
            prompt_ids (`torch.Tensor` of shape `(rows, prompt_length)`, int64):
                Prompts, padded on the left.
            prompt_mask (`torch.Tensor` of shape `(rows, prompt_length)`):
                `0` on padding.
            trajectory ([`~trl_diffusion.generation.Trajectory`]):
                The rollouts.
            seeds (`torch.Tensor` of shape `(rows,)`, int64):
                The randomness of this draw.
            mask_token_id (`int`):
                The mask token.

        Returns:
            `list[View]`: over the same rows. Only written positions have a weight.
        """


class MeanField(Estimator):
    """
    Every token given the fully masked completion and a randomly masked prompt: diffu-GRPO's estimator.

    [d1](https://huggingface.co/papers/2504.12216), sec. 3. One view; the completion is not on it, so that a group
    costs one row. The prompt mask is drawn once per group, which leaves the estimator's mean as it is.

    Args:
        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked.
    """

    seed_per_group = True

    def __init__(self, p_mask_prompt: float = 0.15) -> None:
        if not 0 <= p_mask_prompt < 1:
            raise ValueError(f"`p_mask_prompt` must lie in [0, 1), got {p_mask_prompt}.")
        self.p_mask_prompt = p_mask_prompt

    def views(self, prompt_ids, prompt_mask, trajectory, seeds, mask_token_id):
        if self.p_mask_prompt > 0:
            # Counted from the right, where prompts are aligned: a prompt's mask must not depend on its padding.
            coins = uniform(seeds, (prompt_ids.shape[1],)).flip(-1)
            hidden = (coins < self.p_mask_prompt) & (prompt_mask != 0)
            prompt_ids = prompt_ids.masked_fill(hidden, mask_token_id)
        nothing_written = trajectory.state_before(0, mask_token_id)
        return [View(prompt_ids, nothing_written, (trajectory.unmask_step >= 0).float())]


class TwoTimesMeanField(Estimator):
    """
    Every token given one of two states of its own rollout: the fully masked canvas, or the canvas after `tau` steps.

    [DiFFPO](https://huggingface.co/papers/2510.02212), sec. 3. `tau` is uniform over `0 … nfe - 1`, per sequence.
    Tokens written in the first `tau` steps are scored on the fully masked canvas, the others on the state after `tau`
    steps. The score is exact for tokens of the first step, and of step `tau`.
    """

    def views(self, prompt_ids, prompt_mask, trajectory, seeds, mask_token_id):
        tau = self.draw_tau(trajectory.nfe, seeds)
        written = trajectory.unmask_step >= 0
        early = trajectory.unmask_step < tau[:, None]
        return [
            View(prompt_ids, trajectory.state_before(0, mask_token_id), (written & early).float()),
            View(prompt_ids, trajectory.state_before(tau, mask_token_id), (written & ~early).float()),
        ]

    @staticmethod
    def draw_tau(nfe: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """`tau` of each row, of shape `(rows,)`."""
        return (uniform(seeds, ()) * nfe).long()


class ExactSteps(Estimator):
    """
    Every token given the very canvas it was written on: the trajectory's exact likelihood, one view per step.

    As dear as the rollout itself. The yardstick of the other estimators, and the behaviour policy's log-probabilities
    a second time.
    """

    def views(self, prompt_ids, prompt_mask, trajectory, seeds, mask_token_id):
        return [
            View(
                prompt_ids,
                trajectory.state_before(step, mask_token_id),
                (trajectory.unmask_step == step).float(),
            )
            for step in range(int(trajectory.nfe.max()))
        ]
