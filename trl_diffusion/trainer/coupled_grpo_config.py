# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class CoupledGRPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`CoupledGRPOTrainer`].

    Only the parameters specific to coupled-GRPO, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the estimator

        min_mask_rate (`float`, *optional*, defaults to `0.2`):
            Lower bound of the rate of the random mask.
        max_mask_rate (`float`, *optional*, defaults to `0.8`):
            Upper bound of that rate.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.5`):
            Clipping range of the ratio.
        loss_type (`str`, *optional*, defaults to `"bnpo"`):
            The mean over all tokens of the batch.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation. The paper's leave-one-out
            advantage is `G / (G - 1)` times this one.
    """

    min_mask_rate: float = field(default=0.2, metadata={"help": "Lower bound of the rate of the random mask."})
    max_mask_rate: float = field(default=0.8, metadata={"help": "Upper bound of that rate."})
    epsilon: float = field(default=0.5, metadata={"help": "Clipping range of the ratio."})
    loss_type: str = field(default="bnpo", metadata={"help": "The loss formulation, see GRPOConfig."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    def __post_init__(self):
        self._require_number("min_mask_rate", above=0, below=1)
        self._require_number("max_mask_rate", above=0, below=1)
        self._require(self.min_mask_rate <= self.max_mask_rate, "min_mask_rate", "is above `max_mask_rate`.")
        super().__post_init__()
