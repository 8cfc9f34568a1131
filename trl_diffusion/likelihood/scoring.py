# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of rollouts' tokens on views. Every likelihood in the library comes out of here."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from ..models.spec import DiffusionSpec, entropy_of, masked_logits
from .views import RolloutBatch, View


@dataclass
class Scores:
    """
    Scores of completion tokens on views; `0` where a view does not score them.

    Args:
        log_probs (`torch.Tensor` of shape `(rows, views, length)`):
            Log-probabilities on each view.
        entropies (`torch.Tensor` of shape `(rows, views, length)`):
            Entropies of the same distributions, in nats.
        weights (`torch.Tensor` of shape `(rows, views, length)`):
            The views' weights.
        canvases (`int`):
            Rows that went through the model: distinct canvases with something to score.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    weights: torch.Tensor
    canvases: int

    @property
    def token_log_probs(self) -> torch.Tensor:
        """The estimate of each token's log-probability, summed over views, `(rows, length)`."""
        return (self.weights * self.log_probs).sum(1)

    @property
    def token_entropies(self) -> torch.Tensor:
        """The same for the entropies, `(rows, length)`."""
        return (self.weights * self.entropies).sum(1)


def score_views(
    model: torch.nn.Module,
    spec: DiffusionSpec,
    views: list[View],
    batch: RolloutBatch,
    *,
    temperature: float = 1.0,
    entropies: str = "detached",
) -> Scores:
    """
    Score completion tokens on one or several views, in a single forward pass.

    A canvas that occurs more than once goes through the model once: the rows of a group whose view does not contain
    the completion (all of d1's, the first of two-times mean-field's) cost one row together. The LM head runs on scored
    positions only.

    Args:
        model (`torch.nn.Module`):
            The model, wrapped or not.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it.
        views (`list[View]`):
            The views, each over the same rows.
        batch ([`~trl_diffusion.likelihood.RolloutBatch`]):
            The rollouts whose tokens are scored. The completion canvas is always attended to in full, as in the
            rollout. Where the rollout drew from a truncated distribution, that one is scored.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature of the scored distribution.
        entropies (`str`, *optional*, defaults to `"detached"`):
            Whether entropies are computed with a gradient (`"grad"`), without (`"detached"`) or not at all
            (`"none"`: they are zero).

    Returns:
        [`Scores`]
    """
    targets, prompt_mask = batch.trajectory.completion_ids, batch.prompt_mask
    rows, length = targets.shape
    prompt_length = prompt_mask.shape[1]
    canvases = torch.cat([torch.cat([view.prompt_ids, view.completion_ids], dim=1) for view in views])
    weights = torch.cat([view.weights for view in views])
    attention_mask = torch.cat([prompt_mask, prompt_mask.new_ones(rows, length)], dim=1).repeat(len(views), 1)

    # Token j of the flat list below is scored on canvas `view_row[j]`, and belongs to row `view_row[j] % rows`.
    view_row, column = weights.nonzero(as_tuple=True)
    used = (weights != 0).any(dim=1)
    used[0] |= ~used.any()  # even with nothing to score: sharded engines wait for this process's forward pass
    key = canvases.masked_fill(attention_mask == 0, -1)[used]  # what padding holds makes no difference
    distinct, member_of = torch.unique(key, dim=0, return_inverse=True)
    position_of = torch.cumsum(used, 0) - 1
    canvas_row = member_of[position_of[view_row]]

    predict = torch.zeros(distinct.shape, dtype=torch.bool, device=targets.device)
    predict[canvas_row, prompt_length + column] = True
    visible = (distinct >= 0).to(attention_mask.dtype)
    logits = masked_logits(model, spec, distinct.clamp(min=0), visible, predict)
    if temperature != 1.0:  # a copy of the largest tensor there is
        logits = logits / temperature

    # Rows of `logits` are the True entries of `predict`, in order: counting them gives each token its row.
    logits_row = (predict.flatten().cumsum(0) - 1).view_as(predict)[canvas_row, prompt_length + column]
    row = view_row % rows
    if batch.trajectory.support is None:
        log_probs = logits.log_softmax(-1)
        token_log_probs = log_probs[logits_row, targets[row, column]]
    else:
        support = batch.trajectory.support[row, column].long()  # (tokens, k), padded with -1
        kept = logits[logits_row[:, None], support.clamp(min=0)].masked_fill(
            support < 0, torch.finfo(logits.dtype).min
        )
        log_probs = kept.log_softmax(-1)
        token_log_probs = logits[logits_row, targets[row, column]] - kept.logsumexp(-1)
    token_entropies = torch.zeros_like(token_log_probs)
    if entropies != "none":
        with nullcontext() if entropies == "grad" else torch.no_grad():
            token_entropies = entropy_of(log_probs)
            if batch.trajectory.support is None:
                token_entropies = token_entropies[logits_row]

    flat = view_row * length + column

    def spread(values: torch.Tensor) -> torch.Tensor:
        spread = values.new_zeros(len(views) * rows * length).index_add(0, flat, values)
        return spread.view(len(views), rows, length).transpose(0, 1)

    return Scores(
        spread(token_log_probs),
        spread(token_entropies),
        weights.to(token_log_probs.dtype).view(len(views), rows, length).transpose(0, 1),
        canvases=distinct.shape[0],
    )
