# SPDX-License-Identifier: Apache-2.0
"""Reward for 4x4 Sudoku."""

from __future__ import annotations

import re
from typing import Any

from ..tasks.sudoku import BLANK, CELLS, SIDE, is_solution
from .extraction import extract_answer
from .latex import split_label


# What grids are drawn with: spaces, lines, brackets of lists, LaTeX's & and \\\\, bold type, code.
_DRAWN = re.compile(
    r"\\(?:begin|end)\s*\{[a-zA-Z]+\*?\}(?:\{[lcr|@ ]*\})?|\\(?:hline|q?quad)(?![a-zA-Z])|<br\s*/?>"
    r"|\\(?:text|texttt|mathrm|mathtt|mathbf|textbf)\s*(?=\{)|^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*$",
    re.MULTILINE,
)
_ROWS = [
    re.compile("".join(pattern.format(row) for row in range(1, SIDE + 1)), re.IGNORECASE)
    for pattern in (r"\W*r(?:ow)?\W{{0,3}}{}\W*[:=]([^:=a-z]*)", r"\s*{}[.)]\s+([^.)a-z\n]*)(?:\n|\Z)")
]
_SEPARATORS = re.compile(r"[\s|,;+/\-_=\u2500-\u257f\[\](){}&\\\\*`$\"']")


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
    answers = map(_extract_grid, completions)
    return [float(is_solution(p, answer)) for p, answer in zip(puzzle, answers, strict=True)]


def sudoku_cells_reward(completions: list[Any], puzzle: list[str], solution: list[str], **kwargs: Any) -> list[float]:
    """
    The share of the empty cells that are filled as in the solution.

    It is for puzzles with a single solution. A grid of another size, or one that changes a clue, gets nothing. There
    the papers' reward, which is d1's, is not as strict: it takes the digits within an `<answer>` tag, pads or cuts
    them to 16, and pays for the empty cells whatever became of the clues. Boxes and bare grids it does not read.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        puzzle (`list[str]`):
            The puzzles, 16 characters each.
        solution (`list[str]`):
            Their solutions, 16 digits each.

    Returns:
        `list[float]`: one reward per completion.
    """
    answers = map(_extract_grid, completions)
    return [_share_of_cells(*row) for row in zip(puzzle, solution, answers, strict=True)]


def _extract_grid(completion: Any) -> str:
    text = _DRAWN.sub("", split_label(extract_answer(completion))[1]).strip()
    rows = next(filter(None, (rows.fullmatch(text) for rows in _ROWS)), None)  # Row 1: 1234, Row 2: …, in order
    if rows is None:
        return _SEPARATORS.sub("", text.removesuffix("."))  # as at the end of a sentence; within, it is a blank
    cells = [_SEPARATORS.sub("", row) for row in rows.groups()]
    return "".join(cells) if all(len(row) == SIDE for row in cells) else ""


def _share_of_cells(puzzle: str, solution: str, answer: str) -> float:
    if len(answer) != CELLS or any(clue not in (BLANK, cell) for clue, cell in zip(puzzle, answer)):
        return 0.0
    empty = [i for i, clue in enumerate(puzzle) if clue == BLANK]
    return sum(answer[i] == solution[i] for i in empty) / len(empty) if empty else 1.0
