# SPDX-License-Identifier: Apache-2.0
"""Estimators that score a rollout's tokens on states of the rollout itself, or on coarser ones."""

from __future__ import annotations

from itertools import pairwise

import torch

from ..generation.noise import uniform
from ..generation.trajectory import Trajectory
from .estimators import Estimator, check_views_per_forward, split_passes
from .views import Pass, RolloutBatch, View


STEP_DISTRIBUTIONS = ("uniform", "entropy")

# Share of the uniform distribution in the entropy-proportional one: it bounds the weight of a step that was nearly
# certain when it was taken by ten times its weight under the uniform distribution.
_DEFENSIVE_SHARE = 0.1


class MeanField(Estimator):
    """
    Every token given the fully masked completion and a randomly masked prompt: diffu-GRPO's estimator.

    [d1](https://huggingface.co/papers/2504.12216), sec. 3. One view; the completion is not on it, so that a group
    costs one row. The prompt mask is drawn once per group, which leaves the estimator's mean as it is.

    Args:
        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked.
    """

    seed_per_group = True
    shares_canvases = True

    def __init__(self, p_mask_prompt: float = 0.15) -> None:
        self.p_mask_prompt = check_p_mask_prompt(p_mask_prompt)

    def passes(self, batch, draw, mask_token_id):
        coins = uniform(batch.seeds[:, draw], (batch.prompt_ids.shape[1],))
        prompt_ids = mask_prompt(batch, coins, self.p_mask_prompt, mask_token_id)
        nothing_written = batch.trajectory.state_before(0, mask_token_id)
        return [Pass([View(prompt_ids, nothing_written, batch.scored.float())])]


