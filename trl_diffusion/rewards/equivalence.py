# SPDX-License-Identifier: Apache-2.0
r"""
Whether two mathematical answers are the same.

An answer is taken apart here: numbers, lists, pairs and intervals, matrices and words are compared exactly, by rules
of our own. Only what remains, expressions, equations and inequalities, goes to math-verify, after a look at its size,
since math-verify computes with whatever a model has written. What differs at a few points is told apart by that:
evaluating takes a moment, where simplifying can take minutes.
"""

from __future__ import annotations

import functools
import logging
import math
import re
from dataclasses import dataclass
from typing import Any

from .latex import split_name, tidy
from .numbers import parse_number, same_number
from .time_limit import TimeIsUp, interrupt_after


MAX_ANSWER = 300  # characters
MAX_ITEMS = 20
# What math-verify gets to see.
MAX_EXPRESSION = 150  # characters
MAX_DEPTH = 8  # of brackets
MAX_DIGITS = 15  # in a row
MAX_EXPONENT = 100  # the product of all exponents
MAX_SIGNS = 6  # of | and of _, which its parser takes long to pair
SECONDS = 5.0  # of CPU time

_OPENERS, _CLOSERS = "([{⟦", ")]}⟧"  # ⟦ ⟧ stand for \{ \}
_CONNECTIVE = re.compile(r"\\text\s*\{\s*(?:,?\s*(?:and|or)\s*,?|,)\s*\}|(?<![a-zA-Z\\{])(?:and|or)(?![a-zA-Z}])")
_WORDS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|textrm|operatorname)\s*\{([^{}]*[A-Za-z][^{}]*)\}")
_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_UNIT_TAIL = re.compile(
    r"(?<=[\w})])\s*(?:\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\s*\^\s*\{?[23]\}?)?|\^\s*\{?\s*\\circ\s*\}?|%"
    r"|\s(?:(?:square|cubic|sq\.?) )?(?:units?|inche?s?|feet|cm|mm|km|meters?|degrees|dollars)"
    r"(?:\s*\^\s*\{?[23]\}?)?)\s*\Z"
)

_RELATION = re.compile(r"(<=?|>=?|\\(?:le|ge|lt|gt)(?![a-zA-Z]))")
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?!pi|infty)[a-z]+")

_COMMAND = re.compile(r"\\([a-zA-Z]+)")
# What an answer may use of its own accord. Anything else, \sin or \sum or !, has to be in the reference as well: where
# a half is asked, \sin 30^\circ is the question, not the answer.
_PLAIN_COMMANDS = frozenset(
    "frac sqrt pi cdot times div infty le ge lt gt ne neq "  # noqa: SIM905
    "alpha beta gamma delta theta lambda mu phi omega sigma rho tau".split()
)
_SUBSCRIPT = re.compile(r"_\s*\{?\s*(\w+)")
_EXPONENT = re.compile(r"\^\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(-?\w|\\[a-zA-Z]+))")
_TOWER = re.compile(r"\^\s*(?:\{[^^{}]*\}|-?\w)\s*\^|\^\s*\{[^}]*!")


@dataclass(frozen=True)
class Answer:
    r"""
    An answer, taken apart.

    Args:
        kind (`str`):
            `"number"`, `"words"`, `"list"` (in any order), `"group"` (a pair or an interval), `"union"`, `"matrix"` or
            `"expression"`.
        value:
            A [`~trl_diffusion.rewards.numbers.Number`], a text, or a tuple of answers; of a matrix a tuple of those.
        name (`str`, *optional*, defaults to `""`):
            What it was said to be: `x` in `x = 3`.
        brackets (`str`, *optional*, defaults to `""`):
            Of a group, such as `"[)"`.
    """

    kind: str
    value: Any
    name: str = ""
    brackets: str = ""


@functools.lru_cache(maxsize=4096)
def parse_answer(text: str) -> Answer | None:
    """
    Take an answer apart.

    Args:
        text (`str`):
            The answer as it was extracted.

    Returns:
        [`Answer`], or `None` if there is nothing or too much of it.
    """
    if len(text) > MAX_ANSWER:
        return None
    return _parse(tidy(text).replace(r"\{", "⟦").replace(r"\}", "⟧"))


@functools.lru_cache(maxsize=4096)
def parse_gold(text: str) -> Answer | None:
    """[`parse_answer`] for the reference: `None` also if math-verify cannot read one of its expressions."""
    gold = parse_answer(text)
    return gold if gold is not None and _is_readable(gold) else None


