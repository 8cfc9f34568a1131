# SPDX-License-Identifier: Apache-2.0
"""Speed as a part of the reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_speed_bonus(reward_func: Callable[..., list[float]], weight: float, max_nfe: int) -> Callable[..., list]:
    """
    A reward function that pays more for the same reward in fewer forward passes.

        r' = r (1 + weight (1 - nfe / max_nfe))

    The bonus is a factor, so that speed alone earns nothing: a wrong answer stays without reward however fast.

    Args:
        reward_func (`Callable`):
            A reward function as TRL takes them, with rewards of 0 or more.
        weight (`float`):
            What an answer in no time would earn on top, as a share of its reward.
        max_nfe (`int`):
            Forward passes at which there is no bonus: the completion length, one token per pass.

    Returns:
        `Callable`: a reward function. Like all of the trainers' it receives `nfe`. It raises `ValueError` for negative
        rewards, which the factor would make worse for being fast, and for more passes than `max_nfe`.

    Example:

    ```python
    >>> from trl_diffusion.rewards import sudoku_reward, with_speed_bonus
    >>> reward = with_speed_bonus(sudoku_reward, weight=0.5, max_nfe=20)
    ```
    """
    if not weight > 0:
        raise ValueError(f"`weight` must be positive, got {weight}.")
    if max_nfe < 1:
        raise ValueError(f"`max_nfe` must be at least 1, got {max_nfe}.")

    def reward(*args: Any, nfe: list[int], **kwargs: Any) -> list[float | None]:
        rewards = reward_func(*args, nfe=nfe, **kwargs)
        lowest = min((value for value in rewards if value is not None), default=0)
        if lowest < 0:
            raise ValueError(
                f"`reward_func` returned a negative reward ({lowest}), which a speed bonus would make worse for being "
                "fast. Shift its rewards to start at 0."
            )
        if max(nfe, default=0) > max_nfe:
            raise ValueError(f"A completion took {max(nfe)} forward passes, more than `max_nfe={max_nfe}`.")
        return [
            None if value is None else value * (1 + weight * (1 - passes / max_nfe))
            for value, passes in zip(rewards, nfe, strict=True)
        ]

    reward.__name__ = f"{getattr(reward_func, '__name__', 'reward')}_with_speed_bonus"
    return reward
