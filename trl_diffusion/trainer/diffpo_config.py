# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class DiFFPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`DiFFPOTrainer`].

    Only the parameters specific to DiFFPO, or with another default than in [`~trl.GRPOConfig`], are listed. The
    paper's hyper-parameters are not published: the defaults are ours, with d1's where d1 has them.

    Parameters:
        > Parameters that control the loss

        importance_sampling_correction (`bool`, *optional*, defaults to `True`):
            Whether tokens are weighted by the ratio of the surrogate's to the sampler's probability under the old
            policy.
        importance_sampling_clip_max (`float`, *optional*, defaults to `2.0`):
            Upper bound of these weights, the paper's C. The value is ours.
        epsilon (`float`, *optional*, defaults to `0.5`):
            Clipping range of the ratio.
        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's tokens, then over completions: the paper's `1/|o|`.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    importance_sampling_correction: bool = field(
        default=True,
        metadata={"help": "Whether tokens are weighted by surrogate over sampler probability under the old policy."},
    )
    importance_sampling_clip_max: float = field(
        default=2.0, metadata={"help": "Upper bound of the importance weights, the paper's C."}
    )
    epsilon: float = field(default=0.5, metadata={"help": "Clipping range of the ratio."})
    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    def __post_init__(self):
        if not self.importance_sampling_clip_max > 0:
            raise ValueError(
                f"`importance_sampling_clip_max` must be positive, got {self.importance_sampling_clip_max}. To train "
                "without the correction, set `importance_sampling_correction=False`."
            )
        super().__post_init__()
