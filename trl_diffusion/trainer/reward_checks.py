# SPDX-License-Identifier: Apache-2.0
"""Reward functions whose errors are raised in all processes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from trl.trainer.utils import is_async_callable

from ..rewards.checks import check_rewards


class RewardErrors:
    """
    Wraps reward functions, and keeps their first error until all processes can hear of it: TRL gathers the rewards of
    all processes, and one that raised would be missing there.
    """

    def __init__(self) -> None:
        self._error: Exception | None = None

    def wrap(self, function: Callable, name: str) -> Callable:
        """The same function, of which errors are kept and rewards checked."""

        @functools.wraps(function, updated=())
        def call(completions: list, **kwargs: Any) -> list[float | None]:
            try:
                return check_rewards(function(completions=completions, **kwargs), len(completions))
            except Exception as error:
                return self._keep(error, name, len(completions))

        @functools.wraps(function, updated=())
        async def call_async(completions: list, **kwargs: Any) -> list[float | None]:
            try:
                return check_rewards(await function(completions=completions, **kwargs), len(completions))
            except Exception as error:
                return self._keep(error, name, len(completions))

        return call_async if is_async_callable(function) else call

    def _keep(self, error: Exception, name: str, rows: int) -> list[float | None]:
        error.add_note(f"In the reward function `{name}`.")
        self._error = self._error or error
        return [0.0] * rows

    def take(self) -> Exception | None:
        """The first error since this was last asked."""
        error, self._error = self._error, None
        return error
