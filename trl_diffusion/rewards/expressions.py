# SPDX-License-Identifier: Apache-2.0
"""
Expressions, equations and inequalities, which math-verify compares.

It computes with whatever a model has written, so that it sees only what has been looked at before. What differs at a
few points is told apart by that: evaluating takes a moment, where simplifying can take minutes.
"""

from __future__ import annotations

import functools
import logging
import math
import re
from typing import Any

from .time_limit import TimeIsUp, interrupt_after


# What math-verify gets to see.
MAX_EXPRESSION = 150  # characters
MAX_DEPTH = 8  # of brackets
MAX_DIGITS = 15  # in a row
MAX_EXPONENT = 100  # the product of all exponents
MAX_SIGNS = 6  # of | and of _, which its parser takes long to pair
SECONDS = 5.0  # of CPU time

_COMMAND = re.compile(r"\\([a-zA-Z]+)")
# What an answer may use of its own accord. Anything else, \sin or \sum or !, has to be in the reference as well: where
# a half is asked, \sin 30^\circ is the question, not the answer.
_PLAIN_COMMANDS = frozenset(
    "frac sqrt pi cdot times div infty le ge lt gt ne neq "  # noqa: SIM905
    "alpha beta gamma delta theta lambda mu phi omega sigma rho tau".split()
)
_SUBSCRIPT = re.compile(r"_\s*\{?\s*(\w+)")
_EXPONENT = re.compile(r"\^\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(-?(?:[0-9]+|\w)|\\[a-zA-Z]+))")
# Numbers beside these make more numbers, or larger ones, than can be computed.
_GROWING = re.compile(r"!|\\(?:[dt]?binom|sum|prod|int)(?![a-zA-Z])")
_TOWER = re.compile(r"\^\s*(?:\{[^^{}]*\}|-?(?:[0-9]+|\w))\s*\^|\^\s*\{[^}]*!")


def require_math_verify() -> None:
    """
    Refuse to work without math-verify, before the first answer that would need it.

    Raises:
        `ImportError`: If it is not installed.
    """
    try:
        import math_verify  # noqa: F401
    except ImportError:
        raise ImportError("`math_reward` needs math-verify: pip install trl-diffusion[math]") from None


def same_expression(gold: str, given: str) -> bool:
    """Whether an expression is the right one; `False` also where it cannot be decided in time."""
    if _squash(gold) == _squash(given):
        return True
    if not is_bounded(given, gold) or _variables(given) != _variables(gold):
        return False
    if ("=" in given) != ("=" in gold):  # of an equation it cannot read, math-verify would take the last side
        return False
    if set(_SUBSCRIPT.findall(given)) != set(_SUBSCRIPT.findall(gold)):  # of a base, too: 25_8 is not 25
        return False
    return _verify(gold, given)


def _squash(expression: str) -> str:
    """Without spaces and without braces around a single character."""
    text = re.sub(r"\s", "", expression)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", text)


def _variables(expression: str) -> set[str]:
    return set(re.sub(r"[^a-zA-Z]", "", _COMMAND.sub("", expression)))


def is_bounded(expression: str, gold: str = "") -> bool:
    """Whether math-verify may look at it: nothing that takes long, and no function that the reference does without."""
    if len(expression) > MAX_EXPRESSION or "**" in expression:
        return False
    if re.search(rf"[0-9]{{{MAX_DIGITS + 1}}}|[^\x20-\x7e]", expression):
        return False
    if max(expression.count("|"), expression.count("_")) > MAX_SIGNS:
        return False
    if set(_COMMAND.findall(expression)) - _PLAIN_COMMANDS - set(_COMMAND.findall(gold)):
        return False
    if "!" in expression and not re.search(r"(?<!\d)\d?\d!|[a-z]!", gold):
        return False
    if _GROWING.search(expression) and re.search("[0-9]{4}", expression):
        return False
    depth = deepest = 0
    for character in expression:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    exponents = ["".join(found) for found in _EXPONENT.findall(expression)]
    if len(exponents) < expression.count("^") or _TOWER.search(expression):
        return False
    product = math.prod(max(1, int(number)) for exponent in exponents for number in re.findall("[0-9]+", exponent))
    return deepest <= MAX_DEPTH and product <= MAX_EXPONENT


