# SPDX-License-Identifier: Apache-2.0
"""How far an estimator's token distributions are from those the tokens were drawn from, by denoising step."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..likelihood import Estimator, ExactSteps, RolloutBatch
from ..models import DiffusionSpec
from ..models.spec import predict


@dataclass(frozen=True)
class LikelihoodGap:
    """
    A divergence by denoising step.

    Args:
        mean (`list[float]`):
            KL divergence per token, in nats, of the tokens written in each step; NaN for a step that wrote none.
        standard_error (`list[float]`):
            Its standard error, from the spread over tokens.
    """

    mean: list[float]
    standard_error: list[float]


@torch.no_grad()
def likelihood_gap(
    model: torch.nn.Module, spec: DiffusionSpec, batch: RolloutBatch, estimator: Estimator, temperature: float = 1.0
) -> LikelihoodGap:
    """
    The KL divergence from the policy's token distributions to an estimator's, on the canvases of given rollouts.

    For the estimators of the trajectory, whose scores are log-probabilities: figure 2 of
    [DiFFPO](https://huggingface.co/papers/2510.02212). Averaged over the draws of `batch.seeds`. Holds a distribution
    over the vocabulary for each scored token: pass a few rows at a time where the vocabulary is large.

    Args:
        model (`torch.nn.Module`):
            The policy.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it.
        batch ([`~trl_diffusion.likelihood.RolloutBatch`]):
            The rollouts.
        estimator ([`~trl_diffusion.likelihood.Estimator`]):
            One whose views score each token once.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of the policy.

    Returns:
        [`LikelihoodGap`]
    """
    policy = _distributions(model, spec, batch, ExactSteps(), 0, temperature)
    divergence = torch.zeros_like(batch.trajectory.log_probs)[batch.scored]
    draws = batch.seeds.shape[1]
    for draw in range(draws):
        surrogate = _distributions(model, spec, batch, estimator, draw, temperature)
        # Impossible words contribute nothing, and their log-probabilities may be infinite.
        divergence += (policy.exp() * (policy.clamp(min=-1e4) - surrogate.clamp(min=-1e4))).sum(-1) / draws
    step_of = batch.trajectory.unmask_step[batch.scored]
    means, errors = [], []
    for step in range(int(batch.trajectory.nfe.max())):
        values = divergence[step_of == step]
        means.append(values.mean().item())
        errors.append((values.std() / len(values) ** 0.5).item() if len(values) > 1 else float("nan"))
    return LikelihoodGap(means, errors)


def _distributions(
    model: torch.nn.Module,
    spec: DiffusionSpec,
    batch: RolloutBatch,
    estimator: Estimator,
    draw: int,
    temperature: float,
) -> torch.Tensor:
    """Log-probabilities of all words at each scored token, `(batch.scored.sum(), vocabulary)`."""
    which = torch.full(batch.scored.shape, -1, device=batch.scored.device)
    which[batch.scored] = torch.arange(int(batch.scored.sum()), device=which.device)
    visible = torch.cat([batch.prompt_mask, batch.prompt_mask.new_ones(batch.scored.shape)], dim=1)
    parts: list[torch.Tensor] = []
    places = []

    def log_softmax(logits: torch.Tensor, _: slice) -> tuple[torch.Tensor]:
        return ((logits / temperature).log_softmax(-1),)

    for part in estimator.passes(batch, draw, spec.mask_token_id):
        for view in part.views:
            positions = torch.cat([torch.zeros_like(batch.prompt_mask, dtype=torch.bool), view.weights != 0], dim=1)
            canvas = torch.cat([view.prompt_ids, view.completion_ids], dim=1)
            parts += predict(model, spec, canvas, visible, positions, log_softmax).reduced
            places.append(which[view.weights != 0])
    return torch.cat(parts)[torch.cat(places).argsort()]
