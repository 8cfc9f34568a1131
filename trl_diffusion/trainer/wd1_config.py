# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class WD1Config(DiffusionGRPOConfig):
    r"""
    Configuration of [`WD1Trainer`].

    Only the parameters specific to wd1, or with another default than in [`~trl.GRPOConfig`], are listed. There is no
    ratio, no clipping and no KL term.

    Parameters:
        > Parameters that control the estimator

        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked when tokens are scored.

        > Parameters that control the loss

        psi (`float`, *optional*, defaults to `1.0`):
            Inverse temperature of the weights' softmax over a group's advantages.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    p_mask_prompt: float = field(
        default=0.15, metadata={"help": "Probability that a prompt token is masked when tokens are scored."}
    )
    psi: float = field(default=1.0, metadata={"help": "Inverse temperature of the weights' softmax."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    _own_loss = True
    _refused = {"beta": "its loss has no KL term."}

    def __post_init__(self):
        self._require_number("p_mask_prompt", minimum=0, below=1)
        self._require_number("psi", above=0)
        super().__post_init__()
