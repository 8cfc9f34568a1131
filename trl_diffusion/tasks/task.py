# SPDX-License-Identifier: Apache-2.0
"""What evaluation, scripts and recipes need to know of a task, and the tasks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from datasets import Dataset

from ..rewards import (
    answer_format_reward,
    boxed_format_reward,
    countdown_reward,
    gsm8k_reward,
    math_reward,
    reasoning_format_reward,
    sudoku_reward,
)
from . import countdown, gsm8k, math500, sudoku


FORMAT_REWARDS: dict[str, Callable[..., list]] = {
    "instruct": answer_format_reward,
    "reasoning": reasoning_format_reward,
    "boxed": boxed_format_reward,
}


@dataclass(frozen=True)
class Task:
    """
    A task.

    Args:
        name (`str`):
            Its name.
        load (`Callable`):
            `load(split, size, *, seed, style, shots)` returns a [`~datasets.Dataset`] with a column `prompt` and the
            columns that the reward reads. It may have more options, with defaults.
        reward (`Callable`):
            A reward function as TRL takes them: `1` for a right answer, `0` for a wrong one, `None` for no verdict.
        completion_length (`int`, *optional*, defaults to `256`):
            Tokens that a large model needs for an answer with its reasoning.
        block_length (`int`, *optional*, defaults to `32`):
            Tokens of a block, where the model is decoded in blocks.
        generated (`bool`, *optional*, defaults to `False`):
            Whether its problems are made up, as many as one wants: `load` then needs a `size`.

    Example:

    ```python
    >>> from trl_diffusion.tasks import get_task
    >>> task = get_task("gsm8k")
    >>> dataset = task.load("train", 8, style="reasoning", shots=2, source="sample")
    >>> reward_funcs = task.reward_funcs("reasoning")
    ```
    """

    name: str
    load: Callable[..., Dataset]
    reward: Callable[..., list]
    completion_length: int = 256
    block_length: int = 32
    generated: bool = False

    def reward_funcs(self, style: str) -> list[Callable[..., list]]:
        """
        Rewards for accuracy and, where the style asks for a format, for keeping to it.

        Args:
            style (`str`):
                The style of the prompts.

        Returns:
            `list[Callable]`: what a trainer takes as `reward_funcs`, with `reward_weights` of your choice.
        """
        format_reward = FORMAT_REWARDS.get(style)
        return [self.reward] if format_reward is None else [self.reward, format_reward]


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("gsm8k", gsm8k.load, gsm8k_reward),
        Task("gsm8k-platinum", partial(gsm8k.load, platinum=True), gsm8k_reward),
        Task("math500", math500.load, math_reward, completion_length=512),
        Task("countdown", countdown.make_dataset, countdown_reward, generated=True),
        Task(
            "countdown4",
            partial(countdown.make_dataset, **countdown.FOUR_NUMBERS),
            countdown_reward,
            generated=True,
        ),
        Task("countdown-hub", countdown.load_from_hub, countdown_reward),
        Task("countdown4-hub", partial(countdown.load_from_hub, count=4), countdown_reward),
        Task("sudoku", sudoku.make_dataset, sudoku_reward, generated=True),
        Task("sudoku-leaky", partial(sudoku.make_dataset, leaky=True), sudoku_reward, generated=True),
    )
}
"""The tasks by their names. One of your own, put here, is known to the command line, too."""


def get_task(name: str) -> Task:
    """
    A task by its name.

    Args:
        name (`str`):
            A key of `TASKS`, which is a dictionary: put your own task there.

    Returns:
        [`Task`]

    Raises:
        `ValueError`: If there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r}, only {', '.join(TASKS)}.")
    return TASKS[name]
