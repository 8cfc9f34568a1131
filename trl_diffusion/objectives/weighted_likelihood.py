# SPDX-License-Identifier: Apache-2.0
"""Objectives that raise or lower each completion's log-likelihood by a fixed weight: no ratio, no clipping."""

from __future__ import annotations

import torch

from .base import LossInputs, Objective


class WeightedLikelihood(Objective):
    """
    Minus the weighted log-likelihood, with the weights of [wd1](https://huggingface.co/papers/2507.08838):

        loss = mean_i (w-_i - w+_i) log p(o_i),   w+ = softmax(psi A),  w- = softmax(-psi A)  over the group

    Args:
        psi (`float`, *optional*, defaults to `1.0`):
            Inverse temperature of the softmax.
    """

    def __init__(self, psi: float = 1.0) -> None:
        if not psi > 0:
            raise ValueError(f"`psi` must be positive, got {psi}.")
        self.psi = psi

    def group_weights(self, groups):
        weights = groups.softmax(self.psi * groups.advantages) - groups.softmax(-self.psi * groups.advantages)
        return weights, {"row_weight/abs": weights.abs()}

    def idle(self, advantages, row_weights):
        return row_weights == 0

    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        assert inputs.row_weights is not None
        log_likelihood = (inputs.log_probs * inputs.mask).sum(-1)
        return -(inputs.row_weights * log_likelihood).mean(), {}
