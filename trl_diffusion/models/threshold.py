# SPDX-License-Identifier: Apache-2.0
"""
A learned threshold: a small head on the model's hidden state that says how bold parallel unmasking may be.

[DiFFPO](https://huggingface.co/papers/2510.02212) draws the entropy bound of each prompt from a distribution that is
trained by the same policy gradient as the model, as if it were one more token. The paper does not publish the head.
This one reads the last position before the block that is about to be written, which attends to all of the canvas, and
has two variants: a categorical distribution over a grid of thresholds, and a normal one in the logit of the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from transformers import initialization as init


DEFAULT_GRIDS = {
    "entropy_bound": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    "confidence_threshold": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
}
KINDS = ("grid", "continuous")

# A threshold beyond it would be the same as one at it: probabilities end at 1.
_HIGHEST = {"entropy_bound": math.inf, "confidence_threshold": 1.0}
_DEFAULT_LIMITS = {"entropy_bound": 10.0, "confidence_threshold": 1.0}
_DEFAULT_INITIAL = {"entropy_bound": 0.1, "confidence_threshold": 0.9}


@dataclass
class ThresholdHeadConfig:
    r"""
    What a threshold head decides, and how. It is kept in the model's configuration, under `threshold_head`.

    Args:
        kind (`str`, *optional*, defaults to `"grid"`):
            `"grid"` or `"continuous"`.
        rule (`str`, *optional*, defaults to `"entropy_bound"`):
            The unmasking rule whose threshold it is.
        grid (`list[float]`, *optional*):
            Thresholds to choose from, ascending. Defaults to seven that span the rule's useful range.
        limit (`float`, *optional*):
            Upper end of the continuous threshold, whose lower end is 0. Defaults to 10 nats, or to probability 1.
        initial (`float`, *optional*):
            Threshold that the untrained head prefers. Defaults to 0.1 nats, or to probability 0.9.
        per_block (`bool`, *optional*, defaults to `False`):
            Whether a threshold is chosen at the start of each block, from the canvas as it then is, instead of once.
    """

    kind: str = "grid"
    rule: str = "entropy_bound"
    grid: list[float] | None = None
    limit: float | None = None
    initial: float | None = None
    per_block: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"`kind` of a threshold head must be 'grid' or 'continuous', got {self.kind!r}.")
        if self.rule not in DEFAULT_GRIDS:
            raise ValueError(
                f"The unmasking rule {self.rule!r} has no threshold to learn; those of "
                f"{' and '.join(map(repr, DEFAULT_GRIDS))} can be learned."
            )
        if self.grid is not None and not isinstance(self.grid, (list, tuple)):
            raise TypeError(f"`grid` must be a list of numbers, got {self.grid!r}.")
        self.grid = list(DEFAULT_GRIDS[self.rule] if self.grid is None else self.grid)
        self.limit = _DEFAULT_LIMITS[self.rule] if self.limit is None else self.limit
        self.initial = _DEFAULT_INITIAL[self.rule] if self.initial is None else self.initial
        if not all(isinstance(threshold, (int, float)) for threshold in (*self.grid, self.limit, self.initial)):
            raise TypeError(f"`grid` and `limit` must be numbers, got {self.grid} and {self.limit!r}.")
        highest = _HIGHEST[self.rule]
        ascending = all(a < b for a, b in pairwise([0, *self.grid]))  # also refuses NaN
        if len(self.grid) < 2 or not ascending or not self.grid[-1] <= highest:
            raise ValueError(
                f"`grid` must hold at least two thresholds in ascending order, above 0 and at most {highest}, "
                f"got {self.grid}."
            )
        if not (0 < self.limit <= highest and math.isfinite(self.limit)):
            raise ValueError(f"`limit` must be above 0, finite, and at most {highest}, got {self.limit}.")
        if not 0 < self.initial < (self.limit if self.kind == "continuous" else math.inf):
            bound = f"and below `limit` ({self.limit})" if self.kind == "continuous" else "and finite"
            raise ValueError(
                f"`initial` is where the learned threshold starts: it must be above 0 {bound}, got {self.initial}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The fields, as plain values."""
        return asdict(self)


