# SPDX-License-Identifier: Apache-2.0
"""Countdown: reach a target with the given numbers, each used exactly once, and `+`, `-`, `*`, `/`.

Problems are split by their set of numbers, so that no test problem shares its numbers with a training problem, in any
order and with any target. They are generated, or those of the Hub's dataset, split in the same way.
"""

from __future__ import annotations

import inspect
import random
from typing import Any
from zlib import crc32

from datasets import Dataset

from . import hub
from .generated import distinct, first, is_count
from .prompts import STYLES, WorkedExample, choose, conversation, instruction
from .splits import Split, check_split


HUB_ID = "Jiayi-Pan/Countdown-Tasks-3to4"
OPERATORS = "+-*/"
COMPLETION_LENGTH = 16  # "(99-(10+11))*12", the longest answer with four two-digit numbers, and its end
FOUR_NUMBERS: dict[str, Any] = {"count": 4, "largest": 99, "operators": "+-*/"}  # options of the task `countdown4`


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
    if not isinstance(operators, str) or not operators or set(operators) - set(OPERATORS):
        raise ValueError(f"`operators` must be some of {OPERATORS!r}, got {operators!r}.")
    for name, value in (("count", count), ("largest", largest), ("max_target", max_target)):
        if not is_count(value):
            raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")

    def draw() -> tuple[list[int], int, str] | None:
        numbers = [rng.randint(1, largest) for _ in range(count)]
        if not _belongs_to(numbers, split):
            return None
        result = _random_expression(rng, numbers, operators)
        return (numbers, *result) if result is not None and 1 <= result[0] <= max_target else None

    return first(
        draw,
        f"{split} problem with `count={count}`, `largest={largest}`, `operators={operators!r}` and "
        f"`max_target={max_target}`. Raise `largest` or `max_target`, or allow more `operators`.",
    )


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


def _question(numbers: list[int], target: int) -> str:
    return (
        f"Using each of the numbers {', '.join(map(str, numbers))} exactly once, and only the operations "
        f"+, -, * and /, write an arithmetic expression that equals {target}."
    )


# Of the training split. By how many numbers they have.
_SOLVED = {
    3: (
        ([3, 8, 9], 33, "8 * 3 = 24, and 24 + 9 = 33.", "8 * 3 + 9"),
        ([25, 4, 7], 93, "25 * 4 = 100 is close to 93, and 7 is left: 100 - 7 = 93.", "25 * 4 - 7"),
        ([12, 5, 6], 42, "42 is 6 * 7, and 7 can be made of the others: 12 - 5 = 7.", "(12 - 5) * 6"),
    ),
    4: (
        ([2, 3, 10, 7], 76, "10 * 7 = 70 leaves 6, which is 2 * 3. So 70 + 6 = 76.", "10 * 7 + 2 * 3"),
        ([50, 8, 3, 11], 91, "3 * 11 = 33, and 50 + 8 = 58. Together they make 58 + 33 = 91.", "50 + 8 + 3 * 11"),
        ([4, 9, 40, 2], 58, "40 leaves 18. 9 * 4 = 36 is twice that, so 40 + 36 / 2 = 58.", "40 + 9 * 4 / 2"),
    ),
}
EXAMPLES = {
    count: tuple(WorkedExample(_question(numbers, target), why, answer) for numbers, target, why, answer in solved)
    for count, solved in _SOLVED.items()
}


def format_prompt(numbers: list[int], target: int, style: str, shots: int = 0) -> Any:
    """
    The problem as the model sees it.

    Args:
        numbers (`list[int]`):
            The numbers to use.
        target (`int`):
            The value to reach.
        style (`str`):
            `"compact"` for the embedded model, or `"instruct"`, `"reasoning"` and `"boxed"` for conversations.
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before the problem, with as many numbers: up to three, for three or four numbers.

    Returns:
        `str` or `list[dict[str, str]]`: the prompt.

    Raises:
        `ValueError`: If the style does not exist, or has not as many examples.
    """
    if style == "compact":
        choose((), shots, "prompts in the style 'compact' have no worked examples")
        return f"{' '.join(map(str, numbers))}:{target}="
    if style not in STYLES:
        raise ValueError(f"`style` must be 'compact', {', '.join(map(repr, STYLES))}, got {style!r}.")
    ask = " " + instruction("the expression", style)
    why = "" if len(numbers) in EXAMPLES else f"there are worked examples of 3 and 4 numbers, not for {len(numbers)}"
    examples = choose(EXAMPLES.get(len(numbers), ()), shots, why)
    return conversation(_question(numbers, target), ask, style, examples)


