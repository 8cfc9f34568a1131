# SPDX-License-Identifier: Apache-2.0
"""What a rollout records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass
class Trajectory:
    """
    A batch of rollouts: the final canvases, and when and with what probability each token was written.

    From `unmask_step` alone every canvas that the model saw can be rebuilt, see [`~Trajectory.state_before`].

    Args:
        completion_ids (`torch.Tensor` of shape `(rows, length)`, int64):
            The completion canvas, full width. Positions never written hold the mask token.
        unmask_step (`torch.Tensor` of shape `(rows, length)`, int64):
            Denoising step, counted from 0 in each row, in which the token was written; `-1` if never.
        log_probs (`torch.Tensor` of shape `(rows, length)`, float32):
            Log-probability of the token in the distribution it was drawn from; `0` where never written.
        entropies (`torch.Tensor` of shape `(rows, length)`, float32):
            Entropy, in nats, of the model's distribution when the token was written; `0` where never written.
        nfe (`torch.Tensor` of shape `(rows,)`, int64):
            Forward passes spent on the row.
        threshold (`torch.Tensor` of shape `(rows, blocks)`, float32):
            Threshold that each block was decoded with; NaN under a scheduled rule.
        slack (`torch.Tensor` of shape `(rows,)`, float32):
            Sum over steps of `sum(H) - max(H)` over the tokens written: in nats, as far as the model's marginals are
            consistent, a bound on what parallel writing lost against one token at a time.
        row_forwards (`torch.Tensor` of shape `(rows,)`, float32):
            Share of the row in the model's work: each of its forward passes, divided by the number of rows that had
            the same canvas in this step; with a cache, the share of the canvas that was computed. Summed over rows:
            the canvases that went through the model.
        support (`torch.Tensor` of shape `(rows, length, top_k)`, int32, *optional*):
            Tokens that the distribution was truncated to when the token was drawn, padded with `-1`; `None` if it was
            not truncated.
        threshold_actions (`torch.Tensor` of shape `(rows, blocks)`, float32, *optional*):
            What the threshold policy drew at the start of each block, see [`~trl_diffusion.models.ThresholdPolicy`];
            NaN where it drew nothing. `None` without such a policy.
        threshold_log_probs (`torch.Tensor` of shape `(rows, blocks)`, float32, *optional*):
            Log-probabilities of these actions; `0` where nothing was drawn.
        drift (`torch.Tensor` of shape `(rows, 4)`, float32, *optional*):
            Of an approximate cache, over the tokens that were checked: their number, and the sums of the KL divergence
            from the model, of the importance weights and of their squares. See [`~trl_diffusion.generation.drift`].
    """

    completion_ids: torch.Tensor
    unmask_step: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor
    nfe: torch.Tensor
    threshold: torch.Tensor
    slack: torch.Tensor
    row_forwards: torch.Tensor
    support: torch.Tensor | None = None
    threshold_actions: torch.Tensor | None = None
    threshold_log_probs: torch.Tensor | None = None
    drift: torch.Tensor | None = None

    def state_before(self, step: torch.Tensor | int, mask_token_id: int) -> torch.Tensor:
        """
        The completion canvas that the model saw in a denoising step.

        Args:
            step (`torch.Tensor` of shape `(rows,)`, or `int`):
                The step; `0` gives the fully masked canvas, `nfe` the final one.
            mask_token_id (`int`):
                The mask token.

        Returns:
            `torch.Tensor` of shape `(rows, length)`, int64.
        """
        step = torch.as_tensor(step, device=self.unmask_step.device).reshape(-1, 1)
        written = (self.unmask_step >= 0) & (self.unmask_step < step)
        return torch.where(written, self.completion_ids, mask_token_id)

    def text_mask(self, eos_token_ids: Sequence[int]) -> torch.Tensor:
        """
        The positions of each row's text: up to and including its first end-of-text token.

        Args:
            eos_token_ids (`Sequence[int]`):
                Tokens that end the text.

        Returns:
            `torch.Tensor` of shape `(rows, length)`, bool.
        """
        ids = self.completion_ids
        ends = torch.isin(ids, torch.tensor(eos_token_ids, dtype=ids.dtype, device=ids.device)).long()
        return ends.cumsum(-1) - ends == 0

    def decisive_mask(self, text_mask: torch.Tensor) -> torch.Tensor:
        """
        The tokens that took part in the making of the text: the text itself, and whatever stood behind its end on the
        canvases that the rest of the text was written on.

        Args:
            text_mask (`torch.Tensor` of shape `(rows, length)`, bool):
                The text, all of it written.

        Returns:
            `torch.Tensor` of shape `(rows, length)`, bool.
        """
        last_step = self.unmask_step.masked_fill(~text_mask, -1).amax(-1, keepdim=True)
        return text_mask | ((self.unmask_step >= 0) & (self.unmask_step < last_step))

    def texts(self, eos_token_ids: Sequence[int]) -> list[list[int]]:
        """Token ids of each row's text, see [`~Trajectory.text_mask`]."""
        lengths = self.text_mask(eos_token_ids).sum(-1).tolist()
        return [row[:length] for row, length in zip(self.completion_ids.tolist(), lengths, strict=True)]

    def to_dict(self, prefix: str = "rollout_") -> dict[str, torch.Tensor]:
        """The tensors under prefixed names, to travel in a batch beside others."""
        return {prefix + f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    @classmethod
    def from_dict(cls, batch: dict[str, torch.Tensor], prefix: str = "rollout_") -> Trajectory:
        """The inverse of [`~Trajectory.to_dict`]; other entries of `batch` are left alone."""
        return cls(**{f.name: batch[prefix + f.name] for f in fields(cls) if prefix + f.name in batch})

    def to(self, device: torch.device) -> Trajectory:
        """The same on another device."""
        return Trajectory.from_dict({name: value.to(device) for name, value in self.to_dict().items()})

    def __getitem__(self, rows: slice | torch.Tensor) -> Trajectory:
        """The trajectories of some rows."""
        return Trajectory.from_dict({name: value[rows] for name, value in self.to_dict().items()})

    def __len__(self) -> int:
        return self.completion_ids.shape[0]
