# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class DiffuGRPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`DiffuGRPOTrainer`].

    Only the parameters specific to diffu-GRPO, or with another default than in [`~trl.GRPOConfig`], are listed. The
    defaults make d1's loss; its other hyper-parameters (`beta=0.04`, `num_iterations=12`, `num_generations=6`,
    `learning_rate=3e-6`, `temperature=0.9`) are a recipe, and left to you.

    Parameters:
        > Parameters that control the estimator

        p_mask_prompt (`float`, *optional*, defaults to `0.15`):
            Probability that a prompt token is masked when tokens are scored.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.5`):
            Clipping range of the ratio.
        loss_type (`str`, *optional*, defaults to `"bnpo"`):
            The mean over all tokens of the batch.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    p_mask_prompt: float = field(
        default=0.15, metadata={"help": "Probability that a prompt token is masked when tokens are scored."}
    )
    epsilon: float = field(default=0.5, metadata={"help": "Clipping range of the ratio."})
    loss_type: str = field(default="bnpo", metadata={"help": "The loss formulation, see GRPOConfig."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    def __post_init__(self):
        self._require_number("p_mask_prompt", minimum=0, below=1)
        super().__post_init__()
