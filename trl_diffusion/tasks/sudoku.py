# SPDX-License-Identifier: Apache-2.0
"""4x4 Sudoku: fill the grid so that every row, column and 2x2 box holds 1, 2, 3 and 4.

The grid is written row by row as 16 characters, blanks as dots: `4..1.3.......2.3`. There are only 288 solved grids,
so a random split of puzzles leaks solutions: here the solved grids themselves are split, and no puzzle text occurs on
both sides either. A puzzle may have several solutions; every valid one counts.
"""

from __future__ import annotations

import functools
import random
from typing import Any
from zlib import crc32

from datasets import Dataset

from .generated import distinct, first
from .prompts import STYLES, WorkedExample, choose, conversation, instruction
from .splits import Split, check_split


SIDE = 4
CELLS = SIDE * SIDE
BLANK = "."
COMPLETION_LENGTH = CELLS + 4  # the grid, its end-of-text token, and padding to a multiple of the usual block lengths


def _units() -> list[tuple[int, ...]]:
    """The twelve sets of cells that must hold four different digits: rows, columns and boxes."""
    rows = [tuple(range(SIDE * r, SIDE * r + SIDE)) for r in range(SIDE)]
    columns = [tuple(range(c, CELLS, SIDE)) for c in range(SIDE)]
    boxes = [(i, i + 1, i + SIDE, i + SIDE + 1) for i in (0, 2, 8, 10)]
    return rows + columns + boxes


UNITS = _units()


def is_solution(puzzle: str, answer: str) -> bool:
    """Whether `answer` is a complete, valid grid that keeps every clue of `puzzle`."""
    if len(answer) != CELLS or len(puzzle) != CELLS:
        return False
    if any(clue not in (BLANK, cell) for clue, cell in zip(puzzle, answer, strict=True)):
        return False
    return all({answer[i] for i in unit} == set("1234") for unit in UNITS)


@functools.cache
def solved_grids() -> tuple[str, ...]:
    """All 288 solved grids, in lexicographic order."""
    grids: list[str] = []

    def extend(cells: list[str]) -> None:
        position = len(cells)
        if position == CELLS:
            grids.append("".join(cells))
            return
        used = {cells[i] for unit in UNITS if position in unit for i in unit if i < position}
        for digit in "1234":
            if digit not in used:
                extend([*cells, digit])

    extend([])
    return tuple(grids)


@functools.cache
def split_grids(split: Split) -> tuple[str, ...]:
    """The solved grids of one split: a fixed quarter of the 288 is held out for `"test"`."""
    grids = list(solved_grids())
    random.Random(0).shuffle(grids)
    held_out = len(grids) // 4
    return tuple(grids[:held_out] if split == "test" else grids[held_out:])


@functools.cache
def _grids_with(cell: int, digit: str) -> int:
    """The solved grids that have `digit` in `cell`, as a bit set."""
    return sum(1 << i for i, grid in enumerate(solved_grids()) if grid[cell] == digit)


def count_solutions(puzzle: str) -> int:
    """How many solved grids keep every clue of `puzzle`."""
    candidates = (1 << len(solved_grids())) - 1
    for cell, clue in enumerate(puzzle):
        if clue != BLANK:
            candidates &= _grids_with(cell, clue)
    return candidates.bit_count()


def _belongs_to(puzzle: str, split: Split) -> bool:
    """Few clues fit grids of both splits: the puzzle's own checksum decides which side may ask it."""
    return (crc32(puzzle.encode()) % 4 == 0) == (split == "test")


def sample_puzzle(
    rng: random.Random, split: Split, clues: tuple[int, int] = (4, 8), unique: bool = True, leaky: bool = False
) -> tuple[str, str]:
    """
    Draw one puzzle and the solved grid it was cut from.

    Args:
        rng (`random.Random`):
            Source of randomness.
        split (`str`):
            `"train"` or `"test"`.
        clues (`tuple[int, int]`, *optional*, defaults to `(4, 8)`):
            Smallest and largest number of given cells.
        unique (`bool`, *optional*, defaults to `True`):
            Whether the puzzle must have a single solution. Then at least 4 clues are needed.
        leaky (`bool`, *optional*, defaults to `False`):
            Whether both splits draw from all solved grids, see [`make_dataset`].

    Returns:
        `tuple[str, str]`: the puzzle and the grid, 16 characters each.

    Raises:
        `ValueError`: If an argument admits no puzzle.
    """
    check_split(split)
    least = 4 if unique else 0
    if not _is_range(clues, least):
        raise ValueError(
            f"`clues={clues}` must be a smallest and a largest number between {least} and {CELLS}"
            + (" (with fewer, no solution is the only one; see `unique`)." if unique else ".")
        )
    grids = solved_grids() if leaky else split_grids(split)

    def draw() -> tuple[str, str] | None:
        grid = rng.choice(grids)
        given = set(rng.sample(range(CELLS), rng.randint(*clues)))
        puzzle = "".join(cell if i in given else BLANK for i, cell in enumerate(grid))
        fits = _belongs_to(puzzle, split) and not (unique and count_solutions(puzzle) > 1)
        return (puzzle, grid) if fits else None

    return first(draw, f"{split} puzzle with `clues={clues}` and `unique={unique}`. Allow more clues.")


