# SPDX-License-Identifier: Apache-2.0
"""
The objectives of [DMPO](https://huggingface.co/papers/2510.08233): fit the reward-tilted reference policy
`p* ∝ p_ref exp(r / alpha)` by weighted cross-entropy (WDCE), or by telling its samples from the old policy's (WDDO).

Completions come from the old policy, so each has the importance weight `p*/p_old`, normalised over its group:

    w = softmax_i( c (log p_ref(o_i) - log p_old(o_i) + r_i / alpha) )

`c = 1` is the target itself; below, the target is `p_old^(1-c) p*^c`, a proximal step towards it. The weights do not
contain the current policy, so a batch serves several updates without ratios or clipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from ..likelihood import Estimator
from .base import Groups, LossInputs, Objective


WEIGHT_BASELINES = ("none", "group", "negative", "model")

# The smallest step: the weights are then nearly uniform.
_MIN_COEFFICIENT = 0.01


def adaptive_coefficient(groups: Groups, exponents: torch.Tensor, min_ess: float) -> torch.Tensor:
    """
    The largest proximal coefficient, at most 1, at which a group keeps a share of its effective sample size.

    Args:
        groups ([`Groups`]):
            The completions.
        exponents (`torch.Tensor` of shape `(groups, num_generations)`):
            Log-weights at coefficient 1.
        min_ess (`float`):
            Effective sample size, `1 / (G sum w^2)`, as a share of the group, between 0 and 1.

    Returns:
        `torch.Tensor` of shape `(groups, 1)`, between 0.01 and 1.
    """
    low = torch.full_like(exponents[:, :1], _MIN_COEFFICIENT)
    high = torch.ones_like(low)
    # It falls with the coefficient: d log(sum w^2)/dc >= 0, since the tilted mean of the exponents rises with c.
    for _ in range(40):
        middle = (low + high) / 2
        enough = effective_sample_size(groups, groups.softmax(middle * exponents)) >= min_ess
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    whole = effective_sample_size(groups, groups.softmax(exponents)) >= min_ess
    return torch.where(whole, torch.ones_like(low), low)


def effective_sample_size(groups: Groups, weights: torch.Tensor) -> torch.Tensor:
    """`1 / (G sum w^2)` of weights that sum to 1, `(groups, 1)`, with the completions that are counted for G."""
    return 1 / (groups.sizes * weights.square().sum(-1, keepdim=True))


@dataclass
class TargetWeights:
    """
    Weights of a group's completions towards the target distribution.

    Args:
        alpha (`float`):
            Temperature of the target distribution.
        coefficient (`float`, *optional*, defaults to `1.0`):
            The proximal coefficient c.
        min_ess (`float`, *optional*):
            Chooses c per group instead, see [`adaptive_coefficient`].
    """

    alpha: float
    coefficient: float = 1.0
    min_ess: float | None = None

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"`alpha` must be positive, got {self.alpha}: it is the temperature of the target.")
        if not 0 < self.coefficient <= 1:
            raise ValueError(f"`coefficient` must lie in (0, 1], got {self.coefficient}.")
        if self.min_ess is not None and not 0 < self.min_ess < 1:
            raise ValueError(f"`min_ess` must lie between 0 and 1, got {self.min_ess}.")

    def __call__(self, groups: Groups) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """The weights of each group, which sum to 1; the coefficients they were made with; and values to log."""
        log_ratio = cast(torch.Tensor, groups.log_ratio)
        exponents = log_ratio + groups.advantages / self.alpha  # a group's mean reward cancels in the softmax
        coefficient = torch.full_like(exponents[:, :1], self.coefficient)
        if self.min_ess is not None:
            coefficient = adaptive_coefficient(groups, exponents, self.min_ess)
        weights = groups.softmax(coefficient * exponents)
        used = groups.counted.any(-1)
        metrics = {
            "target/ess": effective_sample_size(groups, weights)[used],
            "target/coefficient": coefficient[used],
            "target/log_ratio": log_ratio[groups.counted].abs(),
        }
        return weights, coefficient, metrics


class WDCE(Objective):
    """
    Weighted denoising cross-entropy, with a baseline subtracted from the weights.

        loss = - mean_i G a_i ELBO(o_i) / (L + 1)

    with `L` the length of the canvas, which sets the scale and nothing else. All weights `w` are positive, so that a
    small group without a good completion still pushes bad ones up; a baseline makes those weights negative:

    | `baseline` | `a_i` |
    |---|---|
    | `"model"` | `w_i - p_theta(o_i)/p_old(o_i)`, normalised over a micro-batch of all processes |
    | `"group"` | `w_i - 1/G` |
    | `"none"` | `w_i` |
    | `"negative"` | `w_i - w-_i`, with `w-` as `w` for the reward `-r` (the authors' default) |

    What `"model"` subtracts is zero in expectation whatever the current policy is; `"group"` is the same thing as long
    as the policy has not moved, and lowers completions without bound when a batch is used again and again. With
    `"negative"` the target is no fixed point: trained to convergence, it maximises the reward.

    Args:
        target ([`TargetWeights`]):
            The weights `w`.
        sequence_estimator ([`~trl_diffusion.likelihood.Estimator`]):
            Scores `log p_ref - log p_old`.
        baseline (`str`, *optional*, defaults to `"model"`):
            The baseline.
        baseline_strength (`float`, *optional*, defaults to `1.0`):
            Factor on it.
    """

    def __init__(
        self,
        target: TargetWeights,
        sequence_estimator: Estimator,
        baseline: str = "model",
        baseline_strength: float = 1.0,
    ) -> None:
        self.target = target
        self.sequence_estimator = sequence_estimator
        if baseline not in WEIGHT_BASELINES:
            raise ValueError(f"`baseline` must be one of {', '.join(map(repr, WEIGHT_BASELINES))}, got {baseline!r}.")
        if not baseline_strength >= 0:
            raise ValueError(f"`baseline_strength` must not be negative, got {baseline_strength}.")
        self.baseline = baseline
        self.baseline_strength = baseline_strength
        self.needs_old = baseline == "model"

    def group_weights(self, groups):
        weights, coefficient, metrics = self.target(groups)
        baseline = torch.zeros_like(weights)
        if self.baseline == "group":
            baseline = groups.counted.to(weights.dtype) / groups.sizes
        elif self.baseline == "negative":
            baseline = groups.softmax(coefficient * (groups.log_ratio - groups.advantages / self.target.alpha))
        weights = groups.sizes * (weights - self.baseline_strength * baseline)
        return weights, metrics | {"row_weight/abs": weights[groups.counted].abs()}

    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        weights = cast(torch.Tensor, inputs.row_weights)
        elbo = (inputs.log_probs * inputs.mask).sum(-1)
        if self.baseline == "model":
            gap = elbo.detach() - (inputs.old_log_probs * inputs.mask).sum(-1)
            everyone = inputs.gather(gap)
            weights = weights - self.baseline_strength * len(everyone) * (gap - everyone.logsumexp(0)).exp()
        return -(weights * elbo).mean() / (inputs.mask.shape[1] + 1), {}


class WDDO(Objective):
    """
    Weighted direct discriminative optimisation: a logistic classifier between the target's samples (the old policy's,
    weighted) and the old policy's own, whose logit is `beta` times the log-ratio of current to old policy.

        loss = - mean_i [ G w_i log sigmoid(beta g_i) + gamma log sigmoid(-beta g_i) ],  g = ELBO_theta - ELBO_old

    With `gamma = beta = 1` its optimum is the target, `g = log p*/p_old`.

    Args:
        target ([`TargetWeights`]):
            The weights `w`.
        sequence_estimator ([`~trl_diffusion.likelihood.Estimator`]):
            Scores `log p_ref - log p_old`.
        discriminator_scale (`float`, *optional*, defaults to `1.0`):
            `beta`.
        fake_weight (`float`, *optional*, defaults to `1.0`):
            `gamma`.
    """

    needs_old = True

    def __init__(
        self,
        target: TargetWeights,
        sequence_estimator: Estimator,
        discriminator_scale: float = 1.0,
        fake_weight: float = 1.0,
    ) -> None:
        self.target = target
        self.sequence_estimator = sequence_estimator
        for name, value in (("discriminator_scale", discriminator_scale), ("fake_weight", fake_weight)):
            if not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        self.discriminator_scale = discriminator_scale
        self.fake_weight = fake_weight

    def group_weights(self, groups):
        weights, _, metrics = self.target(groups)
        return groups.sizes * weights, metrics

    def __call__(self, inputs: LossInputs) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        weights = cast(torch.Tensor, inputs.row_weights)
        gap = ((inputs.log_probs - inputs.old_log_probs) * inputs.mask).sum(-1)
        logit = self.discriminator_scale * gap
        real = weights * torch.nn.functional.logsigmoid(logit)
        fake = self.fake_weight * torch.nn.functional.logsigmoid(-logit)
        return -(real + fake).mean(), {"log_ratio": gap.detach()}