class ThresholdPolicy:
    """
    The distribution of the threshold, given the head's output. Holds no parameters.

    An *action* is what was drawn: the index into the grid, or the logit of the threshold over its limit.
    """

    def __init__(self, config: ThresholdHeadConfig) -> None:
        self.config = config
        self.grid = cast(list[float], config.grid)
        self.limit, self.initial = cast(float, config.limit), cast(float, config.initial)

    @property
    def num_outputs(self) -> int:
        """Size of the head's output: logits of the grid, or mean and log standard deviation."""
        return len(self.grid) if self.config.kind == "grid" else 2

    def initial_outputs(self) -> list[float]:
        """What the untrained head says: it prefers `initial`, and tries thresholds of other magnitudes, too."""
        if self.config.kind == "grid":
            return [-0.5 * abs(math.log(threshold / self.initial)) for threshold in self.grid]
        return [math.log(self.initial / (self.limit - self.initial)), math.log(0.5)]

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions `(n,)` from outputs `(n, num_outputs)` and uniform numbers `(n,)`."""
        if self.config.kind == "grid":
            cumulative = outputs.softmax(-1).to(noise.dtype).cumsum(-1)
            drawn = torch.searchsorted(cumulative, (noise * cumulative[:, -1])[:, None], right=True)[:, 0]
            return drawn.clamp(max=len(self.grid) - 1).float()
        normal = self._normal(outputs)
        return normal.icdf(noise.clamp(1e-6, 1 - 1e-6).to(outputs.dtype))

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The most likely action."""
        return outputs.argmax(-1).float() if self.config.kind == "grid" else outputs[:, 0]

    def threshold(self, actions: torch.Tensor) -> torch.Tensor:
        """The thresholds that actions stand for."""
        if self.config.kind == "grid":
            return torch.tensor(self.grid, device=actions.device)[actions.long()]
        return self.limit * actions.sigmoid()

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Log-probability of actions, or its density in the logit."""
        if self.config.kind == "grid":
            return outputs.log_softmax(-1).gather(-1, actions.long()[:, None])[:, 0]
        return self._normal(outputs).log_prob(actions)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """Entropy in nats; differential, in the logit, if continuous."""
        if self.config.kind == "grid":
            return torch.distributions.Categorical(logits=outputs).entropy()
        return self._normal(outputs).entropy()

    @staticmethod
    def _normal(outputs: torch.Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(outputs[:, 0], outputs[:, 1].clamp(-4.0, 1.0).exp(), validate_args=False)


class ThresholdHead(nn.Module):
    """
    Two layers on a hidden state.

    It is kept in float32 whatever the model's precision is, since updates of a head that small vanish in the rounding
    of bfloat16; and it sends no gradient into the model: what the threshold learns does not disturb the text.

    Args:
        hidden_size (`int`):
            Width of the hidden state.
        config ([`ThresholdHeadConfig`]):
            What the output means.
    """

    def __init__(self, hidden_size: int, config: ThresholdHeadConfig) -> None:
        super().__init__()
        self.policy = ThresholdPolicy(config)
        self.hidden = nn.Linear(hidden_size, hidden_size, dtype=torch.float32)
        self.output = nn.Linear(hidden_size, self.policy.num_outputs, dtype=torch.float32)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden_states.device.type, enabled=False):
            features = hidden_states.detach().to(self.hidden.weight.dtype)
            return self.output(nn.functional.silu(self.hidden(features))).float()

    def reset_output(self) -> None:
        """The same distribution for every prompt, to start with."""
        init.zeros_(self.output.weight)
        bias = self.output.bias
        init.copy_(bias, torch.tensor(self.policy.initial_outputs(), device=bias.device))


class ThresholdHeadMixin:
    """For models that may carry a threshold head. Mixed into the class with the LM head."""

    threshold_head: ThresholdHead | None
    _keys_to_ignore_on_load_missing: set[str] | list[str] | None  # transformers'

    # On loading in half precision; the first is also what quantisation leaves alone.
    _keep_in_fp32_modules: set[str] | list[str] | None = ["threshold_head"]
    _keep_in_fp32_modules_strict: set[str] | list[str] | None = ["threshold_head"]

    def _make_threshold_head(self) -> None:
        """Build the head that the configuration describes, if it describes one. Before `post_init`."""
        described = getattr(self.config, "threshold_head", None)  # type: ignore[attr-defined]
        self.threshold_head = None
        if described is not None:
            config = ThresholdHeadConfig(**described)
            self.threshold_head = ThresholdHead(self.config.hidden_size, config)  # type: ignore[attr-defined]

    @classmethod
    @contextmanager
    def head_may_be_missing(cls, is_new: bool) -> Iterator[None]:
        """Have transformers not report that a checkpoint lacks the weights of a head, where it `is_new`."""
        reported = cls._keys_to_ignore_on_load_missing
        if is_new:
            cls._keys_to_ignore_on_load_missing = [*(reported or ()), r"^threshold_head\."]
        try:
            yield
        finally:
            cls._keys_to_ignore_on_load_missing = reported

    def add_threshold_head(self, config: ThresholdHeadConfig) -> None:
        """Give a loaded model a new, untrained head."""
        self.config.threshold_head = config.to_dict()  # type: ignore[attr-defined]
        self._make_threshold_head()
        head = cast(ThresholdHead, self.threshold_head)
        head.to(self.device)  # type: ignore[attr-defined]
        head.reset_output()


def threshold_policy(model: nn.Module) -> ThresholdPolicy | None:
    """The policy of a model's threshold head, `None` if it has none. The model may be wrapped by PEFT."""
    described = getattr(model.config, "threshold_head", None)
    return None if described is None else ThresholdPolicy(ThresholdHeadConfig(**described))
