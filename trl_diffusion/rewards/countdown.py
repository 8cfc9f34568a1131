# SPDX-License-Identifier: Apache-2.0
"""
Reward for Countdown.

The answer is parsed by a grammar of its own and computed with exact fractions, never evaluated as code: see
`arithmetic.py`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from .arithmetic import MAX_EXPRESSION, compute
from .extraction import extract_answer
from .latex import split_label, tidy
from .numbers import denies


MAX_DIGITS = 6

# What mathematics at large does not read as a sign: an x is no variable here, a dash never one of a sentence.
_SYNONYMS = str.maketrans({"x": "*", "X": "*", "•": "*", "∙": "*", "—": "-"})
_EQUALS = re.compile(r"=+|\\approx|→|\\(?:to|rightarrow|implies)(?![a-zA-Z])|\bequals\b")
_ASIDE = re.compile(r"\(\s*=\s*([0-9]+)\s*\)\s*\Z")  # 3*4+5 (= 17)
_NUMBER = re.compile(r"\s*-?[0-9]{1,9}(?:\.[0-9]{1,9})?[\s✓✔✅]*")
_NAME = re.compile(r"\s*[A-Za-z]+(?: [A-Za-z]+){0,3}\s*")


def evaluate_expression(text: str) -> tuple[Fraction, list[int]] | None:
    """
    Compute an arithmetic expression of non-negative integers, `+`, `-`, `*`, `/` and brackets.

    An expression, also one in brackets, may begin with a minus. With that no other target can be reached, up to sign:
    `-10+12+11` is `12+11-10`.

    Args:
        text (`str`):
            The expression, in plain text or LaTeX, after a label or not (`Answer: 3*4+5`). Of an equation only one
            side counts: the left one, or the next one where that is a lone number or name, as in `17 = 3*4+5`. A
            number that is claimed of it does not matter, right or wrong. Other sides have to be arithmetic of the same
            value.

    Returns:
        `tuple[Fraction, list[int]]`: its value and the numbers in it, in order; `None` if it is invalid.
    """
    if len(text) > 2 * MAX_EXPRESSION:
        return None
    sides = _EQUALS.split(_ASIDE.sub(r"=\1", split_label(tidy(text))[1]))
    if len(sides) > 1 and (_NUMBER.fullmatch(sides[0]) or _NAME.fullmatch(sides[0])) and not denies(sides[0]):
        sides = sides[1:]
    result = _evaluate(sides[0])
    for claim in filter(str.strip, sides[1:]):
        other = None if _NUMBER.fullmatch(claim) else _evaluate(claim)
        if not _NUMBER.fullmatch(claim) and (result is None or other is None or other[0] != result[0]):
            return None
    return result


def _evaluate(text: str) -> tuple[Fraction, list[int]] | None:
    """The value of an expression alone, and its numbers."""
    result = compute(text.translate(_SYNONYMS))
    if result is None or not all(number.isdigit() and len(number) <= MAX_DIGITS for number in result[1]):
        return None
    return result[0], [int(number) for number in result[1]]


def countdown_reward(
    completions: list[Any], numbers: list[list[int]], target: list[int], **kwargs: Any
) -> list[float]:
    """
    `1` for an expression that uses every number exactly once and equals the target, else `0`.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        numbers (`list[list[int]]`):
            The numbers to use.
        target (`list[int]`):
            The values to reach.

    Returns:
        `list[float]`: one reward per completion.
    """
    rewards = []
    for completion, given, goal in zip(completions, numbers, target, strict=True):
        result = evaluate_expression(extract_answer(completion))
        rewards.append(float(result is not None and result[0] == goal and sorted(result[1]) == sorted(given)))
    return rewards


def countdown_numbers_reward(completions: list[Any], numbers: list[list[int]], **kwargs: Any) -> list[float]:
    """
    `1` for an expression that uses every number exactly once, whatever it equals, else `0`.

    With `reward_weights=[0.9, 0.1]` beside [`countdown_reward`] it is the small consolation that the papers pay.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        numbers (`list[list[int]]`):
            The numbers to use.

    Returns:
        `list[float]`: one reward per completion.
    """
    results = (evaluate_expression(extract_answer(completion)) for completion in completions)
    return [
        float(result is not None and sorted(result[1]) == sorted(given))
        for result, given in zip(results, numbers, strict=True)
    ]
