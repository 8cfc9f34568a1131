# SPDX-License-Identifier: Apache-2.0
"""Generating problems until there are as many as were asked for, or none are left to be found."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar


# A draw fits with a probability of one in eight to one in a hundred, say. 20,000 draws take a fraction of a second.
ATTEMPTS = 20_000

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def first(draw: Callable[[], Value | None], what: str) -> Value:
    """
    The first draw that fits.

    Args:
        draw (`Callable`):
            Draws; returns `None` where that does not fit.
        what (`str`):
            What is looked for, the options that it depends on, and what to change, for the message.

    Raises:
        `ValueError`: If none of very many draws fits.
    """
    for _ in range(ATTEMPTS):
        if (found := draw()) is not None:
            return found
    raise ValueError(f"None of {ATTEMPTS:,} draws was a {what}")


def distinct(draw: Callable[[], tuple[Key, Value] | None], size: int | None, what: str) -> dict[Key, Value]:
    """
    Rows without repetition.

    Args:
        draw (`Callable`):
            Draws a row's key and value; returns `None` where it is to be left out.
        size (`int`):
            How many.
        what (`str`):
            What the rows are, for the message.

    Raises:
        `ValueError`: If `size` is no number of rows, or many draws in a row have brought nothing new.
    """
    if size is None or not is_count(size):
        raise ValueError(
            f"`size` must be a whole number of at least 1, got {size}: {what} are generated, as many as you ask for."
        )
    rows: dict[Key, Value] = {}
    in_vain = 0
    while len(rows) < size:
        # Of n + 1 rows that are equally likely, the last one is missed by 20 n draws once in e^20 times.
        if in_vain >= max(10_000, 20 * len(rows)):
            raise ValueError(
                f"`size={size}` is more than the distinct {what}: after {len(rows)} of them, {in_vain:,} draws have "
                "brought no other. Lower `size`, or allow more by the task's options."
            )
        drawn, before = draw(), len(rows)
        if drawn is not None:
            rows.setdefault(*drawn)
        in_vain = 0 if len(rows) > before else in_vain + 1
    return rows
