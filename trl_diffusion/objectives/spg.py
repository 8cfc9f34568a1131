# SPDX-License-Identifier: Apache-2.0
"""The sandwiched policy gradient."""

from __future__ import annotations

import math
from typing import cast

import torch

from .base import LossInputs, Objective


class SandwichedPolicyGradient(Objective):
    r"""
    [SPG](https://huggingface.co/papers/2510.09541): raise a lower bound of the log-likelihood of good completions, and
    lower a mixture of an upper and a lower bound of that of bad ones.

        loss = - mean_i of  |o_i|/mean|o| A (ELBO if A >= 0 else w EUBO + (1 - w) ELBO)
        ELBO = mean over masks of the mean of log p over masked tokens
        EUBO = mean over tokens of (1/b) log( mean over masks of p^b 1{masked} / t )

    with `t` the share of the text that a mask hides, and the mean length that of all completions of a batch of
    rollouts. A token that no mask hides has no upper bound and leaves the mean.

    Args:
        upper_weight (`float`, *optional*, defaults to `0.5`):
            The weight w of the upper bound.
        upper_exponent (`float`, *optional*, defaults to `1.5`):
            The exponent b of the upper bound, at least 1.
    """

    def __init__(self, upper_weight: float = 0.5, upper_exponent: float = 1.5) -> None:
        if not 0 <= upper_weight <= 1:
            raise ValueError(f"`upper_weight` must lie in [0, 1], got {upper_weight}.")
        if not upper_exponent >= 1:
            raise ValueError(f"`upper_exponent` must be at least 1, got {upper_exponent}.")
        self.upper_weight = upper_weight
        self.upper_exponent = upper_exponent

    def group_weights(self, groups):
        return groups.relative(groups.lengths.float()), {}

    def idle(self, advantages, row_weights):
        return advantages == 0

    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        lower = (inputs.log_probs * inputs.mask).sum(-1)
        upper = self.upper_bound(inputs)
        bound = torch.where(inputs.advantages >= 0, lower, self.upper_weight * upper + (1 - self.upper_weight) * lower)
        loss = -(cast(torch.Tensor, inputs.row_weights) * inputs.advantages * bound).mean()
        return loss, {"elbo": lower.detach(), "eubo": upper.detach()}

    def upper_bound(self, inputs: LossInputs) -> torch.Tensor:
        """The EUBO, `(rows,)`."""
        masked = inputs.scores.weights != 0  # (rows, views, length)
        rate = masked.sum(-1, keepdim=True) / inputs.lengths[:, None, None]
        log_terms = self.upper_exponent * inputs.scores.log_probs - rate.clamp(min=1e-9).log()
        # Not -inf: a token that no view masks would have the gradient inf - inf.
        log_terms = log_terms.masked_fill(~masked, torch.finfo(log_terms.dtype).min)
        log_mean = log_terms.logsumexp(1) - math.log(masked.shape[1])
        seen = masked.any(1)
        per_token = torch.where(seen, log_mean / self.upper_exponent, 0.0)
        return per_token.sum(-1) / seen.sum(-1).clamp(min=1)
