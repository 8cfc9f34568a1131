# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from ..generation.config import RULE_NAMES
from ..likelihood.trajectory_estimators import STEP_DISTRIBUTIONS
from .base_config import DiffusionGRPOConfig


@dataclass
class AGRPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`AGRPOTrainer`].

    Only the parameters specific to AGRPO, or with another default than in [`~trl.GRPOConfig`], are listed. `top_k` and
    `top_p` may be set: tokens are scored in the truncated distribution they were drawn from.

    Parameters:
        > Parameters that control the estimator

        num_step_draws (`int`, *optional*, defaults to `8`):
            Denoising steps drawn per completion and update, the paper's k (`mc_samples` in its code, 24 in its
            recipe). More draws cost time and not memory, and lower the variance; none is biased. A step drawn twice is
            scored once.
        step_distribution (`str`, *optional*, defaults to `"entropy"`):
            What steps are drawn in proportion to: `"entropy"` of the tokens written, with a tenth of `"uniform"` mixed
            in, or `"uniform"`. The weights make up for it.
        stratify_steps (`bool`, *optional*, defaults to `True`):
            Whether the draws of a completion are spread evenly (`low_discrepancy` in the paper's code).
        views_per_forward (`int`, *optional*, defaults to `1`):
            Drawn steps of each completion that go through the model at once. More is faster and takes more memory.

        > Parameters that control the loss

        loss_type (`str`, *optional*, defaults to `"grpo"`):
            The mean over a completion's tokens, then over completions.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
        unmasking (`str`, *optional*, defaults to `"random"`):
            The unmasking rule. Under a rule that depends on the model, the gradient is that of the tokens' likelihood
            given the order in which they were written; random order has no other part.
    """

    num_step_draws: int = field(
        default=8, metadata={"help": "Denoising steps drawn per completion and update, the paper's k."}
    )
    step_distribution: str = field(
        default="entropy", metadata={"help": "What steps are drawn in proportion to.", "choices": STEP_DISTRIBUTIONS}
    )
    stratify_steps: bool = field(
        default=True, metadata={"help": "Whether the draws of a completion are spread evenly."}
    )
    views_per_forward: int = field(
        default=1, metadata={"help": "Drawn steps of each completion that go through the model at once."}
    )
    loss_type: str = field(default="grpo", metadata={"help": "The loss formulation, see GRPOConfig."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})
    unmasking: str = field(default="random", metadata={"help": "The unmasking rule.", "choices": RULE_NAMES})

    _exact = True
    _many_passes = True

    def __post_init__(self):
        self._require_count("num_step_draws")
        self._require_count("views_per_forward")
        self._require_choice("step_distribution", STEP_DISTRIBUTIONS)
        self._require(
            self.num_step_draws <= self.max_nfe,
            "num_step_draws",
            f"more draws than denoising steps (at most {self.max_nfe} here). Lower it, or score all steps with "
            "`num_step_draws` equal to the number of steps.",
        )
        super().__post_init__()
