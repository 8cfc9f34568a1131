# SPDX-License-Identifier: Apache-2.0
"""
The LM head, without its logits.

With a vocabulary of 126,464 the logits of a few thousand positions are the largest tensor there is, several times over
once they are in float32, normalised and differentiated. Nobody needs them: a rollout wants a token and an entropy per
position, an update the log-probabilities of given tokens. So logits are made a chunk at a time, reduced at once, and,
where there is a gradient, made again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


# What a reduction receives: logits of some positions, `(n, vocabulary)`, at least float32, which it may change in
# place, and which of all positions they are. What it returns is concatenated over the chunks.
Reduction = Callable[[torch.Tensor, slice], tuple[torch.Tensor, ...]]

# Logits in a chunk: 128 MiB in float32.
MAX_LOGITS = 2**25

# The logit of an impossible token. Its probability is exactly zero, and no temperature makes it infinite.
IMPOSSIBLE = -1e30


@torch.compiler.disable  # a reduction is another one in every step, and would be compiled anew
def reduce_logits(
    logits_of: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, vocabulary: int, reduction: Reduction
) -> tuple[torch.Tensor, ...]:
    """
    Reduce the logits of many positions, no more than [`MAX_LOGITS`] at a time.

    Args:
        logits_of (`Callable`):
            From a part of the inputs, `(n, width)`, to their logits.
        inputs (`torch.Tensor` of shape `(positions, width)`):
            What the logits are made of.
        vocabulary (`int`):
            Number of logits at a position.
        reduction (`Callable`):
            From logits and the slice of the positions that they belong to, to tensors.

    Returns:
        `tuple[torch.Tensor, ...]`: those of the reduction, concatenated.
    """

    def part(inputs: torch.Tensor, rows: slice) -> tuple[torch.Tensor, ...]:
        logits = logits_of(inputs)
        return reduction(logits if logits.dtype == torch.float64 else logits.float(), rows)

    size = max(MAX_LOGITS // vocabulary, 1)
    if len(inputs) <= size:
        return part(inputs, slice(0, len(inputs)))
    parts = []
    for start in range(0, len(inputs), size):
        rows = slice(start, start + size)
        if torch.is_grad_enabled():
            parts.append(checkpoint(part, inputs[rows], rows, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(part(inputs[rows], rows))
    return tuple(map(torch.cat, zip(*parts)))


def tiles(logits: torch.Tensor, width: int | None = None) -> Iterator[slice]:
    """
    Rows of logits to look at in turn, so few that what is computed from them, `width` numbers each (by default as many
    as there are logits), stays in a processor's cache.
    """
    size = max((2**20 if logits.device.type == "cpu" else 2**24) // (width or logits.shape[-1]), 1)
    return (slice(start, start + size) for start in range(0, max(len(logits), 1), size))


class LMHead(nn.Linear):
    """
    `torch.nn.Linear`, which can also reduce its logits within its forward pass: the engines that shard parameters
    gather those of a module when it is called, once, however many chunks there are.
    """

    @classmethod
    def of(cls, linear: nn.Module) -> nn.Module:
        """The same head, with the same parameters. Of another class (quantised, adapted) it is left alone."""
        if type(linear) is not nn.Linear:
            return linear
        head = cls(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        head.weight, head.bias = linear.weight, linear.bias
        return head

    def forward(self, input: torch.Tensor, reduction: Reduction | None = None):
        if reduction is None:
            return super().forward(input)
        return reduce_logits(super().forward, input, self.out_features, reduction)


def reduce_whole(logits: torch.Tensor, reduction: Reduction) -> tuple[torch.Tensor, ...]:
    """The same for logits that somebody else has made: their copies, at least, are bounded."""
    return reduce_logits(torch.clone, logits, logits.shape[-1], reduction)
