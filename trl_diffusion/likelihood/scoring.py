# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of rollouts' tokens on views. Every likelihood in the library comes out of here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch

from ..generation.sharing import distinct, slots
from ..generation.trajectory import Trajectory
from ..models import DiffusionSpec, ThresholdPolicy
from ..models.log_softmax import token_log_probs
from ..models.spec import predict, ranks
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
        threshold_log_probs (`torch.Tensor` of shape `(rows, blocks)`, *optional*):
            Log-probabilities of the thresholds that the rollouts drew; `0` where they drew none.
        threshold_entropies (`torch.Tensor` of shape `(rows, blocks)`, *optional*):
            Entropies of the distributions they were drawn from.
    """

    log_probs: torch.Tensor
    entropies: torch.Tensor
    weights: torch.Tensor
    canvases: int
    threshold_log_probs: torch.Tensor | None = None
    threshold_entropies: torch.Tensor | None = None

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
    threshold_policy: ThresholdPolicy | None = None,
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
        threshold_policy ([`~trl_diffusion.models.ThresholdPolicy`], *optional*):
            Scores the rollouts' thresholds, too, on the canvases that they were drawn on, in the same forward pass.

    Returns:
        [`Scores`]
    """
    (rows, length), prompt_length = batch.scored.shape, batch.prompt_mask.shape[1]
    weights = torch.stack([view.weights for view in views])  # (views, rows, length)
    used = (weights != 0).any(-1)
    used[0, 0] |= ~used.any()  # even with nothing to score: sharded engines wait for this process's forward pass
    canvases = [(view.prompt_ids, view.completion_ids) for view in views]
    starts = torch.empty(0, dtype=torch.long)
    if threshold_policy is not None:
        starts = _block_starts(batch.trajectory, threshold_policy.config.per_block)  # (blocks, rows)
        canvases += [(batch.prompt_ids, batch.trajectory.state_before(step, spec.mask_token_id)) for step in starts]
        used = torch.cat([used, _drawn(batch)])
    forwarded, canvas_of = _distinct_canvases(canvases, used, batch.prompt_mask)

    # Token j of the flat lists below is scored on view[j], and belongs to row[j].
    view, row, column = weights.nonzero(as_tuple=True)
    positions = torch.zeros(forwarded.shape, dtype=torch.bool, device=forwarded.device)
    positions[canvas_of[view, row], prompt_length + column] = True
    head_positions = None
    if threshold_policy is not None:
        head_positions = torch.full((len(forwarded),), prompt_length - 1, device=forwarded.device)
        if threshold_policy.config.per_block:
            block_length = length // len(starts)
            block, drawn_row = used[len(views) :].nonzero(as_tuple=True)
            head_positions[canvas_of[len(views) + block, drawn_row]] += block * block_length
    visible = (forwarded >= 0).to(batch.prompt_mask.dtype)
    # Logits come at the True entries of `positions`, in order: counting them gives each token its place.
    place = ranks(positions)[canvas_of[view, row], prompt_length + column]
    token_scores = _TokenScores(batch.trajectory, place, row, column, temperature, entropies)
    reduced, outputs = predict(
        model, spec, forwarded.clamp(min=0), visible, positions, token_scores.reduction, head_positions
    )
    log_probs, token_entropies = token_scores.by_token(reduced)
    flat = (row * len(views) + view) * length + column

    def spread(values: torch.Tensor) -> torch.Tensor:
        zeros = values.new_zeros(rows * len(views) * length)
        return zeros.index_add(0, flat, values).view(rows, len(views), length)

    scores = Scores(
        spread(log_probs), spread(token_entropies), weights.transpose(0, 1).to(log_probs.dtype), len(forwarded)
    )
    if threshold_policy is not None and outputs is not None:
        _score_thresholds(scores, threshold_policy, outputs, canvas_of[len(views) :], batch)
    return scores


