# SPDX-License-Identifier: Apache-2.0
"""What `trl-diffusion train` looks at before a model is loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..scripts.options import UsageError
from .arguments import check_size, problems_of, style_of, task_named
from .imports import import_function


if TYPE_CHECKING:
    from .train_options import TrainArguments


# Trackers, with the packages that they need.
_TRACKERS = {"comet_ml": "comet-ml"} | {
    name: name for name in ("clearml", "codecarbon", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb")
}


def in_options(error: ValueError) -> ValueError:
    """TRL's error about numbers that it has computed, in options that one can set."""
    found = re.match(r"generation_batch_size \((\d+)\) must be divisible by num_generations \((\d+)\)", str(error))
    if found is None:
        return error
    completions, group = found.groups()
    return ValueError(
        f"`--num_generations {group}` does not divide the {completions} completions of a rollout: they are "
        "`--per_device_train_batch_size` times `--gradient_accumulation_steps` (or `--steps_per_generation`) times "
        "the number of processes. Change one of these."
    )


def warn_of_idle_threshold(args: TrainArguments, config: Any) -> None:
    """Say that nothing pays for speed, which is all that a learned threshold can gain beside accuracy."""
    if getattr(config, "learns_threshold", False) and args.speed_bonus is None and not args.reward:
        print(
            f"`--regime {config.regime}` learns how bold to be, and nothing pays for fewer passes: add "
            "`--speed_bonus 0.5`, or a `--reward` that reads `nfe`.",
            file=sys.stderr,
        )


def check_trackers(names: Sequence[str]) -> None:
    """
    What would be found when the model is loaded.

    Raises:
        `ValueError`: If there is no such tracker.
        `ImportError`: If its package is not installed.
    """
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    installed = get_available_reporting_integrations()
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise ValueError(
                f"`--report_to {name}`: there is none of this name, only {', '.join(INTEGRATION_TO_CALLBACK)}."
            )
        if name in _TRACKERS and name not in installed:
            package = _TRACKERS[name]
            raise ImportError(
                f"`--report_to {name}` needs the package `{package}`: `pip install {package}`, or `--report_to none`."
            )


def problems(args: TrainArguments, model_name: str, max_nfe: int) -> tuple[Any, list[Any]]:
    """
    The dataset, and the rewards.

    Raises:
        `ValueError`: If it is not said what they are, or there are no such.
    """
    from ..rewards import with_speed_bonus

    if (args.task is None) == (args.dataset_name is None):
        raise UsageError("Either `--task` or `--dataset_name` says what to learn.")
    if args.speed_bonus is not None and (args.task is None or args.reward):
        raise ValueError("`--speed_bonus` is for a task's reward. Wrap your own with `rewards.with_speed_bonus`.")
    own = [import_function(name, "--reward") for name in args.reward or []]
    if args.task is None:
        if not own:
            raise ValueError("`--dataset_name` needs a `--reward` that judges the answers.")
        return _own_problems(str(args.dataset_name), args.dataset_train_split), own
    check_size("--train_size", args.train_size)
    task, style = task_named(args.task), style_of(args.style, model_name) or "reasoning"
    size = 2000 if args.train_size is None and task.generated else args.train_size
    accuracy, *formats = task.reward_funcs(style)
    if args.speed_bonus is not None:
        accuracy = with_speed_bonus(accuracy, args.speed_bonus, max_nfe)
    return problems_of(task, "train", size, style, args.task_options), own or [accuracy, *formats]


def _own_problems(name: str, split: str) -> Any:
    """
    A dataset of the user's.

    Raises:
        `ValueError`: If it cannot be read, for reasons of which each format has its own.
    """
    from datasets import load_dataset

    try:
        return load_dataset(name, split=split)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # `datasets` says what happened only in the first of them
            cause = cause.__cause__
        said = " ".join(f"{cause}".split()) or type(cause).__name__
        empty = "; is it empty?" if isinstance(cause, StopIteration) else "."
        raise ValueError(f"`--dataset_name {name}` cannot be read: {said.removesuffix('.')}{empty}") from error
