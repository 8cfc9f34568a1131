# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class JustGRPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`JustGRPOTrainer`].

    Only the parameters specific to JustGRPO, or with another default than in [`~trl.GRPOConfig`], are listed. `top_k`
    and `top_p` may be set: tokens are scored in the truncated distribution they were drawn from.

    Parameters:
        > Parameters that control the sampler

        unmasking (`str`, *optional*, defaults to `"left_to_right"`):
            Must be `"left_to_right"`, one token per step.

        > Parameters that control the estimator

        views_per_forward (`int`, *optional*, defaults to `1`):
            Tokens of each completion that go through the model at once. More is faster and takes more memory.

        > Parameters that control the loss

        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's tokens, then over completions.
    """

    unmasking: str = field(default="left_to_right", metadata={"help": "Must be 'left_to_right'."})
    views_per_forward: int = field(
        default=1, metadata={"help": "Tokens of each completion that go through the model at once."}
    )
    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})

    _exact = True
    _refused = {"unmasking": "it writes from left to right."}
    _many_passes = True

    def __post_init__(self):
        self._require_count("views_per_forward")
        self._require(
            self.max_denoising_steps in (None, self.max_completion_length),
            "max_denoising_steps",
            "JustGRPO writes one token per step; leave it unset.",
        )
        super().__post_init__()
