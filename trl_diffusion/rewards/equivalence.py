# SPDX-License-Identifier: Apache-2.0
r"""
Whether two mathematical answers are the same.

Numbers, lists, pairs and intervals, matrices and words are compared exactly, by rules of our own. Only what remains,
expressions, equations and inequalities, goes to math-verify.
"""

from __future__ import annotations

import functools
import re

from .answers import Answer, parse_answer
from .expressions import read_expression, same_expression
from .intervals import as_interval, is_interval
from .numbers import same_number


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
    if gold.kind == "group" and answer.kind == "expression" and is_interval(gold):
        answer = as_interval(answer) or answer
    elif gold.kind == "expression" and answer.kind == "group":
        gold = as_interval(gold) or gold
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
        return same_expression(gold.value, _as_text(answer))
    if gold.kind != answer.kind:
        return False
    if gold.kind in ("list", "union"):
        return _same_in_any_order(list(gold.value), list(answer.value))
    if gold.kind == "group":
        return gold.brackets == answer.brackets and _same_in_order(gold.value, answer.value)
    return len(gold.value) == len(answer.value) and all(
        _same_in_order(row, other) for row, other in zip(gold.value, answer.value, strict=True)
    )


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


def _as_text(answer: Answer) -> str:
    if answer.kind == "expression":
        return answer.value
    value = answer.value.value
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
