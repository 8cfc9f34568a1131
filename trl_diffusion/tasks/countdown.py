# SPDX-License-Identifier: Apache-2.0
"""Countdown: reach a target with the given numbers, each used exactly once, and `+`, `-`, `*`, `/`.

Problems are split by their set of numbers, so that no test problem shares its numbers with a training problem, in any
order and with any target.
"""

from __future__ import annotations

import random
from typing import Any
from zlib import crc32

from datasets import Dataset

from .splits import Split, check_split


OPERATORS = "+-*/"
COMPLETION_LENGTH = 16  # "(12-10)*11", the longest answer with three two-digit numbers, its end and padding


def _belongs_to(numbers: list[int], split: Split) -> bool:
    key = ",".join(map(str, sorted(numbers)))
    return (crc32(key.encode()) % 8 == 0) == (split == "test")


def sample_problem(
    rng: random.Random,
    split: Split,
    *,
    count: int = 3,
    largest: int = 12,
    operators: str = "+-*",
    max_target: int = 99,
) -> tuple[list[int], int, str]:
    """
    Draw one solvable problem with positive integers all the way.

    Args:
        rng (`random.Random`):
            Source of randomness.
        split (`str`):
            `"train"` or `"test"`.
        count (`int`, *optional*, defaults to `3`):
            How many numbers.
        largest (`int`, *optional*, defaults to `12`):
            The largest number.
        operators (`str`, *optional*, defaults to `"+-*"`):
            Operators that a solution may use, out of `+-*/`.
        max_target (`int`, *optional*, defaults to `99`):
            The largest target.

    Returns:
        `tuple[list[int], int, str]`: the numbers, the target and one expression that reaches it.

    Raises:
        `ValueError`: If an argument admits no problem.
    """
    check_split(split)
    if not operators or set(operators) - set(OPERATORS):
        raise ValueError(f"`operators` must be some of {OPERATORS!r}, got {operators!r}.")
    for name, value in (("count", count), ("largest", largest), ("max_target", max_target)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    while True:
        numbers = [rng.randint(1, largest) for _ in range(count)]
        if not _belongs_to(numbers, split):
            continue
        result = _random_expression(rng, numbers, operators)
        if result is not None and 1 <= result[0] <= max_target:
            return numbers, *result


def _random_expression(rng: random.Random, numbers: list[int], operators: str) -> tuple[int, str] | None:
    """Combine two random terms until one is left: its value and text, `None` where an operator does not apply."""
    terms: list[_Term] = [(n, str(n), False) for n in numbers]
    while len(terms) > 1:
        a, b = (terms.pop(rng.randrange(len(terms))) for _ in range(2))
        combined = _combine(a, b, rng.choice(operators))
        if combined is None:
            return None
        terms.append(combined)
    return terms[0][:2]


_Term = tuple[int, str, bool]  # value, text, whether it is a sum and needs brackets inside a product


def _combine(a: _Term, b: _Term, operator: str) -> _Term | None:
    (x, left, left_sum), (y, right, right_sum) = a, b
    if operator == "+":
        return x + y, f"{left}+{right}", True
    if operator == "-":
        return (x - y, f"{left}-({right})" if right_sum else f"{left}-{right}", True) if x > y else None
    left = f"({left})" if left_sum else left
    if operator == "*":
        return x * y, f"{left}*({right})" if right_sum else f"{left}*{right}", False
    if y == 0 or x % y:
        return None
    right = right if right.isdigit() else f"({right})"
    return x // y, f"{left}/{right}", False


def format_prompt(numbers: list[int], target: int, style: str) -> Any:
    """The problem as the model sees it: `"compact"` for the embedded model, `"instruct"` as a chat message."""
    if style == "compact":
        return f"{' '.join(map(str, numbers))}:{target}="
    if style == "instruct":
        return [
            {
                "role": "user",
                "content": (
                    f"Using each of the numbers {', '.join(map(str, numbers))} exactly once, and only the operations "
                    f"+, -, * and /, write an arithmetic expression that equals {target}. Put the expression alone "
                    "between <answer> and </answer>."
                ),
            }
        ]
    raise ValueError(f"`style` must be 'compact' or 'instruct', got {style!r}.")


def make_dataset(split: Split, size: int, *, seed: int = 0, style: str = "compact", **problem: Any) -> Dataset:
    """
    Generate problems, without repeating one.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        size (`int`):
            Number of problems.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the generator. The same arguments give the same dataset.
        style (`str`, *optional*, defaults to `"compact"`):
            Prompt format, see [`format_prompt`].
        problem:
            Passed to [`sample_problem`].

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `numbers`, `target` and `solution` (one of possibly several).
    """
    rng = random.Random(seed)
    rows: dict[tuple[tuple[int, ...], int], str] = {}
    for _ in range(200 * size):
        if len(rows) == size:
            break
        numbers, target, solution = sample_problem(rng, split, **problem)
        rows.setdefault((tuple(numbers), target), solution)
    if len(rows) < size:
        raise ValueError(f"`size={size}` is more than the distinct {split} problems found with {problem}.")
    return Dataset.from_dict(
        {
            "prompt": [format_prompt(list(numbers), target, style) for numbers, target in rows],
            "numbers": [list(numbers) for numbers, _ in rows],
            "target": [target for _, target in rows],
            "solution": list(rows.values()),
        }
    )
