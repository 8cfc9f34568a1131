# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from ..models import ThresholdHeadConfig
from ..models.threshold import KINDS
from .base_config import DiffusionGRPOConfig


REGIMES = ("model", "sampler", "joint")


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

        > Parameters that control the learned threshold

        regime (`str`, *optional*, defaults to `"model"`):
            What is trained: `"model"`, with the threshold that the options of the sampler name; `"sampler"`, the
            threshold head alone; or both, `"joint"`. Something in the reward must speak for speed, or the head learns
            to be careful: see [`~trl_diffusion.rewards.with_speed_bonus`].
        threshold_head (`str`, *optional*, defaults to `"grid"`):
            `"grid"`, a categorical distribution over `threshold_grid`, or `"continuous"`.
        threshold_grid (`list[float]`, *optional*):
            Thresholds to choose from. Defaults to seven that span the rule's useful range.
        threshold_limit (`float`, *optional*):
            Upper end of the continuous threshold. Defaults to 10 nats, or to probability 1.
        threshold_per_block (`bool`, *optional*, defaults to `False`):
            Whether a threshold is drawn at the start of each block, from the canvas as it then is: a step beyond the
            paper, which draws one per completion.
        threshold_learning_rate (`float`, *optional*, defaults to `1e-3`):
            Learning rate of the head. It follows the schedule of the model's.
        threshold_coefficient (`float`, *optional*, defaults to `1.0`):
            Factor on the head's advantages, relative to those of a token.
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
    regime: str = field(default="model", metadata={"help": "What is trained.", "choices": REGIMES})
    threshold_head: str = field(default="grid", metadata={"help": "The threshold's policy.", "choices": KINDS})
    threshold_grid: list[float] | None = field(
        default=None, metadata={"help": "Thresholds to choose from. Default: seven that span the useful range."}
    )
    threshold_limit: float | None = field(
        default=None, metadata={"help": "Upper end of the continuous threshold. Default: 10 nats, or probability 1."}
    )
    threshold_per_block: bool = field(
        default=False, metadata={"help": "Whether a threshold is drawn at the start of each block."}
    )
    threshold_learning_rate: float = field(default=1e-3, metadata={"help": "Learning rate of the threshold head."})
    threshold_coefficient: float = field(default=1.0, metadata={"help": "Factor on the head's advantages."})

    def __post_init__(self):
        self._require_number("importance_sampling_clip_max", above=0)
        self._require_choice("regime", REGIMES)
        if not self.importance_sampling_correction:
            self._require_unset(("importance_sampling_clip_max",), "`importance_sampling_correction` is off.")
        if self.learns_threshold:
            self._check_threshold_options()
        else:
            options = [f.name for f in dataclasses.fields(self) if f.name.startswith("threshold_")]
            self._require_unset(options, "no threshold is learned. Set `regime='joint'` or `'sampler'`.")
        super().__post_init__()

    def _check_threshold_options(self) -> None:
        self._require_number("threshold_learning_rate", above=0)
        self._require_number("threshold_coefficient", above=0)
        self._require_choice("threshold_head", KINDS)
        self._require(
            self.regime == "joint" or self.beta == 0,
            "beta",
            "with `regime='sampler'` the model does not move away from its reference. Leave it at 0.",
        )
        other = {"grid": "threshold_limit", "continuous": "threshold_grid"}[self.threshold_head]
        self._require_unset((other,), f"`threshold_head={self.threshold_head!r}` does not read it.")
        if self.regime == "sampler":
            names = ("importance_sampling_correction", "importance_sampling_clip_max")
            self._require_unset(names, "`regime='sampler'` does not train the model.")
        self._require_sum_over_tokens()  # the thresholds are tokens, too
        self.threshold_head_config()

    @property
    def learns_threshold(self) -> bool:
        """Whether a threshold head is trained."""
        return self.regime != "model"

    def threshold_head_config(self) -> ThresholdHeadConfig:
        """The head to train, if the model has none yet."""
        initial = {"entropy_bound": self.entropy_bound, "confidence_threshold": self.confidence_threshold}
        try:
            return ThresholdHeadConfig(
                kind=self.threshold_head,
                rule=self.unmasking,
                grid=self.threshold_grid,
                limit=self.threshold_limit,
                initial=initial.get(self.unmasking),
                per_block=self.threshold_per_block,
            )
        except (TypeError, ValueError) as error:  # under the names that the options have here
            message = str(error).replace("`initial`", f"`{self.unmasking}`").replace("`grid`", "`threshold_grid`")
            raise type(error)(message.replace("`limit`", "`threshold_limit`")) from None
