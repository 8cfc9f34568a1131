# SPDX-License-Identifier: Apache-2.0
"""
Arithmetic with numbers alone.

It is parsed by a grammar of its own and computed with exact fractions. Nothing is evaluated as code, there is no power
operator, and length, depth and size of numbers are bounded, so that no text can take more than a moment.
"""

from __future__ import annotations

import re
from fractions import Fraction


MAX_EXPRESSION = 200  # characters
MAX_DIGITS = 15
MAX_DEPTH = 20

_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|[-+*/()]")
_COMMAND = re.compile(r"\\(times|cdot|ast|div|\{|\})")
_MEANING = {"times": "*", "cdot": "*", "ast": "*", "div": "/", "{": "(", "}": ")"}
_SQUARE = str.maketrans("[]", "()")
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9]))\s*(?:\{([^{}]*)\}|([0-9]))")


class _Invalid(Exception):
    """The text is no expression, or an absurd one."""


def compute(text: str) -> tuple[Fraction, list[str]] | None:
    r"""
    Compute an expression of numbers without sign, `+`, `-`, `*`, `/` and brackets, which may begin with a sign.

    Args:
        text (`str`):
            The expression alone, in plain text or LaTeX, as [`~trl_diffusion.rewards.latex.tidy`] leaves it.

    Returns:
        `tuple[Fraction, list[str]]`: its value and the numbers in it, in order and as they are written; `None` if it
        is anything else.
    """
    if len(text) > MAX_EXPRESSION:
        return None
    for _ in range(MAX_DEPTH):  # from the inside
        text = _FRACTION.sub(r"((\1\2)/(\3\4))", text)
    text = _COMMAND.sub(lambda match: _MEANING[match[1]], text).translate(_SQUARE)
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
    return value, [token for token in tokens if token[0].isdigit()]


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
    return Fraction(token), i + 1
