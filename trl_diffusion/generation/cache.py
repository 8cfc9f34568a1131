# SPDX-License-Identifier: Apache-2.0
"""What the caches of keys and values have in common: a step sends some columns of the canvases through the model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from transformers import DynamicCache

from ..models import DiffusionSpec
from ..models.head import Reduction
from ..models.spec import Prediction, predict


class KeyValueCache(ABC):
    """
    Keys and values of a batch of canvases.

    Args:
        model (`torch.nn.Module`):
            The model.
        spec ([`~trl_diffusion.models.DiffusionSpec`]):
            How to read it.
        device (`torch.device`):
            Where it is, and keys and values are. All other tensors are on the host.
        canvas (`torch.Tensor` of shape `(rows, total_length)`, int64):
            Prompts, padded on the left, and completions. Kept, and read again in every step.
        attention_mask (`torch.Tensor` of shape `(rows, total_length)`):
            `0` on padding.
        row_forwards (`torch.Tensor` of shape `(rows,)`):
            Counts the model's work, in canvases: see [`~trl_diffusion.Trajectory`].
        places (`int`, *optional*):
            Rows that are decoded at a time, and have keys and values. All by default.

    Attributes:
        approximate (`bool`):
            Whether the next step reads what earlier steps have stored, and the model would say something else now.
    """

    approximate = False

    def __init__(
        self,
        model: torch.nn.Module,
        spec: DiffusionSpec,
        device: torch.device,
        canvas: torch.Tensor,
        attention_mask: torch.Tensor,
        row_forwards: torch.Tensor,
        places: int | None = None,
    ) -> None:
        self.model, self.spec, self.device, self.canvas, self.row_forwards = model, spec, device, canvas, row_forwards
        self.padding = (attention_mask == 0).sum(-1)
        rows, length = canvas.shape
        self._states = _States(min(places or rows, rows), length)
        self._place = torch.full((rows,), -1)

    def admit(self, rows: torch.Tensor) -> bool:
        """
        Receive the rows that are being decoded, `(n,)`: new ones take the places of those that are no longer among
        them. Returns whether that took a pass, which wrote nothing.
        """
        place = self._place[rows]
        new = rows[place < 0]
        if not len(new):
            return False
        taken = torch.isin(torch.arange(self._states.places), place)
        self._place[new] = (~taken).nonzero()[: len(new), 0]
        return self._begin(new)

    def _begin(self, rows: torch.Tensor) -> bool:
        """Make a pass over new rows, if one is needed. Returns whether one was."""
        return False

    def together(self, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """Which of these rows are to make the next step, `(n,)`, bool: those that send as many columns."""
        return torch.ones_like(rows, dtype=torch.bool)

    @abstractmethod
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
                Rows, as `together` has chosen them.
            start (`torch.Tensor` of shape `(n,)`, int64):
                First column of each row's active block.
            positions (`torch.Tensor` of shape `(n, total_length)`, bool):
                Columns to predict, all in the active block.
            reduction (`Callable`):
                What is wanted of the logits, see [`~trl_diffusion.models.head.reduce_logits`].
            head_columns (`torch.Tensor` of shape `(n,)`, *optional*):
                Where the threshold head reads. Meaningless where it lies in none of the columns that are sent.

        Returns:
            [`~trl_diffusion.models.spec.Prediction`]
        """

    @abstractmethod
    def _visible(self, position: torch.Tensor, key_position: torch.Tensor) -> torch.Tensor:
        """Who sees whom, `(n, columns or 1, total_length)`, from `(n, columns)` and `(n, total_length)`."""

    def _count(self, rows: torch.Tensor, columns: torch.Tensor, sharing: torch.Tensor | int = 1) -> None:
        """Of the model's work: columns `(n, width)` of each row, or of so many rows together."""
        self.row_forwards[rows] += columns.shape[1] / self.canvas.shape[1] / sharing

    def _send(
        self,
        rows: torch.Tensor,
        columns: torch.Tensor,
        positions: torch.Tensor,
        reduction: Reduction,
        head_columns: torch.Tensor | None,
    ) -> Prediction:
        """Send columns `(n, width)` of the rows through the model, and store their keys and values."""
        total, ids = self.canvas.shape[1], self.canvas[rows]
        inside = columns.clamp(0, total - 1)
        chosen = positions.gather(1, inside) & (columns == inside)
        if head_columns is not None:
            head_columns = (head_columns - columns[:, 0]).clamp(0, columns.shape[1] - 1)
        ids = ids.gather(1, inside)
        places, columns, padding = (x.to(self.device) for x in (self._place[rows], columns, self.padding[rows, None]))
        real = (columns >= padding) & (columns < total)
        # What is no token of the row is computed with the others and stored in a column of its own, which none sees.
        self._states.rows, self._states.columns = places, torch.where(real, columns, total)
        position, key_position = columns - padding, torch.arange(total, device=self.device) - padding
        mask = self._visible(position, key_position) & (key_position >= 0)[:, None]
        mask = torch.nn.functional.pad(mask, (0, 1)).repeat(1, columns.shape[1] // mask.shape[1], 1)
        # Padding sees the first token, lest its softmax be over nothing. The others see it anyway.
        mask.scatter_(2, padding[:, :, None].expand(-1, mask.shape[1], -1), True)
        return predict(
            self.model,
            self.spec,
            ids,
            mask[:, None],
            chosen,
            reduction,
            head_columns,
            device=self.device,
            position_ids=position.clamp(min=0),
            past_key_values=self._states,
        )


class _States(DynamicCache):
    """Keys and values at their columns, of whichever places and columns go through the model next."""

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(self, places: int, length: int) -> None:
        super().__init__()
        self.places, self._shape = places, (places, length + 1)
        self.stored: list[tuple[torch.Tensor, torch.Tensor]] = []  # keys and values of each layer

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        states = key_states.transpose(1, 2), value_states.transpose(1, 2)  # (n, columns, heads, head_dim)
        if layer_idx == len(self.stored):
            keys, values = (x.new_zeros(*self._shape, *x.shape[2:]) for x in states)
            self.stored.append((keys, values))
        keys, values = self.stored[layer_idx]
        for place, new in ((keys, states[0]), (values, states[1])):
            place[self.rows[:, None], self.columns] = new
        return keys[self.rows].transpose(1, 2), values[self.rows].transpose(1, 2)

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Give places `target` what places `source` have."""
        for states in self.stored:
            for values in states:
                values[target] = values[source]
