# SPDX-License-Identifier: Apache-2.0
"""Intervals, and the inequalities that say the same."""

from __future__ import annotations

import re

from .answers import Answer, parse_part


_RELATION = re.compile(r"(<=?|>=?|\\(?:le|ge|lt|gt)(?![a-zA-Z]))")
_VARIABLE = re.compile(r"[a-zA-Z]|\\(?!pi|infty)[a-z]+")


def is_interval(group: Answer) -> bool:
    """Whether this can be no point."""
    infinite = any(item.kind == "expression" and r"\infty" in item.value for item in group.value)
    return group.brackets != "()" or infinite or re.fullmatch("[a-z]", group.name) is not None


def as_interval(inequality: Answer) -> Answer | None:
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
    ends = [parse_part(side) for side in sides[::2]]
    if len(sides) != 3 or None in ends or _VARIABLE.fullmatch(sides[1]) is None:
        return None
    closed = [sign[-1] in "e=" for sign in signs]
    return Answer("group", tuple(ends), sides[1], "(["[closed[0]] + ")]"[closed[1]])
