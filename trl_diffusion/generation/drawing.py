# SPDX-License-Identifier: Apache-2.0
"""Tokens out of logits."""

from __future__ import annotations

import torch

from .config import DiffusionGenerationConfig


# Tokens that are looked at together. Two levels of sums need no distribution function of the whole vocabulary.
_BUCKET = 512


def draw(logits: torch.Tensor, noise: torch.Tensor, config: DiffusionGenerationConfig) -> tuple[torch.Tensor, ...]:
    """
    Draw a token at every position, by inversion of the tempered, truncated distribution function.

    Args:
        logits (`torch.Tensor` of shape `(positions, vocabulary)`):
            Logits, in which the mask token is impossible.
        noise (`torch.Tensor` of shape `(positions,)`):
            Uniform numbers, of the widest type of float that the device has.
        config ([`DiffusionGenerationConfig`]):
            Temperature and truncation.

    Returns:
        `tuple[torch.Tensor, ...]`: the tokens, their log-probabilities under the distribution that they were drawn
        from and, if it is truncated, the tokens it was truncated to, `(positions, top_k)`, `-1` where fewer are left.
    """
    if config.temperature == 0:
        return logits.argmax(-1), logits.new_zeros(len(logits))
    logits = logits / config.temperature
    support = None
    if config.top_k is not None:
        logits, support = _truncate(logits, config.top_k, config.top_p)
    log_probs = logits.log_softmax(-1)
    drawn = _invert(log_probs.exp(), noise)[:, None]
    token_log_probs = log_probs.gather(-1, drawn)[:, 0]
    if support is None:
        return drawn[:, 0], token_log_probs
    return support.gather(-1, drawn)[:, 0].long(), token_log_probs, support


def _invert(probs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The tokens at which the distribution function passes the noise: first the bucket, then the token in it."""
    buckets = torch.nn.functional.pad(probs, (0, -probs.shape[-1] % _BUCKET)).unflatten(-1, (-1, _BUCKET))
    sums = buckets.sum(-1, dtype=noise.dtype).cumsum(-1)
    level = noise[:, None] * sums[:, -1:]
    bucket = _first_above(sums, level)
    level = level - sums.gather(-1, (bucket - 1).clamp(min=0)) * (bucket > 0)
    inside = buckets.gather(1, bucket[..., None].expand(-1, -1, _BUCKET))[:, 0].to(noise.dtype).cumsum(-1)
    return (bucket * _BUCKET + _first_above(inside, level))[:, 0].clamp(max=probs.shape[-1] - 1)


def _first_above(sums: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Where ascending sums first exceed a level, `(positions, 1)`; never where they do not grow."""
    # A hair below the last one: rounding must not pass it.
    level = torch.minimum(level, sums[:, -1:] * (1 - torch.finfo(sums.dtype).eps))
    return torch.searchsorted(sums, level, right=True).clamp(max=sums.shape[-1] - 1)  # NaN passes everything


def _truncate(logits: torch.Tensor, top_k: int, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the tokens that may be drawn, and their ids, `-1` where fewer than `top_k` are left."""
    kept, ids = logits.topk(min(top_k, logits.shape[-1] - 1), dim=-1)  # never the mask token
    probabilities = kept.softmax(-1)
    beyond = probabilities.cumsum(-1) - probabilities >= top_p  # the first one always stays
    support = ids.new_full((len(ids), top_k), -1, dtype=torch.int32)
    support[:, : ids.shape[1]] = ids.int().masked_fill(beyond, -1)
    return kept.masked_fill(beyond, torch.finfo(kept.dtype).min), support
