# SPDX-License-Identifier: Apache-2.0
r"""
The many ways to write the same formula, made one.

Only what is layout goes: `\dfrac` and `\left`, dollar signs, thin spaces, bold type, a full stop at the end. Nothing
that has a meaning is touched.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from .arithmetic import compute
from .numbers import Number, denies, parse_number, same_number, units_per


CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "‐": "-",
        "‑": "-",
        "－": "-",
        "﹣": "-",
        "＋": "+",
        "∗": "*",
        "＊": "*",
        "✕": r"\times ",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "÷": "/",
        "∕": "/",
        "⁄": "/",
        "π": r"\pi ",
        "∞": r"\infty ",
        "°": r"^\circ",
        "√": r"\sqrt ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "∪": r"\cup ",
        "∈": r"\in ",
        "ℝ": r"\mathbb{R} ",
        "∅": r"\emptyset ",
        "±": r"\pm ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "½": r"\frac{1}{2}",
        "⅓": r"\frac{1}{3}",
        "⅔": r"\frac{2}{3}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
    }
)
_RAISED = re.compile("[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_AS_DIGITS = str.maketrans("⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "+-01234567890123456789")
_BASES = ("two", "three", "four", "five", "six", "seven", "eight", "nine")
_BASE_WORDS = "|".join(_BASES)
_BASE = re.compile(  # 25_{\text{eight}}, 25 \text{ (base 8)}
    rf"(?<=[0-9A-F])\s*(?:_\s*\{{\s*\\text\s*\{{\s*(?:base )?({_BASE_WORDS})\s*\}}\s*\}}"
    r"|(?:_\s*\{\s*)?(?:\\text\s*\{)?\s*\(?\s*(?:in )?\bbase (?:\}\s*)?"
    rf"([0-9]{{1,2}}|{_BASE_WORDS})\s*\)?\s*\}}{{0,2}})\Z"
)
# One after the other: each sees what those before it have left.
_SAME = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"(?<=[0-9]),\\!\s*(?=[0-9]{3}(?![0-9]))", ","),
        (r"\\!", ""),
        (r"(?<![a-zA-Z])\{\s*([,:])\s*\}", r"\1"),
        (
            r"(?<![\w)}\]^_])\\(?:text|texttt|textrm|mbox|mathrm|mathbf|mathtt|textbf|boldsymbol|bm|underline)\s*"
            r"\{\s*((?:\\?\$?-?|\(+)[0-9.,][^{}]*)\}",
            r"\1",
        ),
        (r"(?<![\w)*])\*\*(?=[^\s*])([^*]*[^\s*])\*\*(?![\w(*])", r"\1"),  # bold, not the power operator
        (r"(?<=[0-9])[\u00a0\u202f\u2009](?=[0-9]{3}(?![0-9]))", ","),
        (r"(?<=[0-9])\\[,;: ](?=[0-9]{3}(?![0-9]))", ","),
        (r"\A\s*\\text\s*\{\s*([A-Za-z][A-Za-z' ]*:)\s*\}", r"\1 "),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z])", " "),
        (r"\\text\s*\{\s*\\\$\s*\}|(?<!\\)\\\$|\\textdollar(?![a-zA-Z])", "¤"),
        (r"¤(?!\s*[-+]?\s*(?:[0-9.]|\\frac))", " "),
        (r"\A([^$]*(?:\$[^$]*\$[^$]*)*)\$(?=\s*[-+]?\s*[0-9.])([^$]*)\Z", r"\1¤\2"),  # not that of a formula
        (r"(?<!\\)\\[()\[\]]|\$", " "),
        (r"\\leq(?:slant)?(?![a-zA-Z])", r"\\le"),
        (r"\\geq(?:slant)?(?![a-zA-Z])", r"\\ge"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\A\(\s*([0-9]+)\s*\)\s*_", r"\1_"),
        (r"\\text\s*\{\s*(\^\\circ)\s*\}", r"\1"),
        (r"\\varnothing(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset"),
        (r"\\degree(?![a-zA-Z])", r"^\\circ"),
        (r"\\%|\s*\\text\s*\{\s*(?:\\?%|percent)\s*\}|\s*\bper[ -]?cent\b", "%"),
        (r"(?<![a-zA-Z\\])(pi|sqrt|infty)(?![a-zA-Z])", r"\\\1"),
        (r"(?<![a-zA-Z\\])inf(?:inity)?(?![a-zA-Z])", r"\\infty"),
        (r"(?<![a-zA-Z\\{])((?:arc)?(?:sin|cos|tan)|ln|log)(?=[(^_\\0-9]| [0-9\\]| [a-z]\b)", r"\\\1"),
        (r"\\(sin|cos|tan)\s*\^\s*\{\s*-\s*1\s*\}", r"\\arc\1 "),
        (r"\\sqrt(\[3\])? ([0-9]+)", r"\\sqrt\1{\2}"),  # that of √13; \sqrt13 is LaTeX's own affair
        (r"(?<=[\w)])\*\*(?=-?[\w(])", "^"),
        (r"\^\(([^()]{1,40})\)", r"^{\1}"),
        (r"\s+", " "),
    )
]
_EDGES = " \t\n*`_\"'“”‘’"
_ANSWER_IS = re.compile(
    r"(?:so |thus |therefore |hence )?,? ?(?:the |my )?(?:final |correct )?answer(?: is\b|\s*:|\s*=)\s*:?",
    re.IGNORECASE,
)

# The left side of an equation that only names what the right side gives: x, a_1, f(x), \angle ABC, total cost, (x, y).
_NAME = re.compile(
    r"\\?[a-zA-Z]+(?:_(?:\w|\{\w+\}))?'?(?:\([a-zA-Z0-9, -]{1,12}\))?"
    r"|m?\s*\\(?:angle|triangle|text|mathrm|mathbf|vec)\s*\{?[A-Za-z ]+\}?|[a-zA-Z]\^\{?-1\}?\([a-zA-Z]\)"
    r"|\|?[A-Z]{1,3}\|?|[A-Za-z]+(?: [A-Za-z']+){1,6}|\( ?[a-zA-Z](?: ?, ?[a-zA-Z]){1,3} ?\)"
)
_LABEL = re.compile(r"\s*([A-Za-z]{2,}(?: [A-Za-z']+){0,6})\s*:")
# What is said after these is not what was asked for, but what it is made of.
_OPERATION = re.compile(
    r"(?:the )?(?:negative|minus|opposite|reciprocal|inverse|twice|double|half"
    r"|(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|fifty|hundred|thousand) times)",
    re.IGNORECASE,
)
# Between the equations of a chain, and what is said to be 72 in 48/2 = 24, total = 72.
_NEXT = re.compile(r",(?![0-9]{3}(?![0-9]))|;|\\text\s*\{\s*and\s*\}|\band\b")
_IS = re.compile(r"((?:the|it|this|that|there)(?: [A-Za-z']+){0,6}?) (?:is|are|equals)\b:?", re.IGNORECASE)
_MEMBER = re.compile(r"\\in(?![a-zA-Z])")
# Commands, units and words of a calculation with numbers. Single letters would be variables.
_NO_VARIABLE = re.compile(
    r"\\(?:times|cdot|frac|div|sqrt|pi)(?![a-zA-Z])|\\text\s*\{[^{}]*\}|(?<![A-Za-z0-9\\])(?:of|[A-Za-z]{3,})(?![A-Za-z])"
)


def tidy(text: str) -> str:
    """
    Remove layout.

    Args:
        text (`str`):
            An answer as it was extracted.

    Returns:
        `str`: the same formula in one line.
    """
    text = _RAISED.sub(lambda match: _script("^", match[0]), text.replace("∛", r"\sqrt[3] "))
    text = _LOWERED.sub(lambda match: _script("_", match[0]), text).translate(CHARACTERS)
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    text = text.strip(_EDGES)
    text = _ANSWER_IS.sub("", text, count=1) if _ANSWER_IS.match(text) else text
    text = _brace_roots(_strip_braces(_strip_stop(text.strip(_EDGES)).strip(_EDGES)))
    return _BASE.sub(lambda match: f"_{{{_base(match[1] or match[2])}}}", text)


def _script(sign: str, digits: str) -> str:
    digits = digits.translate(_AS_DIGITS)
    return sign + (digits if len(digits) == 1 else f"{{{digits}}}")


def _base(text: str) -> str:
    return str(_BASES.index(text) + 2) if text in _BASES else text


def _brace_roots(text: str) -> str:
    r"""`\sqrt{2+\sqrt{3}}` for `\sqrt(2+\sqrt(3))`."""
    opening = re.compile(r"\\sqrt(?:\[3\])?\s*\(")
    for _ in range(10):
        match = opening.search(text)
        if match is None:
            break
        depths = itertools.accumulate((c == "(") - (c == ")") for c in text[match.end() - 1 :])
        end = next((match.end() - 1 + i for i, depth in enumerate(depths) if depth == 0), None)
        if end is None:
            break
        text = f"{text[: match.end() - 1]}{{{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


def split_name(text: str) -> tuple[str, str]:
    r"""
    Take an equation apart that gives its answer on the right: `x = 3`, `30 + 42 = 72`, `\text{cost} = 5`.

    Args:
        text (`str`):
            A tidy formula.

    Returns:
        `tuple[str, str]`: the name on the left, empty if there is none, and the right side; the whole formula if it is
        an equation of another kind, such as `2x + 1 = 7` or `y^2 = x`.
    """
    label, rest = split_label(text)
    if label:
        name, side = split_name(rest)
        return name or label, side
    if r"\approx" in text:  # what comes first is exact
        exact, about = text.split(r"\approx", 1)
        text = (exact if exact.strip() else about).strip()
    if len(_MEMBER.findall(text)) == 1:
        text = _MEMBER.sub("=", text)
    sides = [side.strip() for side in re.split(r"(?<![<>!\\])=+", text)]
    if len(sides) == 1 or not all(sides[:-1]):
        return "", text if all(sides) or any(sides[:-1]) else sides[-1]
    # 72 = 30 + 42 gives what 30 + 42 = 72 does.
    if _as_given(sides[0]) and not _as_given(sides[-1]) and all(map(_is_arithmetic, sides)):
        sides.reverse()
    if len(sides) == 2 and _as_given(sides[0]) and re.fullmatch(r"[a-zA-Z](?:_\w)?", sides[1]):  # 5 = x
        sides.reverse()
    names = [side for side in sides[:-1] if not (_is_arithmetic(side) or parse_number(side))]
    others = [name for side in sides[:-1] if side not in names and (name := _next_name(side))]
    # 24 = 2n is an equation for n, and gives no 2n.
    if len(names) < len(sides) - 1 and not _is_value(sides[-1]):
        return "", text
    if any(_NAME.fullmatch(name) is None or _OPERATION.fullmatch(name) for name in names) or any(map(denies, sides)):
        return "", text
    if len(names) + len(others) > 1 or (_next_name(sides[0]) and _as_given(_NEXT.split(sides[0])[0])):
        return "", text  # two values: apples = 10, total = 72
    if _contradicts(sides):
        return "", text
    return (names[0] if names else ""), sides[-1]


def split_label(text: str) -> tuple[str, str]:
    """`("Total", "72")` for `Total: 72` and `Total is 72`, `("", text)` for `3:4`, `Not: 72` and `Negative: 72`."""
    label = _LABEL.match(text) or _IS.match(text)
    if label is None or denies(label[1]) or _OPERATION.fullmatch(label[1]):
        return "", text
    return label[1], text[label.end() :].strip()


def _as_given(text: str) -> bool:
    """Whether this is a number as it would be given as an answer, and no quotient on the way to one."""
    return parse_number(text) is not None and not re.search(r"/|\\frac", text)


def _next_name(side: str) -> str:
    """What the side behind this one gives, where this one has a value of another: `total` for `24, total`."""
    *values, last = [piece.strip() for piece in _NEXT.split(side)]
    return last if values and not re.search(r"[0-9]", last) else ""


def _contradicts(sides: list[str]) -> bool:
    """Whether this gives two different numbers, `71 = 72`, or a wrong one, `2 + 2 = 72` and `1 hour = 72 minutes`."""
    numbers = [(side, number) for side in sides if _as_given(side) and (number := parse_number(side))]
    return any(_differ(a, b, side) for (_, a), (side, b) in itertools.pairwise(numbers)) or any(
        _is_false(_NEXT.split(a)[-1], _NEXT.split(b)[0].strip()) for a, b in itertools.pairwise(sides)
    )


def _differ(left: Number, right: Number, written: str) -> bool:
    """Whether two numbers are not the same. With units of which nobody knows how they go together, they may be."""
    if same_number(left, right) or same_number(right, left):
        return False
    per = units_per(left.unit, right.unit)
    if left.unit == right.unit or per is None:
        return left.unit == right.unit or not (left.unit and right.unit)
    # Of whole hours the minutes are exact.
    return _is_off(abs(left.value * per - right.value), written, per.denominator == left.value.denominator == 1)


def _is_false(calculation: str, result: str) -> bool:
    """Whether arithmetic with numbers alone has another value than what is given for it."""
    given = parse_number(result) if _as_given(result) else None
    computed = compute(re.sub(r"¤|(?<=[0-9]),(?=[0-9]{3})", "", calculation))
    if computed is None or given is None or ("¤" in calculation and given.unit not in ("", "dollar")):
        return False
    is_exact = not re.search(r"[./]|\\(?:frac|div)", calculation)
    values = (computed[0], 100 * computed[0]) if given.percent else (computed[0],)
    return all(_is_off(abs(value - given.value), result, is_exact) for value in values)


def _is_off(difference: Fraction, written: str, is_exact: bool) -> bool:
    """Whether a difference is more than rounding explains: not one in the last place, as of 33.33 for 100/3."""
    decimals = re.search(r"\.([0-9]*)", written)
    return difference > 0 if is_exact else difference >= Fraction(1, 10 ** len(decimals[1] if decimals else ""))


def _is_arithmetic(text: str) -> bool:
    """Whether this is a calculation with numbers, on the way to the answer: `48 clips + 24 clips`."""
    return bool(re.search(r"[0-9]", text)) and not re.search(r"[a-zA-Z\\<>]", _NO_VARIABLE.sub("", text))


def _strip_braces(text: str) -> str:
    """Without braces around all of it: `{72}`."""
    for _ in range(3):
        depths = list(itertools.accumulate((c == "{") - (c == "}") for c in text))
        if text[:1] != "{" or text[-2:-1] == "\\" or 0 not in depths or depths.index(0) != len(text) - 1:
            break
        text = text[1:-1].strip()
    return text


def _is_value(text: str) -> bool:
    """Whether this is a number or a calculation of one, and neither an expression nor a pair."""
    return parse_number(text) is not None or (_is_arithmetic(text) and not re.search(r",(?![0-9]{3}(?![0-9]))", text))


def _strip_stop(text: str) -> str:
    """Without the full stop at the end. `5!` is 120; an exclamation mark is one only after a word (`5 clips!`)."""
    text = re.sub(r"[\s.,;:]+\Z", "", text)
    return re.sub(r"((?:^|[^A-Za-z\\])[A-Za-z]{3,})!+\Z", r"\1", text)
