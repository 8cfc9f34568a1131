# SPDX-License-Identifier: Apache-2.0
"""Intervals, and the inequalities and words that say the same."""

from __future__ import annotations

import re
from dataclasses import replace

from .answers import Answer, parse_part


_RELATION = re.compile(r"(<=?|>=?|\\(?:le|ge|lt|gt)(?![a-zA-Z]))")
_UNEQUAL = re.compile(
    r"(?P<name>[a-zA-Z])\s*\\neq?(?![a-zA-Z])\s*(?P<value>.+)"
    r"|\\mathbb\s*\{?R\}?\s*(?:\\setminus|\\backslash|-)\s*\\\{(?P<hole>.+)\\\}"
)
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?!pi|infty)[a-z]+")
_MINUS_INFINITY, _INFINITY = Answer("expression", r"-\infty"), Answer("expression", r"\infty")

_ALL_REALS = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|(?:the set of )?all (?:the )?real(?: number)?s", re.IGNORECASE)
_NOTHING = re.compile(r"\\emptyset|no solutions?|(?:the )?empty set", re.IGNORECASE)


def as_known_set(answer: Answer) -> Answer:
    r"""`(-\infty, \infty)` for `\mathbb{R}` and `all real numbers`, one name for `\emptyset` and `no solution`."""
    text = answer.value.strip() if answer.kind in ("words", "expression") else ""
    if _ALL_REALS.fullmatch(text):
        return Answer("group", (_MINUS_INFINITY, _INFINITY), answer.name, "()")
    return replace(answer, kind="words", value="empty set") if _NOTHING.fullmatch(text) else answer


def is_interval(group: Answer) -> bool:
    """Whether this can be no point."""
    infinite = any(item.kind == "expression" and r"\infty" in item.value for item in group.value)
    return group.brackets != "()" or infinite or re.fullmatch("[a-z]", group.name) is not None


def as_interval(inequality: Answer) -> Answer | None:
    r"""
    `[-2, 7)`, named x, for `-2 \le x < 7`, also in two parts with `and` between them; `None` for what is no inequality
    for a variable alone.
    """
    if inequality.kind == "list":
        return _in_common(inequality)
    if inequality.kind != "expression":
        return None
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
    ends = [parse_part(side) for side in sides[::2]]
    if len(sides) != 3 or None in ends or _VARIABLE.fullmatch(sides[1]) is None:
        return None
    closed = [sign[-1] in "e=" for sign in signs]
    return Answer("group", tuple(ends), sides[1], "(["[closed[0]] + ")]"[closed[1]])


def _in_common(both: Answer) -> Answer | None:
    """`(2, 5]` for `x > 2 and x \\le 5`."""
    parts = [part for part in map(as_interval, both.value) if part]
    if both.connective != "and" or not len(both.value) == len(parts) == 2 or parts[0].name != parts[1].name:
        return None
    above = [part for part in parts if part.value[1] == _INFINITY]
    below = [part for part in parts if part.value[0] == _MINUS_INFINITY]
    if len(above) != 1 or len(below) != 1:
        return None
    ends, brackets = (above[0].value[0], below[0].value[1]), above[0].brackets[0] + below[0].brackets[1]
    return Answer("group", ends, parts[0].name, brackets)


def as_union(answer: Answer) -> Answer | None:
    r"""`(-\infty, 0) \cup (1, \infty)` for `x < 0 or x > 1`, and for `x \ne 2` all but 2; `None` for anything else."""
    hole = _UNEQUAL.fullmatch(answer.value) if answer.kind == "expression" else None
    if hole is not None:
        value = parse_part(hole["value"] or hole["hole"])
        if value is None or value.kind not in ("number", "expression"):
            return None
        parts = [(_MINUS_INFINITY, value), (value, _INFINITY)]
        return Answer("union", tuple(Answer("group", part, hole["name"] or "", "()") for part in parts))
    if answer.kind != "list" or answer.connective != "or":
        return None
    members = [item if item.kind == "group" and is_interval(item) else as_interval(item) for item in answer.value]
    names = {member.name for member in members if member}
    return Answer("union", tuple(members)) if None not in members and len(names) == 1 else None
