# SPDX-License-Identifier: Apache-2.0
"""Clipped policy gradients with the whole completion as one action."""

from __future__ import annotations

import torch

from .base import LossInputs, Objective


class SequenceRatio(Objective):
    """
    A clipped ratio of sequence likelihoods, with a likelihood estimate (the ELBO) in the likelihood's place.

    [ESPO](https://huggingface.co/papers/2512.03759) takes the ratio per token, `exp((ELBO_theta - ELBO_old) / n)`;
    [GDPO](https://huggingface.co/papers/2510.08554) takes it whole, and divides the loss by `n` instead. The KL term
    is half the squared gap of the ELBOs of policy and reference (the k2 estimator), per token.

    Args:
        normalize_ratio (`bool`):
            Whether the ratio is taken per token.
        epsilon_low (`float`):
            Lower clipping range.
        epsilon_high (`float`):
            Upper clipping range.
        beta (`float`, *optional*, defaults to `0.0`):
            Coefficient of the KL term.
    """

    needs_old = True
    needs_reference = True

    def __init__(self, normalize_ratio: bool, epsilon_low: float, epsilon_high: float, beta: float = 0.0) -> None:
        self.normalize_ratio = normalize_ratio
        self.epsilon_low = epsilon_low
        self.epsilon_high = epsilon_high
        self.beta = beta

    def idle(self, advantages, row_weights):
        return advantages == 0 if self.beta == 0 else None

    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        advantages, lengths = inputs.advantages, inputs.lengths
        gap = ((inputs.log_probs - inputs.old_log_probs) * inputs.mask).sum(-1)
        ratio = (gap / lengths if self.normalize_ratio else gap).exp()
        clipped = ratio.clamp(1 - self.epsilon_low, 1 + self.epsilon_high)
        loss = -torch.min(ratio * advantages, clipped * advantages)
        if not self.normalize_ratio:
            loss = loss / lengths
        is_clipped = (ratio < 1 - self.epsilon_low) & (advantages < 0)
        is_clipped |= (ratio > 1 + self.epsilon_high) & (advantages > 0)
        metrics = {"sequence_ratio": ratio.detach(), "clip_ratio/region_mean": is_clipped.float()}
        if inputs.ref_log_probs is not None:
            kl = ((inputs.log_probs - inputs.ref_log_probs) * inputs.mask).sum(-1).square() / (2 * lengths)
            loss = loss + self.beta * kl
            metrics["kl"] = kl.detach()
        return loss.mean(), metrics