def _exact(expression: str) -> str:
    """Decimals as fractions: as floats, math-verify would round them, and 1.414214 were the root of 2."""
    return re.sub(r"([0-9]*)\.([0-9]+)", lambda m: rf"\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}", expression)


@functools.lru_cache(maxsize=4096)
def read_expression(expression: str) -> Any:
    """What math-verify makes of an expression, `None` if it cannot read it."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    # Its own time limit would take over the alarm of others, such as pytest's, and not give it back. Without one it
    # warns.
    logging.getLogger("math_verify.parser").setLevel(logging.ERROR)
    config = LatexExtractionConfig(
        normalization_config=NormalizationConfig(malformed_operators=True, boxed="none"), boxed_match_priority=-1
    )
    try:
        with interrupt_after(SECONDS):
            parsed = parse(f"${_exact(expression)}$", [config], fallback_mode="no_fallback", parsing_timeout=None)
    except (TimeIsUp, RecursionError):
        return None
    return parsed[0] if parsed else None


def _verify(gold: str, answer: str) -> bool:
    from math_verify import verify

    logging.getLogger("math_verify.grader").setLevel(logging.ERROR)
    first, second = read_expression(gold), read_expression(answer)
    if first is None or second is None:
        return False
    try:
        with interrupt_after(SECONDS):
            return not _differ(first, second) and verify(first, second, timeout_seconds=None)
    except (TimeIsUp, RecursionError, OverflowError):  # the last of numbers such as 792!
        return False


def _differ(first: Any, second: Any) -> bool:
    """
    Whether a look at a few points tells two expressions apart, or two relations.

    Relations are the same only if their two sides differ by proportional amounts.
    """
    left, right = _terms(first), _terms(second)
    if isinstance(left, list) != isinstance(right, list):
        return True
    if not isinstance(left, list):
        return any(abs(a - b) > 1e-9 * max(1, abs(a), abs(b)) for a, b in _at_points(left, right))
    if len(left) != len(right):
        return True
    for term, other in zip(left, right, strict=True):
        ratios = [a / b for a, b in _at_points(term, other) if abs(b) > 1e-9]
        if any(abs(ratio - ratios[0]) > 1e-9 * max(1, abs(ratio)) for ratio in ratios):
            return True
    return False


def _terms(parsed: Any) -> Any:
    """An expression itself; the list of what is compared with zero in a relation or a chain of them."""
    from sympy import Add, Mul
    from sympy.core.relational import Relational

    if isinstance(parsed, Relational):
        return [Add(parsed.lhs, Mul(-1, parsed.rhs, evaluate=False), evaluate=False)]
    chain = getattr(parsed, "_unsorted_args", None)
    if chain and all(isinstance(part, Relational) for part in chain):
        return [term for part in chain for term in _terms(part)]
    return parsed


def _at_points(first: Any, second: Any) -> list[tuple[complex, complex]]:
    """The values of two expressions where both have one, at up to three points."""
    from sympy import Expr, Rational

    if not (isinstance(first, Expr) and isinstance(second, Expr)):
        return []
    symbols = sorted(first.free_symbols | second.free_symbols, key=str)
    values = []
    for start in (2, 5, 11) if symbols else (0,):
        point = {symbol: Rational(7 * i + 3 * start + 1, 9) for i, symbol in enumerate(symbols)}
        try:
            values.append((complex(first.evalf(20, subs=point)), complex(second.evalf(20, subs=point))))
        except (TypeError, ValueError, OverflowError, ZeroDivisionError, AttributeError):
            continue  # a number that is none, or that no float can hold
    return values
