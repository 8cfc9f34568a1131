# SPDX-License-Identifier: Apache-2.0
"""Taking an answer apart: numbers, lists, pairs and intervals, matrices, words, and the expressions that are left."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import Any

from .choices import split_choice
from .clock import parse_time
from .latex import split_name, tidy
from .numbers import Number, parse_number


MAX_ANSWER = 300  # characters
MAX_ITEMS = 20

_OPENERS, _CLOSERS = "([{⟦", ")]}⟧"  # ⟦ ⟧ stand for \{ \}
_CONNECTIVE = re.compile(r"\\text\s*\{\s*(?:,?\s*(and|or)\s*,?|,)\s*\}|(?<![a-zA-Z\\{])(and|or)(?![a-zA-Z}])")
_UNION = re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]]) ?U ?(?=[(\[])")
_BUILDER = re.compile(
    r"⟦\s*(?P<name>[a-z])(?:\s*\\in\s*\\mathbb\s*\{?R\}?)?\s*(?:\\mid|\\vert|\||:)\s*(?P<condition>[^⟦⟧]+)⟧"
)
_WORDS = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|textrm|operatorname)\s*\{([^{}]*[A-Za-z][^{}]*)\}")
_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_ANGLE = re.compile(
    r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z]).*\^\s*\{?\s*\\circ"
)  # whose unit is none of the answer's
_UNIT_TAIL = re.compile(
    r"(?<=[\w})])\s*(?:\\(?:text|mathrm|mbox)\s*\{[^{}]*\}(?:\s*\^\s*\{?[23]\}?)?|\^\s*\{?\s*\\circ\s*\}?|%"
    r"|\s(?:(?:square|cubic|sq\.?) )?(?:units?|inche?s?|feet|cm|mm|km|meters?|degrees|dollars)"
    r"(?:\s*\^\s*\{?[23]\}?)?)\s*\Z"
)


@dataclass(frozen=True)
class Answer:
    r"""
    An answer, taken apart.

    Args:
        kind (`str`):
            `"number"`, `"time"`, `"words"`, `"list"` (in any order), `"group"` (a pair or an interval), `"union"`,
            `"matrix"` or `"expression"`.
        value:
            A [`~trl_diffusion.rewards.numbers.Number`] or [`~trl_diffusion.rewards.clock.Time`], a text, or a tuple of
            answers; of a matrix a tuple of those.
        name (`str`, *optional*, defaults to `""`):
            What it was said to be: `x` in `x = 3`, `(C)` in `(C) 12`.
        brackets (`str`, *optional*, defaults to `""`):
            Of a group, such as `"[)"`.
        connective (`str`, *optional*, defaults to `""`):
            Of a list: `"and"` or `"or"`, where only that stands in it beside commas.
        measure ([`~trl_diffusion.rewards.numbers.Number`], *optional*):
            Of an expression: one of its unit, `1 cm` for `2\pi cm`.
    """

    kind: str
    value: Any
    name: str = ""
    brackets: str = ""
    connective: str = ""
    measure: Number | None = None


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
    choice, text = split_choice(tidy(text).replace(r"\{", "⟦").replace(r"\}", "⟧"))
    answer = parse_part(text)
    return replace(answer, name=answer.name or choice) if answer else None


def parse_part(text: str) -> Answer | None:
    """[`parse_answer`] for a part of an answer, whose text is tidy."""
    text = text.strip()
    time = parse_time(text)
    if time is not None:
        return Answer("time", time)
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
    builder = _BUILDER.fullmatch(text)
    if builder:
        name, condition = builder["name"], builder["condition"]
        return parse_part(condition) if re.search(rf"(?<![a-zA-Z\\]){name}(?![a-zA-Z])", condition) else None
    connectives = {first or second for first, second in _CONNECTIVE.findall(text)} - {""}
    text = _join_thousands(_CONNECTIVE.sub(",", text))
    pieces = _split(text, ",;")
    if len(pieces) > 1:
        return _parse_items("list", pieces, connective=connectives.pop() if len(connectives) == 1 else "")
    if pieces != [text]:
        return parse_part(pieces[0]) if pieces else None
    name, side = split_name(text)
    if side != text:
        inner = parse_part(side)
        return inner and replace(inner, name=name or inner.name)
    members = _split(_UNION.sub("\x00", text), "\x00")
    if len(members) > 1:
        return _parse_items("union", members)
    if _is_wrapped(text):
        return _parse_wrapped(text)
    signs = text.split(r"\pm")
    if len(signs) == 2 and "=" not in text:
        return _parse_items("list", [signs[0] + "+" + signs[1], signs[0] + "-" + signs[1]])
    if re.fullmatch(r"[A-Za-z][A-Za-z'-]{3,}(?: [A-Za-z'-]+)*|(?i:yes|no|odd)", text):
        return Answer("words", text)
    tail = None if _ANGLE.search(text) else _UNIT_TAIL.search(text)
    measure = parse_number("1" + tail[0]) if tail else None
    measure = measure if measure and measure.value == 1 else None  # a thousand is none
    bare = text[: tail.start()] if tail and measure else text
    bare = bare.replace("⟦", r"\{").replace("⟧", r"\}").replace("¤", "")
    return Answer("expression", bare, measure=measure) if bare else None


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
    return parse_part(inside)


def _parse_items(kind: str, pieces: list[str], brackets: str = "", connective: str = "") -> Answer | None:
    items: list[Answer] = []
    for item in map(parse_part, pieces[: MAX_ITEMS + 1]):
        if item is None:
            return None
        # 1 \pm \sqrt{5} is a list within a list
        items.extend(item.value if kind == item.kind == "list" else [item])
    known = 0 < len(items) <= MAX_ITEMS
    return Answer(kind, tuple(items), brackets=brackets, connective=connective) if known else None


def _parse_rows(rows: list[list[str]]) -> Answer | None:
    parsed = tuple(tuple(parse_part(cell) for cell in row) for row in rows)
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
