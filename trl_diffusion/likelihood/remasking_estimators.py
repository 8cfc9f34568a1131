# SPDX-License-Identifier: Apache-2.0
"""
Estimators that mask the final text anew, at random: the evidence lower bound (ELBO) and its kin.

All of them mask among a row's scored tokens and hide everything else that may stand on the canvas behind the end of
the text. Masks have an exact number of tokens: with a rate uniform over [0, 1), the number masked is uniform over
`0 … n`, as if each token were masked on its own with that rate, and the estimate varies less.
"""

from __future__ import annotations

import numpy as np
import torch

from ..generation.noise import uniform
from .estimators import Estimator
from .trajectory_estimators import check_p_mask_prompt, mask_prompt
from .views import Pass, RolloutBatch, View


class RandomMasking(Estimator):
    r"""
    The tokens under random masks, each given what the mask leaves: a Monte-Carlo estimate of the ELBO.

        ELBO = E_m [ (n + 1)/m * sum over the m masked tokens of log p(token | the others) ],  m ~ U{0, …, n}

    which is the mean, over all orders, of the log-probability of writing the text one token at a time
    ([LLaDA](https://huggingface.co/papers/2502.09992)). The estimate is unbiased for any number of samples.

    Args:
        num_samples (`int`):
            Masks per sequence. Their rates are stratified.
        antithetic (`bool`, *optional*, defaults to `True`):
            Whether masks come in pairs, a mask and its complement: each pair scores each token once.
        views_per_forward (`int`, *optional*):
            Masks in one forward and backward pass. Each pass is then an estimate of its own, which serves objectives
            that are linear in it. Defaults to all of them.
    """

    def __init__(
        self,
        num_samples: int,
        antithetic: bool = True,
        views_per_forward: int | None = None,
    ) -> None:
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
        if antithetic and num_samples % 2:
            raise ValueError(
                f"`num_samples={num_samples}` is odd, and antithetic masks come in pairs. Make it even, or set "
                "`antithetic=False`."
            )
        if views_per_forward is not None and (views_per_forward < 1 or num_samples % views_per_forward):
            raise ValueError(f"`views_per_forward={views_per_forward}` must divide `num_samples={num_samples}`.")
        self.num_samples = num_samples
        self.antithetic = antithetic
        self.views_per_forward = views_per_forward or num_samples

    def passes(self, batch, draw, mask_token_id):
        masks = self.masks(batch.scored, batch.seeds[:, draw])
        tokens = batch.scored.sum(-1, keepdim=True)
        views = []
        for mask in masks.unbind(1):
            weights = mask * (tokens + 1) / (mask.sum(-1, keepdim=True).clamp(min=1) * self.views_per_forward)
            views.append(View(batch.prompt_ids, masked_text(batch, mask, mask_token_id), weights.float()))
        return [Pass(views[i : i + self.views_per_forward]) for i in range(0, len(views), self.views_per_forward)]

    def masks(self, scored: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """The masks, `(rows, num_samples, length)`; a mask and its complement are neighbours."""
        independent = self.num_samples // 2 if self.antithetic else self.num_samples
        noise = uniform(seeds, (independent, scored.shape[1] + 1))
        rates = (noise[..., 0] + torch.arange(independent, device=noise.device)) / independent
        counts = (rates * (scored.sum(-1, keepdim=True) + 1)).long()
        masks = random_subsets(scored, counts, noise[..., 1:])
        if self.antithetic:
            masks = torch.stack([masks, scored[:, None] & ~masks], dim=2).flatten(1, 2)
        return masks


class QuadratureMasking(Estimator):
    """
    The ELBO by Gauss-Legendre quadrature over the masking rate, one mask per node.

    [GDPO](https://huggingface.co/papers/2510.08554): most of the ELBO's variance comes from the random rate, so the
    rates are fixed. Biased by the quadrature's error and the rounding of counts, and far less noisy.

    Args:
        num_nodes (`int`, *optional*, defaults to `3`):
            Quadrature nodes.
    """

    def __init__(self, num_nodes: int = 3) -> None:
        if num_nodes < 1:
            raise ValueError(f"`num_nodes` must be at least 1, got {num_nodes}.")
        nodes, weights = np.polynomial.legendre.leggauss(num_nodes)  # over [-1, 1]
        self.nodes = torch.tensor((nodes + 1) / 2)
        self.weights = torch.tensor(weights / 2)

    def passes(self, batch, draw, mask_token_id):
        noise = uniform(batch.seeds[:, draw], (len(self.nodes), batch.scored.shape[1]))
        tokens = batch.scored.sum(-1, keepdim=True)
        counts = (self.nodes.to(noise) * tokens).round().long().clamp(min=1)
        masks = random_subsets(batch.scored, counts, noise)
        scale = self.weights.to(noise) * tokens / counts
        return [
            Pass(
                [
                    View(
                        batch.prompt_ids,
                        masked_text(batch, masks[:, i], mask_token_id),
                        (masks[:, i] * scale[:, i, None]).float(),
                    )
                    for i in range(len(self.nodes))
                ]
            )
        ]


class CoupledMasking(Estimator):
    """
    Every token scored twice: with all masked, and on a random mask or its complement, whichever hides it.

    [DiffuCoder](https://huggingface.co/papers/2506.20639)'s coupled-GRPO: half the log-probability with all masked,
    plus half of `1/t` times that on a mask of rate `t`, or of `1/(1 - t)` times that on its complement.

    Args:
        min_rate (`float`, *optional*, defaults to `0.2`):
            Lower bound of the rate.
        max_rate (`float`, *optional*, defaults to `0.8`):
            Upper bound of the rate.
    """

    def __init__(self, min_rate: float = 0.2, max_rate: float = 0.8) -> None:
        if not 0 < min_rate <= max_rate < 1:
            raise ValueError(
                f"`min_rate` and `max_rate` must be ordered and lie between 0 and 1, got {min_rate} and {max_rate}."
            )
        self.min_rate, self.max_rate = min_rate, max_rate

    def passes(self, batch, draw, mask_token_id):
        noise = uniform(batch.seeds[:, draw], (batch.scored.shape[1] + 1,))
        rate = self.min_rate + (self.max_rate - self.min_rate) * noise[:, :1]
        tokens = batch.scored.sum(-1, keepdim=True)
        count = torch.minimum((rate * tokens).round().long().clamp(min=1), (tokens - 1).clamp(min=0))
        mask = random_subsets(batch.scored, count, noise[:, None, 1:])[:, 0]
        views = []
        for part in (batch.scored, mask, batch.scored & ~mask):
            weights = part * tokens / (2 * part.sum(-1, keepdim=True).clamp(min=1))
            views.append(View(batch.prompt_ids, masked_text(batch, part, mask_token_id), weights.float()))
        return [Pass(views)]


class SpreadMasking(Estimator):
    """
    The masked tokens of one random mask; over the inner iterations the rates cover the range.

    UniGRPO ([MMaDA](https://huggingface.co/papers/2505.15809)). The first iteration's rate is uniform, the
    others are spread evenly between it and 1. The loss is the mean over masked tokens.
    """

    def passes(self, batch, draw, mask_token_id):
        first = uniform(batch.seeds[:, 0], ())[:, None]
        draws = batch.seeds.shape[1]
        rate = first + (1 - first) * (draw / (draws - 1) if draws > 1 else 0.0)
        tokens = batch.scored.sum(-1, keepdim=True)
        count = torch.minimum((rate * tokens).ceil().long().clamp(min=1), tokens)
        noise = uniform(batch.seeds[:, draw], (2, batch.scored.shape[1]))[:, 1:]  # the first row drew the rate
        mask = random_subsets(batch.scored, count, noise)[:, 0]
        view = View(batch.prompt_ids, masked_text(batch, mask, mask_token_id), mask.float())
        return [Pass([view], token_weights=mask * tokens / count.clamp(min=1))]


class BlockMasking(Estimator):
    """
    Masks like the states of semi-autoregressive decoding: earlier blocks clear, one block partly masked, the rest too.

    [SPG](https://huggingface.co/papers/2510.09541). Weights make the mean over masks of the mean
    log-probability of masked tokens.

    Args:
        num_samples (`int`):
            Masks per sequence.
        block_length (`int`):
            The sampler's block length.
        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked.
    """

    def __init__(self, num_samples: int, block_length: int, p_mask_prompt: float = 0.15) -> None:
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
        self.num_samples = num_samples
        self.block_length = block_length
        self.p_mask_prompt = check_p_mask_prompt(p_mask_prompt)

    def passes(self, batch, draw, mask_token_id):
        length, prompt_length = batch.scored.shape[1], batch.prompt_ids.shape[1]
        sizes = [self.num_samples * (length + 2), prompt_length]
        noise, coins = uniform(batch.seeds[:, draw], (sum(sizes),)).split(sizes, dim=1)
        noise = noise.unflatten(1, (self.num_samples, length + 2))
        prompt_ids = mask_prompt(batch, coins, self.p_mask_prompt, mask_token_id)
        block_of = torch.arange(length, device=noise.device) // self.block_length
        last_block = (block_of * batch.scored).amax(-1, keepdim=True)
        block = (noise[..., 0] * (last_block + 1)).long()  # (rows, samples)
        active = batch.scored[:, None] & (block_of == block[..., None])
        later = batch.scored[:, None] & (block_of > block[..., None])
        counts = ((1 - noise[..., 1]) * active.sum(-1)).ceil().long()  # at least one
        ranks = torch.where(active, noise[..., 2:], torch.inf).argsort(-1).argsort(-1)
        masks = later | (active & (ranks < counts[..., None]))
        views = []
        for mask in masks.unbind(1):
            weights = mask / (mask.sum(-1, keepdim=True).clamp(min=1) * self.num_samples)
            views.append(View(prompt_ids, masked_text(batch, mask, mask_token_id), weights.float()))
        return [Pass(views)]


def masked_text(batch: RolloutBatch, mask: torch.Tensor, mask_token_id: int) -> torch.Tensor:
    """The scored text with a mask on it, and nothing behind it, `(rows, length)`."""
    return batch.trajectory.completion_ids.masked_fill(mask | ~batch.scored, mask_token_id)


def random_subsets(scored: torch.Tensor, counts: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """
    Uniformly random subsets of given sizes.

    Args:
        scored (`torch.Tensor` of shape `(rows, length)`, bool):
            The set of each row.
        counts (`torch.Tensor` of shape `(rows, samples)`, int64):
            Sizes.
        noise (`torch.Tensor` of shape `(rows, samples, length)`):
            Uniform numbers.

    Returns:
        `torch.Tensor` of shape `(rows, samples, length)`, bool.
    """
    ranks = torch.where(scored[:, None], noise, torch.inf).argsort(-1).argsort(-1)
    return scored[:, None] & (ranks < counts[..., None])