@functools.lru_cache(maxsize=4096)
def equivalent(gold: Answer, answer: Answer) -> bool:
    r"""
    Whether an answer is right.

    Args:
        gold ([`Answer`]):
            The reference.
        answer ([`Answer`]):
            What the model gave.

    Returns:
        `bool`: `False` also where it cannot be decided in time.
    """
    if gold.kind == "group" and answer.kind == "expression" and _is_interval(gold):
        answer = _as_interval(answer) or answer
    elif gold.kind == "expression" and answer.kind == "group":
        gold = _as_interval(gold) or gold
    if gold.name and answer.name and gold.name != answer.name and len(gold.name) == len(answer.name) == 1:
        return False
    if "words" in (gold.kind, answer.kind):
        if gold.kind == "expression" and len(gold.value) == 1 and gold.value not in answer.value:  # a is not (A)
            return False
        return _letters(gold) == _letters(answer) != ""
    if gold.kind == answer.kind == "number":
        return same_number(gold.value, answer.value)
    if re.fullmatch("[a-z]", gold.name) and gold.kind == answer.kind == "expression" and "=" in answer.value:
        gold = Answer("expression", gold.value if "=" in gold.value else f"{gold.name} = {gold.value}")
    if gold.kind == "expression" and answer.kind in ("number", "expression"):
        return _same_expression(gold, answer)
    if gold.kind != answer.kind:
        return False
    if gold.kind in ("list", "union"):
        return _same_in_any_order(list(gold.value), list(answer.value))
    if gold.kind == "group":
        return gold.brackets == answer.brackets and _same_in_order(gold.value, answer.value)
    return len(gold.value) == len(answer.value) and all(
        _same_in_order(row, other) for row, other in zip(gold.value, answer.value, strict=True)
    )


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


# ---------------------------------------------------------------- taking apart


def _parse(text: str) -> Answer | None:
    text = text.strip()
    number = parse_number(text)
    if number is not None:
        return Answer("number", number)
    if not text:
        return None
    words = _WORDS.fullmatch(text)
    if words:
        return Answer("words", words[1].strip())
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        return _parse_rows(
            [row.split("&") for row in re.split(r"\\\\(?:\[[0-9. ]+(?:pt|ex|em|mm|cm)\])?", matrix[2]) if row.strip()]
        )
    text = _join_thousands(_CONNECTIVE.sub(",", text))
    pieces = _split(text, ",;")
    if len(pieces) > 1:
        return _parse_items("list", pieces)
    if pieces != [text]:
        return _parse(pieces[0]) if pieces else None
    name, side = split_name(text)
    if side != text:
        inner = _parse(side)
        return inner and Answer(inner.kind, inner.value, name or inner.name, inner.brackets)
    members = _split(text.replace(r"\cup", "\x00"), "\x00")
    if len(members) > 1:
        return _parse_items("union", members)
    if _is_wrapped(text):
        return _parse_wrapped(text)
    signs = text.split(r"\pm")
    if len(signs) == 2 and "=" not in text:
        return _parse_items("list", [signs[0] + "+" + signs[1], signs[0] + "-" + signs[1]])
    if re.fullmatch(r"[A-Za-z][A-Za-z'-]{3,}(?: [A-Za-z'-]+)*|(?i:yes|no|odd)", text):
        return Answer("words", text)
    tail = _UNIT_TAIL.search(text)
    bare = text[: tail.start()] if tail and parse_number("1" + tail[0]) else text
    return Answer("expression", bare.replace("⟦", r"\{").replace("⟧", r"\}").replace("¤", "")) if bare else None


def _parse_wrapped(text: str) -> Answer | None:
    """What stands in brackets: a set, a pair, an interval, or a formula in brackets that it does not need."""
    inside = text[1:-1].strip()
    pieces = _split(inside, ",;")
    if text[0] == "⟦" and len(pieces) > 1:
        return _parse_items("list", pieces)
    if len(pieces) > 1 and text[0] in "([":
        return _parse_items("group", pieces, brackets=text[0] + text[-1])
    if re.fullmatch(r"[A-Z]", inside):
        return Answer("words", inside)
    return _parse(inside)


def _parse_items(kind: str, pieces: list[str], brackets: str = "") -> Answer | None:
    items: list[Answer] = []
    for item in map(_parse, pieces[: MAX_ITEMS + 1]):
        if item is None:
            return None
        # 1 \pm \sqrt{5} is a list within a list
        items.extend(item.value if kind == item.kind == "list" else [item])
    return Answer(kind, tuple(items), brackets=brackets) if 0 < len(items) <= MAX_ITEMS else None


def _parse_rows(rows: list[list[str]]) -> Answer | None:
    parsed = tuple(tuple(_parse(cell) for cell in row) for row in rows)
    return None if not parsed or any(None in row for row in parsed) else Answer("matrix", parsed)


def _split(text: str, separators: str) -> list[str]:
    """The pieces between separators outside of brackets, without empty ones; one piece if brackets do not fit."""
    pieces, start, depth = [], 0, 0
    for i, character in enumerate(text):
        depth += (character in _OPENERS) - (character in _CLOSERS)
        if depth < 0:
            return [text]
        if depth == 0 and character in separators:
            pieces.append(text[start:i])
            start = i + 1
    if depth:
        return [text]
    return [piece.strip() for piece in [*pieces, text[start:]] if piece.strip()]


def _join_thousands(text: str) -> str:
    r"""`10000\pi` for `10,000\pi`, where no comma can be that of a list or a pair."""
    joined = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text)
    return text if "," in joined or ";" in joined or any(c in text for c in "([⟦") else joined


