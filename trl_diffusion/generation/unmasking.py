# SPDX-License-Identifier: Apache-2.0
"""Unmasking rules: which masked positions of the active block are written in this step.

Rules are pure functions. They see statistics of the model's *distribution* at each position, never the tokens drawn
from it: the positions are chosen first, the tokens sampled afterwards. Given the canvas the choice is then fixed, and
the likelihood of a step is exactly the product of the probabilities of the tokens it wrote. (Choosing by the
probability of the *sampled* token, as is common, has no such likelihood.)

Every rule writes at least one token in a row that has a masked position, and never touches a written one.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class BlockStatistics:
    """
    What a rule may look at, for the active block of each row.

    Args:
        masked (`torch.Tensor` of shape `(rows, block_length)`, bool):
            Positions that are still masked.
        p_max (`torch.Tensor` of shape `(rows, block_length)`):
            Probability of the most likely token. Undefined where nothing is masked, as are the two below.
        entropy (`torch.Tensor` of shape `(rows, block_length)`):
            Entropy of the token distribution, in nats.
        order_noise (`torch.Tensor` of shape `(rows, block_length)`):
            A random priority per position, fixed for the whole rollout.
    """

    masked: torch.Tensor
    p_max: torch.Tensor
    entropy: torch.Tensor
    order_noise: torch.Tensor


def select_top(score: torch.Tensor, masked: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """
    The `count` masked positions with the highest score; ties go to the left.

    Args:
        score (`torch.Tensor` of shape `(rows, block_length)`):
            Score of each position.
        masked (`torch.Tensor` of shape `(rows, block_length)`, bool):
            Positions that may be chosen.
        count (`torch.Tensor` of shape `(rows,)`):
            How many to choose; all of them if there are fewer.

    Returns:
        `torch.Tensor` of shape `(rows, block_length)`, bool.
    """
    order = score.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return (order.argsort(dim=-1) < count[:, None]) & masked


def low_confidence(statistics: BlockStatistics, count: torch.Tensor) -> torch.Tensor:
    """Write the `count` most confident positions: LLaDA's low-confidence remasking, told from the other side."""
    return select_top(statistics.p_max, statistics.masked, count)


def random(statistics: BlockStatistics, count: torch.Tensor) -> torch.Tensor:
    """Write `count` positions in an order drawn at the start of the rollout."""
    return select_top(statistics.order_noise, statistics.masked, count)


def left_to_right(statistics: BlockStatistics, count: torch.Tensor) -> torch.Tensor:
    """Write the `count` leftmost positions."""
    length = statistics.masked.shape[-1]
    score = -torch.arange(length, device=statistics.masked.device, dtype=torch.float32)
    return select_top(score.expand(statistics.masked.shape), statistics.masked, count)


def confidence_threshold(statistics: BlockStatistics, threshold: torch.Tensor) -> torch.Tensor:
    """
    Write every position whose largest probability reaches the threshold, and the most confident one in any case.

    The rule of [Fast-dLLM](https://huggingface.co/papers/2505.22618), on the distribution instead of the sampled
    token.
    """
    best = select_top(statistics.p_max, statistics.masked, torch.ones_like(threshold, dtype=torch.long))
    return ((statistics.p_max >= threshold[:, None]) & statistics.masked) | best


def entropy_bound(statistics: BlockStatistics, threshold: torch.Tensor) -> torch.Tensor:
    """
    Write the largest set of lowest-entropy positions with `sum(H) - max(H) <= threshold`.

    The left side bounds the error of writing dependent tokens independently, in nats
    ([EB-Sampler](https://huggingface.co/papers/2505.24857), sec. 3).
    """
    entropy = statistics.entropy.masked_fill(~statistics.masked, torch.inf)
    ascending, order = entropy.sort(dim=-1, stable=True)
    # In ascending order the largest entropy of a prefix is its last: "all but the largest" is "all before me".
    before = torch.nn.functional.pad(ascending.cumsum(-1)[:, :-1], (1, 0))
    accepted = (before <= threshold[:, None]) & ~ascending.isinf()
    return torch.zeros_like(accepted).scatter(-1, order, accepted)


Rule = Callable[[BlockStatistics, torch.Tensor], torch.Tensor]

# These take the number of positions to write, of shape `(rows,)`, as their second argument …
SCHEDULED_RULES: dict[str, Rule] = {
    "low_confidence": low_confidence,
    "random": random,
    "left_to_right": left_to_right,
}
# … and these a threshold of shape `(rows,)`, which may differ from row to row.
THRESHOLD_RULES: dict[str, Rule] = {
    "entropy_bound": entropy_bound,
    "confidence_threshold": confidence_threshold,
}
# What is added to either is found here.
RULES: ChainMap[str, Rule] = ChainMap(SCHEDULED_RULES, THRESHOLD_RULES)
