# SPDX-License-Identifier: Apache-2.0
"""
The exact key-value cache of models with block-causal attention.

Where a position sees its own block and those before it, a block that is complete never changes again, and neither do
its keys and values. A step then sends two blocks through the model instead of the canvas: the active one, and the one
before it, which the active one may have been waiting for and whose keys and values are now final.
"""

from __future__ import annotations

from typing import cast

import torch

from .cache import KeyValueCache
from .sharing import distinct


class BlockCache(KeyValueCache):
    """
    Exact keys and values of canvases, each at its own block.

    Args:
        prompt_length (`int`):
            Columns of the prompts.

    The others are those of [`~trl_diffusion.generation.cache.KeyValueCache`].
    """

    def __init__(self, *args, prompt_length: int, **options) -> None:
        super().__init__(*args, **options)
        self.block = cast(int, self.spec.attention_block)
        self.prompt_length = prompt_length

    def _begin(self, rows):
        """Send their prompts through the model, equal ones once."""
        if not self.prompt_length:
            return False
        columns = torch.arange(self.prompt_length)
        real = columns >= self.padding[rows, None]
        first, kind = distinct(self.canvas[rows, : self.prompt_length].masked_fill(~real, -1))
        columns = columns[real.any(0)].expand(len(first), -1)
        nothing = torch.zeros_like(self.canvas[rows[first]], dtype=torch.bool)
        self._send(rows[first], columns, nothing, lambda logits, _: (logits[:, 0],), None)
        self._states.copy(self._place[rows[first[kind]]].to(self.device), self._place[rows].to(self.device))
        self._count(rows, columns, kind.bincount(minlength=len(first))[kind])
        return True

    def predict(self, rows, start, positions, reduction, head_columns):
        columns = start[:, None] + torch.arange(-self.block, self.block)
        self._count(rows, columns)
        return self._send(rows, columns, positions, reduction, head_columns)

    def _visible(self, position, key_position):
        # `block_causal_mask`, for these columns alone.
        return position[:, :, None] // self.block >= key_position[:, None] // self.block
