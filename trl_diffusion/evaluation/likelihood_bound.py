# SPDX-License-Identifier: Apache-2.0
"""A lower bound of the log-likelihood of given texts, which stands in for it where texts are compared."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch.nn.utils.rnn import pad_sequence

from ..generation import Trajectory
from ..generation.noise import derive_seed
from ..likelihood import RandomMasking, RolloutBatch, score_views
from ..models import DiffusionSpec


@torch.no_grad()
def likelihood_bound(
    model: torch.nn.Module,
    spec: DiffusionSpec,
    prompt_ids: list[list[int]],
    completion_ids: list[list[int]],
    *,
    num_samples: int = 32,
    batch_size: int = 16,
    seed: int = 0,
) -> list[float]:
    """
    The evidence lower bound (ELBO) of the log-likelihood of completions, in nats.

    The mean, over all orders, of the log-probability of writing the completion one token at a time, by Monte Carlo
    with [`~trl_diffusion.likelihood.RandomMasking`]: unbiased for the bound, and below the log-likelihood by an amount
    that nobody knows. The canvas ends where the completion does, as in LLaDA's evaluations, so that its length is
    given. What a text gets depends on itself, its prompt and the seed alone.

    Args:
        model (`torch.nn.Module`):
            The model, in eval mode.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it.
        prompt_ids (`list[list[int]]`):
            Prompts.
        completion_ids (`list[list[int]]`):
            Their completions, not empty.
        num_samples (`int`, *optional*, defaults to `32`):
            Masks per completion, an even number: each comes with its complement.
        batch_size (`int`, *optional*, defaults to `16`):
            Canvases in a forward pass, at least 2.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the masks.

    Returns:
        `list[float]`
    """
    estimator = RandomMasking(num_samples, views_per_forward=2)
    device = next(model.parameters()).device
    bounds = [0.0] * len(completion_ids)
    by_length = defaultdict(list)
    for i, ids in enumerate(completion_ids):
        by_length[len(ids)].append(i)
    for indices in by_length.values():
        rows = max(1, batch_size // 2)
        for start in range(0, len(indices), rows):
            chunk = indices[start : start + rows]
            batch = _batch([prompt_ids[i] for i in chunk], [completion_ids[i] for i in chunk], seed, device)
            passes = estimator.passes(batch, 0, spec.mask_token_id)
            scores = [score_views(model, spec, part.views, batch, entropies="none") for part in passes]
            sums = torch.stack([score.token_log_probs.double().sum(-1) for score in scores]).mean(0)
            for i, value in zip(chunk, sums.tolist(), strict=True):
                bounds[i] = value
    return bounds


def _batch(prompts: list[list[int]], completions: list[list[int]], seed: int, device: torch.device) -> RolloutBatch:
    """Texts of one length, as if they had been rollouts."""
    tokens = [torch.tensor(ids, device=device) for ids in prompts]
    ids = torch.tensor(completions, device=device)
    rows, nothing = ids.new_zeros(len(ids)), torch.zeros(ids.shape, device=device)
    seeds = [derive_seed(seed, "likelihood", *prompt, "/", *text) for prompt, text in zip(prompts, completions)]
    return RolloutBatch(
        prompt_ids=pad_sequence(tokens, True, 0, padding_side="left"),
        prompt_mask=pad_sequence([torch.ones_like(row) for row in tokens], True, 0, padding_side="left"),
        scored=torch.ones_like(ids, dtype=torch.bool),
        trajectory=Trajectory(
            completion_ids=ids,
            unmask_step=torch.zeros_like(ids),
            log_probs=nothing,
            entropies=nothing,
            nfe=rows,
            threshold=rows.float()[:, None],
            slack=rows.float(),
            row_forwards=rows.float(),
        ),
        seeds=torch.tensor(seeds, device=device)[:, None],
    )
