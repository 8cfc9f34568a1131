# SPDX-License-Identifier: Apache-2.0
r"""
Whether two mathematical answers are the same.

Numbers, lists, pairs and intervals, matrices and words are compared exactly, by rules of our own. Only what remains,
expressions, equations and inequalities, goes to math-verify.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from .answers import Answer, parse_answer
from .clock import same_time
from .coordinates import as_point
from .expressions import read_expression, same_expression
from .intervals import as_interval, as_known_set, as_union, is_interval
from .numbers import Number, same_number


_BEFORE_WORDS = re.compile(r"\A(?:(?:an?|the) (?=[a-z]{3})|(?:option|choice) (?=\(?[a-j]\)?\Z))")


@functools.lru_cache(maxsize=4096)
def parse_gold(text: str) -> Answer | None:
    """[`parse_answer`] for the reference: `None` also if math-verify cannot read one of its expressions."""
    gold = parse_answer(text)
    return gold if gold is not None and _is_readable(as_known_set(gold)) else None


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
    gold, answer = _in_one_notation(gold, answer)
    if gold.name and answer.name and gold.name != answer.name and len(gold.name) == len(answer.name) == 1:
        return False
    if gold.name.startswith("(") and answer.name.startswith("(") and gold.name != answer.name:  # (B) 12 for (A) 12
        return False
    if answer.name.startswith("(") and re.fullmatch("[a-j]", _letters(gold)):  # (C) 12 for (C)
        return answer.name.lower() == f"({_letters(gold)})" and not re.fullmatch("[a-z]", str(gold.value))
    if "words" in (gold.kind, answer.kind):
        if gold.kind == "expression" and len(gold.value) == 1 and gold.value not in answer.value:  # a is not (A)
            return False
        return _letters(gold) == _letters(answer) != ""
    if gold.kind == answer.kind == "time":
        return same_time(gold.value, answer.value)
    if gold.kind == answer.kind == "number":
        return same_number(gold.value, answer.value)
    if gold.kind == "expression" and answer.kind in ("number", "expression"):
        return _same_measure(gold, answer) and same_expression(gold.value, _as_text(answer))
    if gold.kind != answer.kind:
        return False
    if gold.kind in ("list", "union"):
        return _same_in_any_order(list(gold.value), list(answer.value))
    if gold.kind == "group":
        return gold.brackets == answer.brackets and _same_in_order(gold.value, answer.value)
    return len(gold.value) == len(answer.value) and all(
        _same_in_order(row, other) for row, other in zip(gold.value, answer.value, strict=True)
    )


def _same_measure(gold: Answer, answer: Answer) -> bool:
    """Whether the units of an expression and of what was given for it go together. One that lacks is not missed."""
    asked, given = gold.measure, answer.value if answer.kind == "number" else answer.measure
    if given is None:
        return True
    if asked is None:  # a hundredth, or degrees where radians are meant
        return not given.percent and not (given.unit == "degree" and r"\pi" in gold.value)
    return given.percent == asked.percent and not (given.unit and asked.unit and given.unit != asked.unit)


def _in_one_notation(gold: Answer, answer: Answer) -> tuple[Answer, Answer]:
    """Both, the one that is written like the other if it says the same in another way."""
    gold, answer = as_known_set(gold), as_known_set(answer)
    kinds = gold.kind, answer.kind
    if kinds in (("group", "expression"), ("group", "list")):
        answer = (as_interval(answer) if is_interval(gold) else answer.kind == "list" and as_point(answer)) or answer
    elif kinds in (("expression", "group"), ("list", "group")):
        gold = as_interval(gold) or (gold.kind == "list" and as_point(gold)) or gold
    elif "union" in kinds:
        gold, answer = as_union(gold) or gold, as_union(answer) or answer
    elif kinds == ("expression", "expression"):
        gold, answer = _as_equation(gold, answer), _as_equation(answer, gold)
    elif "time" in kinds and "number" in kinds:
        gold, answer = _as_number(gold), _as_number(answer)
    return gold, answer


def _as_equation(named: Answer, other: Answer) -> Answer:
    """`y = 2x + 3` for what is named so where the other one is an equation that gives nothing a name."""
    if not re.fullmatch("[a-z]", named.name) or other.name or "=" not in other.value or "=" in named.value:
        return named
    return Answer("expression", f"{named.name} = {named.value}")


def _as_number(answer: Answer) -> Answer:
    """`4` for `4 p.m.`, since units that one of them lacks are not missed; `1/12` for `1:12`, which may be a ratio."""
    if answer.kind != "time":
        return answer
    hour, minute, half = answer.value
    if minute is None:
        return Answer("number", Number(Fraction(hour)))
    is_ratio = minute and hour % minute and not half  # nobody means 2 by 24:12
    return Answer("number", Number(Fraction(hour, minute))) if is_ratio else answer


def _is_readable(gold: Answer) -> bool:
    if gold.kind == "expression":
        return read_expression(gold.value) is not None
    if gold.kind in ("list", "union", "group"):
        return all(_is_readable(item) for item in gold.value)
    if gold.kind == "matrix":
        return all(_is_readable(item) for row in gold.value for item in row)
    return True


def _letters(answer: Answer) -> str:
    """Words, or an expression that is a mere word, without regard to case, spaces and brackets."""
    if answer.kind not in ("words", "expression") or re.search(r"[^A-Za-z0-9 ().,:;'-]", answer.value):
        return ""
    text = _BEFORE_WORDS.sub("", re.sub(r"(?<!\w)-(?=[0-9])", "minus", answer.value.lower()))
    return re.sub(r"[^a-z0-9]", "", text)


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


def _as_text(answer: Answer) -> str:
    if answer.kind == "expression":
        return answer.value
    value = answer.value.value
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
