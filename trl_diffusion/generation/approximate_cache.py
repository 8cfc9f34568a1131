# SPDX-License-Identifier: Apache-2.0
"""
Caches of keys and values for models with full attention, which are approximations.

Where every position sees every other, a token that is written changes the keys and values of all. How little it
changes those far from it is what [Fast-dLLM](https://huggingface.co/papers/2505.22618) builds on: they are computed
from the whole canvas when a block is begun, and then only in the active block (`"dual"`) or from it to the end of the
canvas (`"prefix"`). The policy that writes is then no longer the model's own, and nobody can tell by how much without
making the passes that the cache has saved: see `drift.py`.
"""

from __future__ import annotations

import torch

from .cache import KeyValueCache


class ApproximateCache(KeyValueCache):
    """
    Keys and values of canvases, some of them from earlier steps.

    Args:
        kind (`str`):
            `"prefix"` or `"dual"`.
        block_length (`int`):
            Length of the blocks.
        refresh_interval (`int`, *optional*):
            Steps after which the whole canvas goes through the model again, within a block. Never, by default.

    The others are those of [`~trl_diffusion.generation.cache.KeyValueCache`].
    """

    def __init__(self, *args, kind: str, block_length: int, refresh_interval: int | None, **options) -> None:
        super().__init__(*args, **options)
        self.kind, self.block_length, self.refresh_interval = kind, block_length, refresh_interval
        # The block that was begun when the whole canvas was last seen, and the steps since.
        self._begun = torch.full_like(self.padding, -1)
        self._age = torch.zeros_like(self.padding)

    def together(self, rows, start):
        """Rows that need the whole canvas go first: each then makes at least one step with the others."""
        stale = self._begun[rows] != start
        if self.refresh_interval is not None:
            stale |= self._age[rows] >= self.refresh_interval
        self.approximate = not bool(stale.any())
        return stale | self.approximate

    def predict(self, rows, start, positions, reduction, head_columns):
        total = self.canvas.shape[1]
        if not self.approximate:
            self._begun[rows], self._age[rows] = start, 0
            first = int(self.padding[rows].min())
            columns = torch.arange(first, total).expand(len(rows), -1)
        else:
            width = self.block_length if self.kind == "dual" else total - int(start.min())
            # Shifted logits of the first position come from the column before it.
            columns = start[:, None] + torch.arange(-self.spec.logit_shift, width)
        self._age[rows] += 1
        self._count(rows, columns)
        return self._send(rows, columns, positions, reduction, head_columns)

    def _visible(self, position, key_position):
        return torch.ones_like(key_position, dtype=torch.bool)[:, None]
