# SPDX-License-Identifier: Apache-2.0
"""
How far an approximate cache takes the sampler from the model.

In a few steps, chosen at random, the tokens that were drawn with the cache are scored without it. With `d` the
log-probability with it minus that without, `exp(-d) - 1 + d` has the mean KL(cached || exact), and `exp(-d)` is the
importance weight that would make up for the cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..models import DiffusionSpec
from ..models.log_softmax import token_log_probs
from ..models.spec import predict
from .noise import derive_seed


@dataclass
class _Step:
    """A step that was made with the cache, before its tokens were written."""

    rows: torch.Tensor
    canvas: torch.Tensor
    attention_mask: torch.Tensor
    positions: torch.Tensor
    tokens: torch.Tensor
    log_probs: torch.Tensor


class DriftMeter:
    """
    Checks some steps against the model.

    Args:
        rate (`float`):
            Share of the steps that are checked.
        temperature (`float`):
            Of the distribution that tokens are drawn from.
        seeds (`torch.Tensor` of shape `(rows,)`, int64):
            The rollouts' seeds, which the choice of the steps depends on.
    """

    def __init__(self, rate: float, temperature: float, seeds: torch.Tensor) -> None:
        self.rate, self.temperature = rate, temperature
        self._generator = torch.Generator().manual_seed(derive_seed("drift", *seeds.tolist()))
        self._noted: _Step | None = None
        # Per row, over the positions checked: their number, and the sums of the KL, the weights and their squares.
        self.sums = torch.zeros(len(seeds), 4)

    @property
    def busy(self) -> bool:
        """Whether a step waits to be checked."""
        return self._noted is not None

    def note(self, *step: torch.Tensor) -> None:
        """Keep a step to check it, maybe."""
        if torch.rand((), generator=self._generator) < self.rate:
            self._noted = _Step(*step)

    def check(self, model: torch.nn.Module, spec: DiffusionSpec, device: torch.device) -> None:
        """Check the step that waits, in a forward pass of its own, on the model's device."""
        step, self._noted = self._noted, None
        assert step is not None
        tokens = step.tokens.to(device)

        def reduction(logits: torch.Tensor, part: slice) -> tuple[torch.Tensor, ...]:
            return token_log_probs(logits, tokens[part, None].to(logits.device), self.temperature, entropies="none")

        what = step.canvas, step.attention_mask, step.positions
        (exact,), _ = predict(model, spec, *what, reduction, device=device)
        difference = (step.log_probs - exact[:, 0].cpu()).float()
        weights = (-difference).exp()
        values = torch.stack([torch.ones_like(weights), weights - 1 + difference, weights, weights.square()], dim=1)
        row = step.rows[step.positions.nonzero(as_tuple=True)[0]]
        self.sums.index_add_(0, row, values)


class RefreshInterval:
    """
    The longest interval between refreshes at which the drift stays small: it grows by one where the effective sample
    size is large enough, and is halved where it is not.

    Args:
        initial (`int`):
            The first interval, in steps.
        longest (`int`):
            The longest one: the block length, beyond which there is nothing to gain.
        min_ess (`float`):
            Effective sample size of the importance weights that is large enough, as a share of the tokens.
    """

    def __init__(self, initial: int, longest: int, min_ess: float) -> None:
        self.steps, self.longest, self.min_ess = min(initial, longest), longest, min_ess

    def update(self, ess: float) -> None:
        """Learn of an effective sample size; NaN where nothing was checked."""
        if ess < self.min_ess:
            self.steps = max(self.steps // 2, 1)
        elif ess >= self.min_ess or self.steps == 1:  # with a refresh in each step there is nothing to check
            self.steps = min(self.steps + 1, self.longest)
