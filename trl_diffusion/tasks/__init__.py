# SPDX-License-Identifier: Apache-2.0
"""The tasks, each in a module of its own, and by name with [`get_task`]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .task import TASKS, Task, get_task


__all__ = ["TASKS", "Task", "get_task"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # not before they are used: rewards need the rules of the puzzles, and tasks the rewards
        from . import task

        return getattr(task, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