def _distinct_canvases(
    canvases: list[tuple[torch.Tensor, torch.Tensor]], used: torch.Tensor, prompt_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Canvases without repetition, `(distinct, prompt_length + length)`, with -1 on padding, whose content makes no
    difference; and for each canvas `(canvases, rows)` which of them it is, meaningless where it is not used.
    """
    together = torch.cat([torch.cat(pair, dim=1) for pair in canvases])
    padding = torch.nn.functional.pad(prompt_mask == 0, (0, together.shape[1] - prompt_mask.shape[1]))
    together = together.masked_fill(padding.repeat(len(canvases), 1), -1)[used.flatten()]
    first, kind = distinct(together)
    return together[first], kind[ranks(used).clamp(min=0)]


class _TokenScores:
    """
    Log-probabilities and entropies of tokens, in the distribution that the rollout drew from.

    Several tokens may be scored at one position, those of the completions that share a canvas: they are the position's
    candidates, `(positions, most tokens at a position)`.

    Args:
        trajectory ([`~trl_diffusion.Trajectory`]):
            The rollouts.
        place (`torch.Tensor` of shape `(tokens,)`, int64):
            The predicted position at which each token is scored.
        row, column (`torch.Tensor` of shape `(tokens,)`, int64):
            Where the tokens are in the rollouts.
        temperature (`float`):
            Of the scored distribution.
        entropies (`str`):
            See [`score_views`].
    """

    def __init__(
        self,
        trajectory: Trajectory,
        place: torch.Tensor,
        row: torch.Tensor,
        column: torch.Tensor,
        temperature: float,
        entropies: str,
    ) -> None:
        self.place, self.temperature, self.entropies = place, temperature, entropies
        self.slot = slots(place)
        shape = (int(place.max()) + 1, int(self.slot.max()) + 1) if len(place) else (0, 1)
        self.candidates = self._at_positions(trajectory.completion_ids[row, column], shape)
        self.support = None
        if trajectory.support is not None:  # (tokens, top_k), padded with -1
            self.support = self._at_positions(trajectory.support[row, column].long(), shape)

    def _at_positions(self, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        table = values.new_zeros(*shape, *values.shape[1:])
        table[self.place, self.slot] = values
        return table

    def reduction(self, logits: torch.Tensor, rows: slice) -> tuple[torch.Tensor, ...]:
        """The candidates' log-probabilities and entropies, `(n, candidates)`; all candidates may share an entropy."""
        candidates = self.candidates[rows]
        if self.support is None:
            return token_log_probs(logits, candidates, self.temperature, self.entropies)
        support = self.support[rows]
        kept = logits.gather(-1, support.clamp(min=0).flatten(1)).view_as(support) / self.temperature
        log_probs = kept.masked_fill(support < 0, torch.finfo(kept.dtype).min).log_softmax(-1)
        drawn = (support == candidates[..., None]).int().argmax(-1, keepdim=True)
        scores = log_probs.gather(-1, drawn)[..., 0]
        if self.entropies == "none":
            return (scores,)
        with nullcontext() if self.entropies == "grad" else torch.no_grad():
            return scores, _entropy(log_probs)

    def by_token(self, reduced: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability and entropy of each token."""
        scores = reduced[0][self.place, self.slot]
        if self.entropies == "none":
            return scores, torch.zeros_like(scores)
        return scores, reduced[1].expand_as(reduced[0])[self.place, self.slot]


def _entropy(log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy in nats over the last dimension. Impossible tokens contribute nothing, also to the gradient."""
    return -(log_probs.exp() * log_probs.clamp(min=-1e4)).sum(-1)


def _block_starts(trajectory: Trajectory, per_block: bool) -> torch.Tensor:
    """The step in which each block was begun, `(blocks, rows)`; beyond the last where it never was."""
    if not per_block:  # the threshold of all blocks was drawn before the first step
        return torch.zeros_like(trajectory.threshold.T, dtype=torch.long)
    steps = trajectory.unmask_step.unflatten(1, (trajectory.threshold.shape[1], -1))
    return torch.where(steps >= 0, steps, trajectory.nfe[:, None, None]).amin(-1).T


def _drawn(batch: RolloutBatch) -> torch.Tensor:
    """Where a threshold was drawn, in rows that are scored at all, `(blocks, rows)`."""
    assert batch.trajectory.threshold_actions is not None
    return ~batch.trajectory.threshold_actions.T.isnan() & batch.scored.any(-1)


def _score_thresholds(
    scores: Scores,
    policy: ThresholdPolicy,
    outputs: torch.Tensor,
    canvas_of: torch.Tensor,
    batch: RolloutBatch,
) -> None:
    """Add the scores of the thresholds that were drawn."""
    drawn = _drawn(batch)
    actions = cast(torch.Tensor, batch.trajectory.threshold_actions).T[drawn]
    outputs = outputs[canvas_of[drawn]]

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(drawn.shape).masked_scatter(drawn, values).T

    scores.threshold_log_probs = spread(policy.log_prob(outputs, actions))
    scores.threshold_entropies = spread(policy.entropy(outputs))
