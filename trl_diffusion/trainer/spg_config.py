# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class SPGConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`SPGTrainer`].

    Only the parameters specific to SPG, or with another default than in [`~trl.GRPOConfig`], are listed. There is no
    ratio, no clipping and no KL term.

    Parameters:
        > Parameters that control the estimator

        num_mask_samples (`int`, *optional*, defaults to `2`):
            Masks per completion and update, drawn block by block.
        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked when tokens are scored.

        > Parameters that control the loss

        upper_weight (`float`, *optional*, defaults to `0.5`):
            Weight of the upper bound (EUBO) in the bound that is lowered for bad completions, the paper's omega.
        upper_exponent (`float`, *optional*, defaults to `1.5`):
            Exponent of the upper bound, at least 1, the paper's beta (1.0 for Sudoku).
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    num_mask_samples: int = field(default=2, metadata={"help": "Masks per completion and update."})
    p_mask_prompt: float = field(
        default=0.15, metadata={"help": "Probability that a prompt token is masked when tokens are scored."}
    )
    upper_weight: float = field(default=0.5, metadata={"help": "Weight of the upper bound for bad completions."})
    upper_exponent: float = field(default=1.5, metadata={"help": "Exponent of the upper bound, at least 1."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    _own_loss = True
    _refused = {"beta": "its loss has no KL term."}

    def __post_init__(self):
        self._require_count("num_mask_samples")
        self._require_number("p_mask_prompt", minimum=0, below=1)
        self._require_number("upper_weight", minimum=0)
        self._require(self.upper_weight <= 1, "upper_weight", "must be at most 1.")
        self._require_number("upper_exponent", minimum=1)
        super().__post_init__()