class TwoTimesMeanField(Estimator):
    """
    Every token given one of two states of its own rollout: the fully masked canvas, or the canvas after `tau` steps.

    [DiFFPO](https://huggingface.co/papers/2510.02212), sec. 3. `tau` is uniform over `0 … nfe - 1`, per sequence.
    Tokens written in the first `tau` steps are scored on the fully masked canvas, the others on the state after `tau`
    steps. The score is exact for tokens of the first step, and of step `tau`.
    """

    shares_canvases = True

    def passes(self, batch, draw, mask_token_id):
        trajectory = batch.trajectory
        tau = self.draw_tau(trajectory.nfe, batch.seeds[:, draw])
        early = trajectory.unmask_step < tau[:, None]
        views = [
            View(batch.prompt_ids, trajectory.state_before(0, mask_token_id), (batch.scored & early).float()),
            View(batch.prompt_ids, trajectory.state_before(tau, mask_token_id), (batch.scored & ~early).float()),
        ]
        return [Pass(views)]

    @staticmethod
    def draw_tau(nfe: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """`tau` of each row, of shape `(rows,)`."""
        return (uniform(seeds, ()) * nfe).long()


class MergedSteps(Estimator):
    """
    Every token given the state at the start of its segment: steps in a row are merged as if taken at once.

    With segments of a fixed length, [TraceRL](https://huggingface.co/papers/2509.06949)'s trajectory likelihood; with
    a fixed number of segments of (nearly) equal length,
    [d2](https://huggingface.co/papers/2509.21474)'s StepMerge. Segments of one step give the exact likelihood.

    Args:
        num_segments (`int`, *optional*):
            Segments per rollout. A rollout of fewer steps has as many segments as steps.
        steps_per_segment (`int`, *optional*):
            Steps per segment. Exactly one of the two must be given.
        views_per_forward (`int`, *optional*):
            Segments in one forward and backward pass. Defaults to all of them.
    """

    def __init__(
        self,
        num_segments: int | None = None,
        steps_per_segment: int | None = None,
        views_per_forward: int | None = None,
    ) -> None:
        if (num_segments is None) == (steps_per_segment is None):
            raise ValueError("Give `num_segments` or `steps_per_segment`, and not both.")
        for name, value in (("num_segments", num_segments), ("steps_per_segment", steps_per_segment)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        check_views_per_forward(views_per_forward)
        self.num_segments = num_segments
        self.steps_per_segment = steps_per_segment
        self.views_per_forward = views_per_forward

    def passes(self, batch, draw, mask_token_id):
        trajectory = batch.trajectory
        starts = self.segment_starts(trajectory.nfe)
        views = []
        for start, end in pairwise(starts):
            inside = (trajectory.unmask_step >= start[:, None]) & (trajectory.unmask_step < end[:, None])
            state = trajectory.state_before(start, mask_token_id)
            views.append(View(batch.prompt_ids, state, (batch.scored & inside).float()))
        return split_passes(views, self.views_per_forward)

    def segment_starts(self, nfe: torch.Tensor) -> torch.Tensor:
        """First step of each segment, and the end of the last, `(segments + 1, rows)`."""
        if self.num_segments is not None:
            segments = min(self.num_segments, max(1, int(nfe.max())))  # more would have no steps of their own
            return torch.arange(segments + 1, device=nfe.device)[:, None] * nfe // segments
        assert self.steps_per_segment is not None
        segments = -(-int(nfe.max()) // self.steps_per_segment)
        starts = torch.arange(segments + 1, device=nfe.device)[:, None] * self.steps_per_segment
        return torch.minimum(starts, nfe)


class ExactSteps(MergedSteps):
    """
    Every token given the very canvas it was written on: the trajectory's exact likelihood, one view per step.

    As dear as the rollout itself. The yardstick of the other estimators, and the behaviour policy's log-probabilities
    a second time.

    Args:
        views_per_forward (`int`, *optional*):
            Steps in one forward and backward pass. Defaults to all of them.
    """

    exact = True

    def __init__(self, views_per_forward: int | None = None) -> None:
        super().__init__(steps_per_segment=1, views_per_forward=views_per_forward)


class SampledSteps(Estimator):
    r"""
    The tokens of a few sampled steps, each given the very canvas it was written on: an unbiased Monte-Carlo estimate
    of whatever is a sum over the trajectory's tokens.

    [AGRPO](https://huggingface.co/papers/2510.04019). Steps are drawn with replacement among those that wrote scored
    tokens, with probabilities `p_t`; a token of a step drawn `n` times out of `k` has weight `n / (k p_t)`, whose mean
    is 1. Under any unmasking rule: steps may write any number of tokens. A step that was drawn several times is scored
    once.

    Args:
        num_draws (`int`):
            Steps drawn per sequence, the paper's k.
        distribution (`str`, *optional*, defaults to `"uniform"`):
            `"uniform"`, or `"entropy"`: proportional to the entropy of the model at the tokens of the step, with a
            tenth of the uniform distribution mixed in.
        stratified (`bool`, *optional*, defaults to `True`):
            Whether the draws of a sequence are spread evenly, one in each k-th of the distribution. If `k` is the
            number of steps and the distribution is uniform, each step is drawn once and nothing is left to chance.
        views_per_forward (`int`, *optional*, defaults to `1`):
            Drawn steps in one forward and backward pass.
    """

    exact = True

    def __init__(
        self,
        num_draws: int,
        distribution: str = "uniform",
        stratified: bool = True,
        views_per_forward: int | None = 1,
    ) -> None:
        if num_draws < 1:
            raise ValueError(f"`num_draws` must be at least 1, got {num_draws}.")
        if distribution not in STEP_DISTRIBUTIONS:
            raise ValueError(
                f"`distribution` must be one of {', '.join(map(repr, STEP_DISTRIBUTIONS))}, got {distribution!r}."
            )
        check_views_per_forward(views_per_forward)
        self.num_draws = num_draws
        self.distribution = distribution
        self.stratified = stratified
        self.views_per_forward = views_per_forward or num_draws

    def passes(self, batch, draw, mask_token_id):
        probabilities = self.step_probabilities(batch.trajectory, batch.scored)
        steps, times = without_repetition(self.draw_steps(probabilities, batch.seeds[:, draw]))
        chance = probabilities.gather(1, steps).clamp(min=torch.finfo(torch.float32).tiny)
        weights = times / (self.num_draws * chance)
        chunks = list(zip(steps.split(self.views_per_forward, 1), weights.split(self.views_per_forward, 1)))
        return [self._pass(batch, *chunk, len(chunks), mask_token_id) for chunk in chunks]

    @staticmethod
    def _pass(
        batch: RolloutBatch, steps: torch.Tensor, weights: torch.Tensor, num_passes: int, mask_token_id: int
    ) -> Pass:
        trajectory = batch.trajectory
        # Columns that a row fills up have no weight.
        hits = (trajectory.unmask_step[:, None] == steps[:, :, None]) & batch.scored[:, None]  # (rows, steps, length)
        hits &= (weights != 0)[:, :, None]
        views = [
            View(batch.prompt_ids, trajectory.state_before(steps[:, i], mask_token_id), hits[:, i].float())
            for i in range(steps.shape[1])
        ]
        return Pass(views, num_passes * (hits * weights[:, :, None]).sum(1))

    def step_probabilities(self, trajectory: Trajectory, scored: torch.Tensor) -> torch.Tensor:
        """Probability of each step, `(rows, steps)`; zero for steps that wrote no scored token."""
        steps = trajectory.unmask_step.clamp(min=0)
        empty = torch.zeros(steps.shape[0], max(1, int(trajectory.nfe.max())), device=steps.device)
        candidates = (empty.scatter_add(1, steps, scored.float()) > 0).float()
        flat = candidates / candidates.sum(-1, keepdim=True).clamp(min=1)
        if self.distribution == "uniform":
            return flat
        entropies = empty.scatter_add(1, steps, trajectory.entropies * scored)
        total = entropies.sum(-1, keepdim=True)
        proportional = torch.where(total > 0, entropies / total.clamp(min=1e-20), flat)
        return (1 - _DEFENSIVE_SHARE) * proportional + _DEFENSIVE_SHARE * flat

    def draw_steps(self, probabilities: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """The steps drawn, `(rows, num_draws)`."""
        noise = uniform(seeds, (self.num_draws,))
        if self.stratified:
            noise = (noise + torch.arange(self.num_draws, device=noise.device)) / self.num_draws
        cumulative = probabilities.to(noise.dtype).cumsum(-1)
        # A hair below the end: rounding must not fall on a step of probability zero.
        level = noise.clamp(max=1 - torch.finfo(noise.dtype).eps) * cumulative[:, -1:]
        return torch.searchsorted(cumulative, level, right=True).clamp(max=probabilities.shape[1] - 1)


def without_repetition(steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The distinct steps of each row, and how often each occurs.

    Args:
        steps (`torch.Tensor` of shape `(rows, draws)`, int64):
            The steps.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: both of shape `(rows, most distinct steps in a row)`. Rows with fewer are
        filled up with steps that occur zero times.
    """
    steps = steps.sort(-1).values
    is_first = torch.ones_like(steps, dtype=torch.bool)
    is_first[:, 1:] = steps[:, 1:] != steps[:, :-1]
    times = is_first * (steps[:, :, None] == steps[:, None]).sum(-1)
    width = int(is_first.sum(-1).max())
    order = (~is_first).long().argsort(dim=-1, stable=True)[:, :width]
    return steps.gather(1, order), times.gather(1, order)


def mask_prompt(batch: RolloutBatch, coins: torch.Tensor, probability: float, mask_token_id: int) -> torch.Tensor:
    """
    Prompts with each token masked with a probability.

    Args:
        batch ([`~trl_diffusion.likelihood.RolloutBatch`]):
            The rollouts.
        coins (`torch.Tensor` of shape `(rows, prompt_length)`):
            Uniform numbers, the first for the last token: a prompt's mask must not depend on its padding.
        probability (`float`):
            The probability.
        mask_token_id (`int`):
            The mask token.

    Returns:
        `torch.Tensor` of shape `(rows, prompt_length)`, int64.
    """
    return batch.prompt_ids.masked_fill((coins.flip(-1) < probability) & (batch.prompt_mask != 0), mask_token_id)


def check_p_mask_prompt(p_mask_prompt: float) -> float:
    """
    Raises:
        `ValueError`: If it is no probability below 1.
    """
    if not 0 <= p_mask_prompt < 1:
        raise ValueError(f"`p_mask_prompt` must lie in [0, 1), got {p_mask_prompt}.")
    return p_mask_prompt