def _is_range(clues: Any, least: int) -> bool:
    """Whether these are a smallest and a largest number of clues."""
    if not isinstance(clues, (tuple, list)) or [type(n) for n in clues] != [int, int]:
        return False
    return least <= clues[0] <= clues[1] <= CELLS


def _question(puzzle: str) -> str:
    rows = "\n".join(puzzle[SIDE * r : SIDE * r + SIDE] for r in range(SIDE))
    return (
        "Solve this 4x4 Sudoku. Fill every dot with a digit from 1 to 4 so that each row, each column and "
        f"each 2x2 box contains 1, 2, 3 and 4 exactly once. Keep the given digits.\n\n{rows}"
    )


# Puzzles of the training split.
_SOLVED = (
    (
        "1....2..2.344.12",
        "Row 3 lacks only a 1: 2134. Row 4 lacks only a 3: 4312. Column 1 has 1, 2 and 4, so row 2 starts with a 3. "
        "The box at the top left has 1, 3 and 2, so the second cell of row 1 is a 4. Row 1 still lacks 2 and 3, and "
        "column 3 has a 3: 1423. Row 2 still lacks 1 and 4, and column 3 has a 1: 3241.",
        "1423324121344312",
    ),
    (
        "3.1.214......321",
        "Row 2 lacks only a 3: 2143. Row 4 lacks only a 4: 4321. The box at the top left has 3, 2 and 1, so the "
        "second cell of row 1 is a 4, and its last one a 2: 3412. Now each column lacks one digit: 1, 2, 3 and 4, "
        "which are row 3.",
        "3412214312344321",
    ),
    (
        "1.24.21.31....3.",
        "Row 1 lacks only a 3: 1324. The box at the top left has 1, 3 and 2, so row 2 starts with a 4, and ends with "
        "a 3: 4213. Row 3 lacks 2 and 4, and column 4 has a 4: 3142. Now each column lacks one digit: 2, 4, 3 and 1, "
        "which are row 4.",
        "1324421331422431",
    ),
)
EXAMPLES = tuple(WorkedExample(_question(puzzle), reasoning, grid) for puzzle, reasoning, grid in _SOLVED)


def format_prompt(puzzle: str, style: str, shots: int = 0) -> Any:
    """
    The puzzle as the model sees it.

    Args:
        puzzle (`str`):
            The puzzle, 16 characters.
        style (`str`):
            `"compact"` for the embedded model, or `"instruct"`, `"reasoning"` and `"boxed"` for conversations.
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before the puzzle, up to three.

    Returns:
        `str` or `list[dict[str, str]]`: the prompt.

    Raises:
        `ValueError`: If the style does not exist, or has not as many examples.
    """
    if style == "compact":
        choose((), shots, "prompts in the style 'compact' have no worked examples")
        return puzzle + "="
    if style not in STYLES:
        raise ValueError(f"`style` must be 'compact', {', '.join(map(repr, STYLES))}, got {style!r}.")
    if style == "instruct":
        ask = "Answer with the 16 digits of the solved grid, row by row, between <answer> and </answer>."
    else:
        ask = instruction("the 16 digits of the solved grid, row by row,", style)
    return conversation(_question(puzzle), "\n\n" + ask, style, choose(EXAMPLES, shots))


def make_dataset(
    split: Split,
    size: int | None = None,
    *,
    seed: int = 0,
    clues: tuple[int, int] = (4, 8),
    unique: bool = True,
    style: str = "compact",
    shots: int = 0,
    leaky: bool = False,
) -> Dataset:
    """
    Generate puzzles, without repeating one.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        size (`int`):
            Number of puzzles. There is no default.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the generator. The same arguments give the same dataset.
        clues (`tuple[int, int]`, *optional*, defaults to `(4, 8)`):
            Smallest and largest number of given cells.
        unique (`bool`, *optional*, defaults to `True`):
            Whether puzzles must have a single solution.
        style (`str`, *optional*, defaults to `"compact"`):
            Prompt format, see [`format_prompt`].
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before each puzzle, none of which then occurs itself.
        leaky (`bool`, *optional*, defaults to `False`):
            For comparison only: split the puzzles at random, as d1's files are, and not the solved grids. Nearly every
            test puzzle then has a solution that was trained on, and a model that knows the 288 grids by heart scores.

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `puzzle` and `solution` (one of possibly several).

    Raises:
        `ValueError`: If an argument has no meaning, or there are not as many puzzles.
    """
    rng = random.Random(seed)
    shown = {puzzle for puzzle, *_ in _SOLVED[:shots]}

    def draw() -> tuple[str, str] | None:
        puzzle, grid = sample_puzzle(rng, split, clues, unique, leaky)
        return None if puzzle in shown else (puzzle, grid)

    check_split(split)
    rows = distinct(draw, size, f"{split} puzzles with `clues={clues}`")
    return Dataset.from_dict(
        {
            "prompt": [format_prompt(puzzle, style, shots) for puzzle in rows],
            "puzzle": list(rows),
            "solution": list(rows.values()),
        }
    )
