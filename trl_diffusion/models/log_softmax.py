# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of a few tokens out of many logits, whose gradient is the only further tensor of their size."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from .head import tiles


def token_log_probs(
    logits: torch.Tensor, candidates: torch.Tensor, temperature: float = 1.0, entropies: str = "detached"
) -> tuple[torch.Tensor, ...]:
    """
    Log-probabilities of tokens under `softmax(logits / temperature)`, and the entropies of these distributions.

    Args:
        logits (`torch.Tensor` of shape `(positions, vocabulary)`):
            Logits, float32 or float64.
        candidates (`torch.Tensor` of shape `(positions, candidates)`, int64):
            Tokens at each position.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature.
        entropies (`str`, *optional*, defaults to `"detached"`):
            Whether entropies are computed with a gradient (`"grad"`), without (`"detached"`) or not at all (`"none"`).

    Returns:
        `tuple[torch.Tensor, ...]`: the log-probabilities, `(positions, candidates)`, and, unless there are none, the
        entropies in nats, `(positions, 1)`.
    """
    return _TokenLogProbs.apply(logits, candidates, temperature, entropies)


class _TokenLogProbs(torch.autograd.Function):
    """With `top` the largest logit: `log p = (logits - top) / temperature + log p_max`, whose terms do not cancel."""

    @staticmethod
    def forward(ctx, logits, candidates, temperature, entropies):
        top = logits.amax(-1, keepdim=True)
        log_p_max, entropy = torch.empty_like(top), torch.zeros_like(top)
        for rows in tiles(logits):
            shifted = (logits[rows] - top[rows]).div_(temperature)
            probs = shifted.softmax(-1)
            log_p_max[rows] = probs.amax(-1, keepdim=True).log()
            if entropies != "none":
                # (Not `vecdot`, which autocast would make in half precision.)
                entropy[rows] = -(probs * shifted).sum(-1, keepdim=True) - log_p_max[rows]
        ctx.save_for_backward(logits, candidates, top, log_p_max, entropy)
        ctx.temperature, ctx.with_entropy = temperature, entropies == "grad"
        log_probs = (logits.gather(-1, candidates) - top) / temperature + log_p_max
        if entropies == "none":
            return (log_probs,)
        if entropies == "detached":
            ctx.mark_non_differentiable(entropy)
        return log_probs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx, log_probs_grad, entropy_grad=None):
        logits, candidates, top, log_p_max, entropy = ctx.saved_tensors
        total = log_probs_grad.sum(-1, keepdim=True)
        gradient = torch.empty_like(logits)
        for rows in tiles(logits):
            # d log p(candidate) = one-hot(candidate) - p, and d H = -p (log p + H).
            tile = torch.sub(logits[rows], top[rows], out=gradient[rows]).div_(ctx.temperature).add_(log_p_max[rows])
            if ctx.with_entropy:
                probs = tile.exp()
                tile.add_(entropy[rows]).mul_(-entropy_grad[rows]).sub_(total[rows]).mul_(probs)
            else:
                tile.exp_().mul_(-total[rows])
            tile.scatter_add_(-1, candidates[rows], log_probs_grad[rows]).div_(ctx.temperature)
        return gradient, None, None, None