def _is_wrapped(text: str) -> bool:
    """Whether the first character opens a bracket that the last one closes. Brackets of intervals may differ."""
    if len(text) < 2 or text[0] not in _OPENERS or text[-1] not in _CLOSERS:
        return False
    depth = 0
    for i, character in enumerate(text):
        depth += (character in _OPENERS) - (character in _CLOSERS)
        if depth == 0:
            return i == len(text) - 1
    return False


# ---------------------------------------------------------------- comparing


def _is_interval(group: Answer) -> bool:
    """Whether this can be no point."""
    infinite = any(item.kind == "expression" and r"\infty" in item.value for item in group.value)
    return group.brackets != "()" or infinite or re.fullmatch("[a-z]", group.name) is not None


def _as_interval(inequality: Answer) -> Answer | None:
    r"""`[-2, 7)`, named x, for `-2 \le x < 7`; `None` for what is no inequality for a variable alone."""
    parts = [part.strip() for part in _RELATION.split(inequality.value)]
    sides, signs = parts[::2], parts[1::2]
    less = {sign[0] == "<" or sign in (r"\le", r"\lt") for sign in signs}
    if len(less) != 1:
        return None
    if True not in less:
        sides, signs = sides[::-1], signs[::-1]
    if len(sides) == 2:  # without end on one side
        left = _VARIABLE.fullmatch(sides[0]) is not None
        sides, signs = (["-\\infty", *sides], ["<", *signs]) if left else ([*sides, "\\infty"], [*signs, "<"])
    ends = [_parse(side) for side in sides[::2]]
    if len(sides) != 3 or None in ends or _VARIABLE.fullmatch(sides[1]) is None:
        return None
    closed = [sign[-1] in "e=" for sign in signs]
    return Answer("group", tuple(ends), sides[1], "(["[closed[0]] + ")]"[closed[1]])


def _letters(answer: Answer) -> str:
    """Words, or an expression that is a mere word, without regard to case, spaces and brackets."""
    if answer.kind not in ("words", "expression") or re.search(r"[^A-Za-z0-9 ().,:;'-]", answer.value):
        return ""
    return re.sub(r"[^a-z0-9]", "", answer.value.lower())


def _same_in_order(gold: tuple, answer: tuple) -> bool:
    return len(gold) == len(answer) and all(equivalent(g, a) for g, a in zip(gold, answer, strict=True))


def _same_in_any_order(gold: list, answer: list) -> bool:
    if len(gold) != len(answer):
        return False
    for item in gold:
        partner = next((i for i, other in enumerate(answer) if equivalent(item, other)), None)
        if partner is None:
            return False
        del answer[partner]
    return True


def _same_expression(gold: Answer, answer: Answer) -> bool:
    given = _as_text(answer)
    if _squash(gold.value) == _squash(given):
        return True
    if not _is_bounded(given, gold.value) or _variables(given) != _variables(gold.value):
        return False
    if ("=" in given) != ("=" in gold.value):  # of an equation it cannot read, math-verify would take the last side
        return False
    if set(_SUBSCRIPT.findall(given)) != set(_SUBSCRIPT.findall(gold.value)):  # of a base, too: 25_8 is not 25
        return False
    return _verify(gold.value, given)


def _as_text(answer: Answer) -> str:
    if answer.kind == "expression":
        return answer.value
    value = answer.value.value
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _squash(expression: str) -> str:
    """Without spaces and without braces around a single character."""
    text = re.sub(r"\s", "", expression)
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    return re.sub(r"([\^_])\{(\w)\}", r"\1\2", text)


def _variables(expression: str) -> set[str]:
    return set(re.sub(r"[^a-zA-Z]", "", _COMMAND.sub("", expression)))


def _is_bounded(expression: str, gold: str = "") -> bool:
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
    depth = deepest = 0
    for character in expression:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    exponents = ["".join(found) for found in _EXPONENT.findall(expression)]
    if len(exponents) < expression.count("^") or _TOWER.search(expression):
        return False
    product = math.prod(max(1, int(number)) for exponent in exponents for number in re.findall("[0-9]+", exponent))
    return deepest <= MAX_DEPTH and product <= MAX_EXPONENT


def _is_readable(gold: Answer) -> bool:
    if gold.kind == "expression":
        return _read(gold.value) is not None
    if gold.kind in ("list", "union", "group"):
        return all(_is_readable(item) for item in gold.value)
    if gold.kind == "matrix":
        return all(_is_readable(item) for row in gold.value for item in row)
    return True


def _exact(expression: str) -> str:
    """Decimals as fractions: as floats, math-verify would round them, and 1.414214 were the root of 2."""
    return re.sub(r"([0-9]*)\.([0-9]+)", lambda m: rf"\frac{{{int(m[1] + m[2])}}}{{{10 ** len(m[2])}}}", expression)


@functools.lru_cache(maxsize=4096)
def _read(expression: str) -> Any:
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
    first, second = _read(gold), _read(answer)
    if first is None or second is None:
        return False
    try:
        with interrupt_after(SECONDS):
            return not _differ(first, second) and verify(first, second, timeout_seconds=None)
    except (TimeIsUp, RecursionError):
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
