# SPDX-License-Identifier: Apache-2.0
"""How far an estimator's token distributions are from those the tokens were drawn from, by denoising step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from ..generation.noise import derive_seed
from ..likelihood import Estimator, ExactSteps, RolloutBatch
from ..models import DiffusionSpec
from ..models.spec import predict
from .generations import Generations


@dataclass(frozen=True)
class LikelihoodGap:
    """
    A divergence by denoising step.

    Args:
        mean (`list[float]`):
            KL divergence per token, in nats, of the tokens written in each step; NaN for a step that wrote none.
        standard_error (`list[float]`):
            Its standard error, from the spread between prompts: tokens of a rollout share its canvases, and rollouts
            of a prompt are alike. NaN for a step that tokens of fewer than two prompts were written in.
    """

    mean: list[float]
    standard_error: list[float]


def rollout_batch(generations: Generations, *, draws: int = 1, device: torch.device | str = "cpu") -> RolloutBatch:
    """
    Saved samples as the rollouts that estimators score: of each the text, up to and including its end.

    Args:
        generations ([`Generations`]):
            The samples.
        draws (`int`, *optional*, defaults to `1`):
            Draws of a random estimator, each with seeds of its own, which follow from those of the samples.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            The model's.

    Returns:
        [`~trl_diffusion.likelihood.RolloutBatch`]: a row per sample.

    Raises:
        `ValueError`: If `draws` is less than 1, or there are no samples.
    """
    if draws < 1:
        raise ValueError(f"`draws` must be at least 1, got {draws}.")
    if not generations.samples:
        raise ValueError("`generations` is empty: there is nothing to score.")
    device = torch.device(device)
    trajectory = generations.trajectory.to(device)
    prompts = [torch.tensor(sample.prompt_ids, device=device) for sample in generations.samples]
    seeds = [[derive_seed(sample.seed, "gap", draw) for draw in range(draws)] for sample in generations.samples]
    return RolloutBatch(
        prompt_ids=pad_sequence(prompts, True, 0, padding_side="left"),
        prompt_mask=pad_sequence([torch.ones_like(ids) for ids in prompts], True, 0, padding_side="left"),
        scored=trajectory.text_mask(generations.config.eos_token_ids) & (trajectory.unmask_step >= 0),
        trajectory=trajectory,
        seeds=torch.tensor(seeds, device=device),
    )


@torch.no_grad()
def likelihood_gap(
    model: torch.nn.Module,
    spec: DiffusionSpec,
    batch: RolloutBatch,
    estimator: Estimator,
    temperature: float = 1.0,
    *,
    batch_size: int = 64,
) -> LikelihoodGap:
    """
    The KL divergence from the policy's token distributions to an estimator's, on the canvases of given rollouts.

    For the estimators of the trajectory, whose scores are log-probabilities: figure 2 of
    [DiFFPO](https://huggingface.co/papers/2510.02212). Averaged over the draws of `batch.seeds`. Distributions are
    whole, also where the rollouts were truncated (`top_k`, `top_p`).

    Args:
        model (`torch.nn.Module`):
            The policy.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it.
        batch ([`~trl_diffusion.likelihood.RolloutBatch`]):
            The rollouts. Those of saved samples are made by [`rollout_batch`].
        estimator ([`~trl_diffusion.likelihood.Estimator`]):
            One whose views score each token once.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of the policy.
        batch_size (`int`, *optional*, defaults to `64`):
            Rollouts at a time, of whose scored tokens distributions over the whole vocabulary are in memory.

    Returns:
        [`LikelihoodGap`]

    Raises:
        `ValueError`: If `temperature` is not positive, where a policy has no distribution, or `batch_size` is less
            than 1.
    """
    if temperature <= 0:
        raise ValueError(f"`temperature` must be positive, got {temperature}: greedy decoding has no distribution.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    parts = [batch[start : start + batch_size] for start in range(0, len(batch), batch_size)]
    divergence = torch.cat([_divergence(model, spec, part, estimator, temperature) for part in parts])
    step_of = batch.trajectory.unmask_step[batch.scored]
    prompts = batch.prompt_ids.masked_fill(batch.prompt_mask == 0, -1)
    prompt_of = prompts.unique(dim=0, return_inverse=True)[1][:, None].expand_as(batch.scored)[batch.scored]
    figures = []
    for step in range(int(batch.trajectory.nfe.max())):
        here = step_of == step
        figures.append(_clustered_mean(divergence[here], prompt_of[here]))
    return LikelihoodGap([mean for mean, _ in figures], [error for _, error in figures])


def _divergence(
    model: torch.nn.Module, spec: DiffusionSpec, batch: RolloutBatch, estimator: Estimator, temperature: float
) -> torch.Tensor:
    """Of each scored token, `(batch.scored.sum(),)`."""
    policy = _distributions(model, spec, batch, ExactSteps(), 0, temperature)
    divergence = torch.zeros_like(batch.trajectory.log_probs)[batch.scored]
    draws = batch.seeds.shape[1]
    for draw in range(draws):
        surrogate = _distributions(model, spec, batch, estimator, draw, temperature)
        # Impossible words contribute nothing, and their log-probabilities may be infinite.
        divergence += (policy.exp() * (policy.clamp(min=-1e4) - surrogate.clamp(min=-1e4))).sum(-1) / draws
    return divergence


def _clustered_mean(values: torch.Tensor, clusters: torch.Tensor) -> tuple[float, float]:
    """
    The mean of values, and its standard error where those of a cluster are not independent: of a ratio, since how many
    there are in a cluster is left to chance, too.
    """
    members, counts = clusters.unique(return_inverse=True, return_counts=True)[1:]
    n, values = len(counts), values.double().cpu()
    mean = values.mean()
    residuals = torch.zeros(n, dtype=torch.float64).index_add(0, members.cpu(), values - mean)
    error = (residuals.square().sum() * n / (n - 1)).sqrt() / len(values) if n > 1 else torch.tensor(torch.nan)
    return mean.item(), error.item()


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
