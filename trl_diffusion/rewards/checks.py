# SPDX-License-Identifier: Apache-2.0
"""Reward functions that return what they should, or say what they did."""

from __future__ import annotations

import math
from typing import Any


def check_rewards(rewards: Any, rows: int) -> list[float | None]:
    """
    Rewards as numbers, `None` where there is none.

    Args:
        rewards:
            What a reward function returned.
        rows (`int`):
            Completions that it was given.

    Raises:
        `TypeError`: If it is no sequence of numbers or `None`.
        `ValueError`: If it has another length, or a number is infinite.
    """
    if isinstance(rewards, (str, bytes, dict)) or not hasattr(rewards, "__len__"):
        raise TypeError(
            f"The reward function returned {_brief(rewards)}, expected a list of {rows} numbers, one for each."
        )
    if len(rewards) != rows:
        raise ValueError(
            f"The reward function returned {len(rewards)} rewards for {rows} completions, expected one for each."
        )
    return [_number(reward, row) for row, reward in enumerate(rewards)]


def _number(reward: Any, row: int) -> float | None:
    if reward is None:
        return None
    try:
        number = float(reward)
    except (TypeError, ValueError):
        raise TypeError(f"Reward {row} is {_brief(reward)}, expected a number, or `None` for no reward.") from None
    if isinstance(reward, str):
        raise TypeError(f"Reward {row} is {_brief(reward)}, expected a number, or `None` for no reward.")
    if math.isinf(number):
        raise ValueError(f"Reward {row} is infinite: the advantages of its group would be NaN.")
    return None if math.isnan(number) else number  # TRL takes both for "no reward"


def _brief(value: Any) -> str:
    return f"a {type(value).__name__} ({str(value)[:60]!r})" if value is not None else "None"
