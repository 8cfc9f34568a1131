# SPDX-License-Identifier: Apache-2.0
"""
Reward for Countdown.

The answer is parsed by a grammar of its own and computed with exact fractions. It is never evaluated as code, there is
no power operator, and length, depth and size of numbers are bounded, so that no completion can take more than a
moment.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from .extraction import extract_answer
from .latex import split_label, tidy
from .numbers import denies


MAX_EXPRESSION = 200  # characters
MAX_DIGITS = 6
MAX_DEPTH = 20

_TOKEN = re.compile(r"[0-9]+|[-+*/()]")
_COMMAND = re.compile(r"\\(times|cdot|ast|div|\{|\})")
_MEANING = {"times": "*", "cdot": "*", "ast": "*", "div": "/", "{": "(", "}": ")"}
# What mathematics at large does not read as a sign: an x is no variable here, a dash never one of a sentence.
_SYNONYMS = str.maketrans({"x": "*", "X": "*", "•": "*", "∙": "*", "—": "-", "[": "(", "]": ")"})
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9]))\s*(?:\{([^{}]*)\}|([0-9]))")
_EQUALS = re.compile(r"=+|\\approx|→|\\(?:to|rightarrow|implies)(?![a-zA-Z])|\bequals\b")
_ASIDE = re.compile(r"\(\s*=\s*([0-9]+)\s*\)\s*\Z")  # 3*4+5 (= 17)
_NUMBER = re.compile(r"\s*-?[0-9]{1,9}(?:\.[0-9]{1,9})?[\s✓✔✅]*")
_NAME = re.compile(r"\s*[A-Za-z]+(?: [A-Za-z]+){0,3}\s*")


class _Invalid(Exception):
    """The text is no expression, or an absurd one."""


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
    if len(text) > MAX_EXPRESSION:
        return None
    for _ in range(MAX_DEPTH):  # from the inside
        text = _FRACTION.sub(r"((\1\2)/(\3\4))", text)
    text = _COMMAND.sub(lambda match: _MEANING[match[1]], text).translate(_SYNONYMS)
    text = re.sub(r"\A\s*\+(?=\s*[0-9(])", "", text)
    tokens = _TOKEN.findall(text)
    if not tokens or re.sub(r"\s", "", _TOKEN.sub("", text)):
        return None
    try:
        value, rest = _sum(tokens, 0, 0)
        if rest != len(tokens):
            return None
    except (_Invalid, ZeroDivisionError):
        return None
    return value, [int(token) for token in tokens if token[0].isdigit()]


def _sum(tokens: list[str], i: int, depth: int) -> tuple[Fraction, int]:
    negative = tokens[i : i + 1] == ["-"]
    value, i = _product(tokens, i + negative, depth)
    value = -value if negative else value
    while i < len(tokens) and tokens[i] in "+-":
        right, after = _product(tokens, i + 1, depth)
        value, i = (value + right if tokens[i] == "+" else value - right), after
    return value, i


def _product(tokens: list[str], i: int, depth: int) -> tuple[Fraction, int]:
    value, i = _atom(tokens, i, depth)
    divided = False
    while i < len(tokens) and (tokens[i] in "*/" or (tokens[i] == "(" and tokens[i - 1] == ")" and not divided)):
        right, after = _atom(tokens, i + (tokens[i] != "("), depth)
        divided = divided or tokens[i] == "/"  # who knows what 8/(2)(3) is
        value, i = (value / right if tokens[i] == "/" else value * right), after
    return value, i


def _atom(tokens: list[str], i: int, depth: int) -> tuple[Fraction, int]:
    if i >= len(tokens) or depth > MAX_DEPTH:
        raise _Invalid
    token = tokens[i]
    if token == "(":
        value, i = _sum(tokens, i + 1, depth + 1)
        if i >= len(tokens) or tokens[i] != ")":
            raise _Invalid
        return value, i + 1
    if not token[0].isdigit() or len(token) > MAX_DIGITS:
        raise _Invalid
    return Fraction(int(token)), i + 1


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
