# SPDX-License-Identifier: Apache-2.0
"""A callback that notices when a run goes wrong, hours before somebody looks at its curves."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, sort_checkpoints


logger = logging.getLogger(__name__)

ACTIONS = ("warn", "stop", "roll_back")

# Lower and upper limits of metrics. Ours: what none of the runs in the docs came near to.
LIMITS: dict[str, tuple[float | None, float | None]] = {
    "entropy": (0.01, None),  # the policy has become deterministic: there is nothing to choose from
    "frac_reward_zero_std": (None, 0.95),  # groups that tie teach nothing
    "completions/empty": (None, 0.5),
    "completions/seq_rep_4": (None, 0.5),
    "drift/ess": (0.5, None),  # rollouts by an approximate cache are no longer the policy's
}


class CollapseGuard(TrainerCallback):
    """
    Compares metrics with limits whenever they are logged, and warns, stops, or goes back.

    Args:
        action (`str`, *optional*, defaults to `"warn"`):
            What to do when a metric has been beyond its limit for `patience` logs in a row: `"warn"`, once for each
            metric and streak; `"stop"` training; or `"roll_back"`, which stops it and loads the last checkpoint from
            before the streak, as `load_best_model_at_end` would.
        limits (`dict[str, tuple[float | None, float | None]]`, *optional*):
            Lower and upper limits by metric, in the place of those in `LIMITS`, which hold for the others. Both
            `None`: the metric is not watched.
        patience (`int`, *optional*, defaults to 5):
            Logs in a row.

    Raises:
        `ValueError`: If an argument is none of these, or, when training begins, if there will be no checkpoints to
            roll back to.

    Example:

    ```python
    >>> from trl_diffusion import CollapseGuard
    >>> guard = CollapseGuard("stop", limits={"reward": (0.1, None)}, patience=10)
    >>> trainer = DiFFPOTrainer(..., callbacks=[guard])
    ```
    """

    def __init__(
        self,
        action: str = "warn",
        limits: dict[str, tuple[float | None, float | None]] | None = None,
        patience: int = 5,
    ) -> None:
        if action not in ACTIONS:
            raise ValueError(f"`action` must be one of {', '.join(ACTIONS)}, got {action!r}.")
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(f"`patience` must be a whole number, at least 1, got {patience}.")
        for name, bounds in (limits or {}).items():
            low, high = bounds if isinstance(bounds, Sequence) and len(bounds) == 2 else (math.nan, math.nan)
            if not (low is None or high is None or low <= high):
                raise ValueError(f"`limits[{name!r}]` must be a lower and an upper limit, got {bounds!r}.")
        self.action, self.limits, self.patience = action, LIMITS | (limits or {}), patience
        # Of each metric: logs in a row that are beyond its limits, and the step of the last one that was not.
        self._streak: dict[str, int] = {}
        self._good: dict[str, int] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        self._streak, self._good = {}, {}
        if self.action == "roll_back" and str(args.save_strategy.value) == "no":
            raise ValueError("`action='roll_back'` needs checkpoints: set `save_strategy` and `save_steps`.")

    def on_log(self, args, state, control, logs=None, **kwargs):
        found = [*self._found(logs or {}, state.global_step)]
        if self.action != "warn" and PartialState().num_processes > 1:
            broadcast_object_list(decided := [found])  # times differ between processes, which must stop together
            (found,) = decided
        for what, good in found:
            self._act(args, state, control, what, good)

    def _found(self, logs: dict[str, Any], step: int) -> Iterator[tuple[str, int]]:
        """What has been beyond its limits for long enough, and the last step at which it was not."""
        for name, (low, high) in self.limits.items():
            if logs.get(name) is None:
                continue
            value = float(logs[name])
            if (low is None or value >= low) and (high is None or value <= high):  # NaN is neither
                self._streak[name], self._good[name] = 0, step
                continue
            self._streak[name] = self._streak.get(name, 0) + 1
            if self._streak[name] == self.patience:
                what = f"`{name}` is {value:.4g}, not within ({low}, {high}) for {self.patience} logs"
                yield what, self._good.get(name, 0)

    def _act(self, args, state, control, what: str, last_good: int) -> None:
        since = last_good + 1
        if self.action == "warn":
            logger.warning("%s (since update %d).", what, since)
            return
        control.should_training_stop = True
        if self.action == "stop":
            logger.warning("%s (since update %d): training stops.", what, since)
            return
        good = [path for path in sort_checkpoints(args.output_dir) if _number(path) <= last_good]
        if not good:
            logger.warning("%s (since update %d): training stops. No earlier checkpoint is left.", what, since)
            return
        logger.warning("%s (since update %d): training stops, and goes back to %s.", what, since, good[-1])
        state.best_model_checkpoint = good[-1]
        args.load_best_model_at_end = True


def _number(checkpoint: str) -> int:
    return int(Path(checkpoint).name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-"))
