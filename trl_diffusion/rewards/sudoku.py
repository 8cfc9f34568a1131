# SPDX-License-Identifier: Apache-2.0
"""Reward for 4x4 Sudoku."""

from __future__ import annotations

import re
from typing import Any

from ..tasks.sudoku import is_solution
from .extraction import extract_answer


_SEPARATORS = re.compile(r"[\s|,+\-]")


def sudoku_reward(completions: list[Any], puzzle: list[str], **kwargs: Any) -> list[float]:
    """
    `1` for a valid grid that keeps the clues, else `0`.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        puzzle (`list[str]`):
            The puzzles, 16 characters each.

    Returns:
        `list[float]`: one reward per completion.
    """
    answers = (_SEPARATORS.sub("", extract_answer(completion)) for completion in completions)
    return [float(is_solution(p, answer)) for p, answer in zip(puzzle, answers, strict=True)]
