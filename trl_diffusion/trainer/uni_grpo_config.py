# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class UniGRPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`UniGRPOTrainer`].

    Only the parameters specific to UniGRPO, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the loss

        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's masked tokens, then over completions.
    """

    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})
