# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class TraceRLConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`TraceRLTrainer`].

    Only the parameters specific to TraceRL, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the estimator

        steps_per_segment (`int`, *optional*, defaults to `8`):
            Denoising steps in a row that are merged into one, the paper's shrinkage s.
        views_per_forward (`int`, *optional*, defaults to `1`):
            Segments of each completion that go through the model at once. More is faster and takes more memory.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.2`):
            Clipping range of the ratio.
        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's tokens, then over completions.
    """

    steps_per_segment: int = field(default=8, metadata={"help": "Denoising steps in a row that are merged into one."})
    views_per_forward: int = field(
        default=1, metadata={"help": "Segments of each completion that go through the model at once."}
    )
    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})

    _many_passes = True

    def __post_init__(self):
        self._require_count("steps_per_segment")
        self._require_count("views_per_forward")
        super().__post_init__()
