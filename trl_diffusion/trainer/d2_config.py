# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class D2Config(DiffusionGRPOConfig):
    r"""
    Configuration of [`D2Trainer`].

    Only the parameters specific to d2, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the estimator

        num_segments (`int`, *optional*, defaults to `8`):
            Segments that a rollout's denoising steps are merged into, the paper's N (8 for GSM8K, 16 elsewhere).
        views_per_forward (`int`, *optional*, defaults to `1`):
            Segments of each completion that go through the model at once. More is faster and takes more memory.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.5`):
            Clipping range of the ratio.
        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's tokens, then over completions.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    num_segments: int = field(default=8, metadata={"help": "Segments that a rollout's steps are merged into."})
    views_per_forward: int = field(
        default=1, metadata={"help": "Segments of each completion that go through the model at once."}
    )
    epsilon: float = field(default=0.5, metadata={"help": "Clipping range of the ratio."})
    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    _many_passes = True

    def __post_init__(self):
        self._require_count("num_segments")
        self._require_count("views_per_forward")
        super().__post_init__()