def make_dataset(
    split: Split, size: int | None = None, *, seed: int = 0, style: str = "compact", shots: int = 0, **problem: Any
) -> Dataset:
    """
    Generate problems, without repeating one.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        size (`int`):
            Number of problems. There is no default.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the generator. The same arguments give the same dataset.
        style (`str`, *optional*, defaults to `"compact"`):
            Prompt format, see [`format_prompt`].
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before each problem, whose own numbers then are in none.
        problem:
            Passed to [`sample_problem`].

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `numbers`, `target` and `solution` (one of possibly several).

    Raises:
        `TypeError`, `ValueError`: If an option does not exist or has no meaning, or there are not as many problems.
    """
    options = [name for name, p in inspect.signature(sample_problem).parameters.items() if p.kind is p.KEYWORD_ONLY]
    if unknown := problem.keys() - set(options):
        raise TypeError(
            f"Countdown has no option `{min(unknown)}`, only {', '.join(f'`{name}`' for name in options)}."
        )
    rng = random.Random(seed)

    def draw() -> tuple[tuple[tuple[int, ...], int], str] | None:
        numbers, target, solution = sample_problem(rng, split, **problem)
        return None if _is_shown(numbers, shots) else ((tuple(numbers), target), solution)

    check_split(split)
    rows = distinct(draw, size, f"{split} problems with {problem or 'the default options'}")
    return Dataset.from_dict(
        {
            "prompt": [format_prompt(list(numbers), target, style, shots) for numbers, target in rows],
            "numbers": [list(numbers) for numbers, _ in rows],
            "target": [target for _, target in rows],
            "solution": list(rows.values()),
        }
    )


def load_from_hub(
    split: Split,
    size: int | None = None,
    *,
    seed: int = 0,
    style: str = "instruct",
    shots: int = 0,
    count: int = 3,
    revision: str | None = None,
) -> Dataset:
    """
    Load the problems of `Jiayi-Pan/Countdown-Tasks-3to4`, the papers' training set: three or four numbers below 100.

    It has no test split of its own. A problem belongs to the split that its numbers have in the generator, too.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        size (`int`, *optional*):
            Number of problems, drawn with `seed`. All by default.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the drawing.
        style (`str`, *optional*, defaults to `"instruct"`):
            Prompt format, see [`format_prompt`].
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before each problem, whose own numbers then are in none.
        count (`int`, *optional*, defaults to `3`):
            How many numbers, 3 or 4.
        revision (`str`, *optional*):
            Branch, tag or commit of the dataset on the Hub.

    Returns:
        [`~datasets.Dataset`]: columns `prompt`, `numbers` and `target`.
    """
    check_split(split)
    if count not in (3, 4):
        raise ValueError(f"`count` must be 3 or 4, got {count}.")
    problems = hub.load_from_hub(HUB_ID, None, "train", revision).filter(
        lambda row: len(row["nums"]) == count and _belongs_to(row["nums"], split) and not _is_shown(row["nums"], shots)
    )
    return hub.map_rows(
        hub.select(problems, size, seed),
        lambda row: {
            "prompt": format_prompt(row["nums"], row["target"], style, shots),
            "numbers": row["nums"],
            "target": row["target"],
        },
    )


def _is_shown(numbers: list[int], shots: int) -> bool:
    """Whether a worked example has these numbers."""
    return any(sorted(numbers) == sorted(shown) for shown, *_ in _SOLVED.get(len(numbers), ())[:shots])
