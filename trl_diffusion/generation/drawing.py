# SPDX-License-Identifier: Apache-2.0
"""Statistics and tokens out of logits, in one look at them."""

from __future__ import annotations

import torch

from ..models.head import tiles
from .config import DiffusionGenerationConfig


# Tokens that are looked at together. Two levels of sums need no distribution function of the whole vocabulary, and two
# levels of maxima are much faster on a CPU than one that keeps the index.
_BUCKET = 512


def look(logits: torch.Tensor, noise: torch.Tensor, config: DiffusionGenerationConfig) -> tuple[torch.Tensor, ...]:
    """
    What a denoising step wants to know of its logits.

    The statistics are those of the model's distribution, the tokens are drawn by inversion of the tempered, truncated
    distribution function.

    Args:
        logits (`torch.Tensor` of shape `(positions, vocabulary)`):
            Logits, in which the mask token is impossible. They are overwritten.
        noise (`torch.Tensor` of shape `(positions, draws)`):
            Uniform numbers, of the widest type of float that the device has: one for each token to draw.
        config ([`DiffusionGenerationConfig`]):
            Temperature and truncation.

    Returns:
        `tuple[torch.Tensor, ...]`: the largest probabilities and the entropies in nats, `(positions,)`; the tokens
        and their log-probabilities under the distribution that they were drawn from, `(positions, draws)`; and, if it
        is truncated, the tokens that it was truncated to, `(positions, top_k)`, `-1` where fewer are left.
    """
    drawing = noise.shape[1] * min(_BUCKET, logits.shape[1])  # numbers that the draws at a position look at
    parts = [_look(logits[rows], noise[rows], config) for rows in tiles(logits, max(logits.shape[1], drawing))]
    return tuple(map(torch.cat, zip(*parts)))


def _look(logits: torch.Tensor, noise: torch.Tensor, config: DiffusionGenerationConfig) -> tuple[torch.Tensor, ...]:
    top, best = _largest(logits)
    logits = logits.sub_(top[:, None])
    probs = logits.softmax(-1)
    p_max = probs.amax(-1)
    # log p = logits + log p_max, where the largest logit is zero: both terms of the entropy are positive.
    # (Not `vecdot`, which autocast would make in half precision.)
    statistics = p_max, -(probs * logits).sum(-1) - p_max.log()
    if config.temperature == 0:
        return *statistics, best[:, None].expand(noise.shape), logits.new_zeros(noise.shape)
    support = None
    if config.top_k is not None:
        logits, support = _truncate(logits / config.temperature, config.top_k, config.top_p)
        probs = logits.softmax(-1)
    elif config.temperature != 1:
        probs = logits.div_(config.temperature).softmax(-1)
    drawn = _invert(probs, noise)
    log_probs = logits.gather(-1, drawn) + probs.amax(-1, keepdim=True).log()
    if support is None:
        return *statistics, drawn, log_probs
    return *statistics, support.gather(-1, drawn).long(), log_probs, support


def _buckets(values: torch.Tensor, filler: float) -> torch.Tensor:
    """Values `(positions, vocabulary)` as `(positions, buckets, tokens in a bucket)`."""
    size = min(_BUCKET, values.shape[-1])
    if missing := -values.shape[-1] % size:
        values = torch.nn.functional.pad(values, (0, missing), value=filler)
    return values.unflatten(-1, (-1, size))


def _largest(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest value of each row, and where it is first, `(positions,)` each."""
    buckets = _buckets(values, -torch.inf)
    top, bucket = buckets.amax(-1).max(-1)
    rows = torch.arange(len(values), device=values.device)
    return top, bucket * buckets.shape[-1] + buckets[rows, bucket].argmax(-1)


def _invert(probs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The tokens at which the distribution function passes the noise: first the bucket, then the token in it."""
    buckets = _buckets(probs, 0.0)
    sums = buckets.sum(-1).to(noise.dtype).cumsum(-1)
    level = noise * sums[:, -1:]
    bucket = _first_above(sums, level)
    level = level - sums.gather(-1, (bucket - 1).clamp(min=0)) * (bucket > 0)
    inside = buckets.gather(1, bucket[..., None].expand(-1, -1, buckets.shape[-1])).to(noise.dtype).cumsum(-1)
    token = _first_above(inside, level[..., None])[..., 0]
    return (bucket * buckets.shape[-1] + token).clamp(max=probs.shape[-1] - 1)


def _first_above(sums: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Where ascending sums `(…, n)` first exceed levels `(…, m)`; never where they do not grow."""
    # A hair below the last one: rounding must not pass it.
    level = torch.minimum(level, sums[..., -1:] * (1 - torch.finfo(sums.dtype).eps))
    return torch.searchsorted(sums, level, right=True).clamp(max=sums.shape[-1] - 1)  # NaN passes everything


def _truncate(logits: torch.Tensor, top_k: int, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the tokens that may be drawn, largest first, and their ids, `-1` where fewer than `top_k` are."""
    kept, ids = logits.topk(min(top_k, logits.shape[-1] - 1), dim=-1)  # never the mask token
    probabilities = kept.softmax(-1)
    beyond = probabilities.cumsum(-1) - probabilities >= top_p  # the first one always stays
    support = ids.new_full((len(ids), top_k), -1, dtype=torch.int32)
    support[:, : ids.shape[1]] = ids.int().masked_fill(beyond, -1)
    return kept.masked_fill(beyond, torch.finfo(kept.dtype).min), support
