# SPDX-License-Identifier: Apache-2.0
"""
The exact key-value cache of models with block-causal attention.

Where a position sees its own block and those before it, a block that is complete never changes again, and neither do
its keys and values. A step then sends two blocks through the model instead of the canvas: the active one, and the one
before it, which the active one may have been waiting for and whose keys and values are now final.
"""

from __future__ import annotations

import torch
from transformers import DynamicCache

from ..models import DiffusionSpec
from ..models.head import Reduction
from ..models.spec import Prediction, predict


class BlockCache:
    """
    Keys and values of a batch of canvases, each at its own block.

    Args:
        model (`torch.nn.Module`):
            The model.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it; it has an `attention_block`.
        canvas (`torch.Tensor` of shape `(rows, total_length)`, int64):
            Prompts, padded on the left, and completions. Kept, and read again in every step.
        attention_mask (`torch.Tensor` of shape `(rows, total_length)`):
            `0` on padding.
        prompt_length (`int`):
            Columns of the prompts.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        spec: DiffusionSpec,
        canvas: torch.Tensor,
        attention_mask: torch.Tensor,
        prompt_length: int,
    ) -> None:
        assert spec.attention_block is not None
        self.model, self.spec, self.block = model, spec, spec.attention_block
        self.canvas, self.prompt_length = canvas, prompt_length
        self.padding = (attention_mask == 0).sum(-1)
        self.filled = torch.zeros(len(canvas), dtype=torch.bool, device=canvas.device)
        self._waiting = len(canvas)
        self._states = _States(*canvas.shape)

    def fill(self, rows: torch.Tensor) -> bool:
        """Send the prompts of rows through the model, unless that was done before. Returns whether any was sent."""
        if not self._waiting:  # without asking the device
            return False
        rows = rows[~self.filled[rows]]
        if not rows.numel():
            return False
        self._waiting -= len(rows)
        self.filled[rows] = True
        if not self.prompt_length:
            return False
        columns = torch.arange(self.prompt_length, device=rows.device).expand(len(rows), -1)
        nothing = torch.zeros_like(columns, dtype=torch.bool)
        self._forward(rows, columns, nothing, lambda logits, _: (logits[:, 0],), None)
        return True

    def predict(
        self,
        rows: torch.Tensor,
        start: torch.Tensor,
        positions: torch.Tensor,
        reduction: Reduction,
        head_columns: torch.Tensor | None,
    ) -> Prediction:
        """
        Predict tokens of the active blocks.

        Args:
            rows (`torch.Tensor` of shape `(n,)`, int64):
                Rows, whose prompts have been filled in.
            start (`torch.Tensor` of shape `(n,)`, int64):
                First column of each row's active block.
            positions (`torch.Tensor` of shape `(n, total_length)`, bool):
                Columns to predict, all in the active block.
            reduction (`Callable`):
                What is wanted of the logits, see [`~trl_diffusion.models.head.reduce_logits`].
            head_columns (`torch.Tensor` of shape `(n,)`, *optional*):
                Where the threshold head reads. Meaningless where it lies in neither of the two blocks.

        Returns:
            [`~trl_diffusion.models.spec.Prediction`]
        """
        columns = start[:, None] + torch.arange(-self.block, self.block, device=rows.device)
        exists = (columns >= 0) & (columns < positions.shape[1])
        chosen = positions.gather(1, columns.clamp(0, positions.shape[1] - 1)) & exists
        head = None if head_columns is None else (head_columns - columns[:, 0]).clamp(0, columns.shape[1] - 1)
        return self._forward(rows, columns, chosen, reduction, head)

    def _forward(
        self,
        rows: torch.Tensor,
        columns: torch.Tensor,
        chosen: torch.Tensor,
        reduction: Reduction,
        head: torch.Tensor | None,
    ) -> Prediction:
        padding, total = self.padding[rows, None], self.canvas.shape[1]
        real = (columns >= padding) & (columns < total)
        # What is no token of the row is computed with the others and stored in a column of its own, which none sees.
        self._states.rows, self._states.columns = rows, torch.where(real, columns, total)
        position, key_position = columns - padding, torch.arange(total, device=rows.device) - padding
        # `block_causal_mask`, for these columns alone.
        mask = position[:, :, None] // self.block >= key_position[:, None] // self.block
        mask = torch.nn.functional.pad(mask & (key_position >= 0)[:, None], (0, 1))
        # Padding sees the first token, lest its softmax be over nothing. The others see it anyway.
        mask.scatter_(2, padding[:, :, None].expand(-1, mask.shape[1], -1), True)
        return predict(
            self.model,
            self.spec,
            self.canvas[rows].gather(1, columns.clamp(0, total - 1)),
            mask[:, None],
            chosen,
            reduction,
            head,
            position_ids=position.clamp(min=0),
            past_key_values=self._states,
        )


class _States(DynamicCache):
    """Keys and values at their columns, of whichever rows and columns go through the model next."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, rows: int, length: int) -> None:
        super().__init__()
        self._shape = (rows, length + 1)
        self._stored: dict[tuple[int, str], torch.Tensor] = {}

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        keys = self._put((layer_idx, "keys"), key_states.transpose(1, 2))
        values = self._put((layer_idx, "values"), value_states.transpose(1, 2))
        return keys.transpose(1, 2), values.transpose(1, 2)

    def _put(self, name: tuple[int, str], states: torch.Tensor) -> torch.Tensor:
        """Store states `(n, columns, heads, head_dim)`; return all columns of these rows."""
        if name not in self._stored:
            self._stored[name] = states.new_zeros(*self._shape, *states.shape[2:])
        self._stored[name][self.rows[:, None], self.columns] = states
        return self._stored[name][self.rows]
