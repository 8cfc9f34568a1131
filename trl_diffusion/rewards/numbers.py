# SPDX-License-Identifier: Apache-2.0
"""
Numbers as models write them, read exactly.

`1,000`, `-\\frac{3}{4}`, `2 1/2`, `0.5`, `0.\\overline{3}`, `50\\%`, `\\$12.50`, `7 apples`, `7 more apples`
and `5\\text{ cm}` are numbers; `5 grand`, `$5 M`, `72 less`, `12.5.3`, `1e5`, `2+3`, `5!`, `5x` and `7 or 8` are not.
Nothing is evaluated, and whatever is longer than `MAX_NUMBER` characters is no number.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple


MAX_NUMBER = 120  # characters, with its unit

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    rf"(?:US(?=¤)|USD\s+)?(?P<front>[€£¥¤]?)\s*(?P<sign>[+-]?)\s*(?P<currency>[€£¥¤]?)\s*(?:"
    rf"(?:(?P<whole>[0-9]+)\s*)?\\frac\s*"
    rf"(?:\{{\s*(?P<over>[+-]?\s*{_DIGITS})\s*\}}|(?P<over_digit>[0-9]))\s*"
    rf"(?:\{{\s*(?P<under>[+-]?\s*{_DIGITS})\s*\}}|(?P<under_digit>[0-9]))"
    rf"|(?:(?P<whole_plain>[0-9]+)\s+)?(?P<top>{_DIGITS})\s*/\s*(?P<bottom>{_DIGITS})"
    rf"|(?P<head>[0-9]*\.[0-9]*)\\(?:overline|bar)\s*(?:\{{\s*(?P<period>[0-9]+)\s*\}}|(?P<period_digit>[0-9]))"
    rf"|(?P<plain>{_DIGITS})"
    rf")(?P<space>\s*)(?P<percent>%?)\s*(?P<unit>.*)",
    re.DOTALL,
)

_TEXT = r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf|rm)\s*\{"
_TEXT_UNIT = re.compile(_TEXT + r"(?P<words>[^{}]*)\}\s*(?:\^\s*\{?(?P<power>[23])\}?)?")
_PLAIN_UNIT = re.compile(
    r"(?P<words>[A-Za-z][A-Za-z.'/\-]*(?: [A-Za-z][A-Za-z.'/\-]*){0,3})(?:(?:\s*\^\s*)?\{?(?P<power>[23])\}?)?"
)
_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|[.'/\-])*")
_DEGREES = re.compile(r"\^?\s*\{?\s*\\circ\s*\}?\s*(?:[CF]|\\(?:text|mathrm)\s*\{\s*[CF]\s*\})?")

# Words that multiply the number before them: 3 dozen is 36. Of these alone everyone knows by how much.
_MULTIPLES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MULTIPLE = re.compile(rf"(?P<text>(?:{_TEXT})?)\s*(?P<word>{'|'.join(_MULTIPLES)})s?(?![\w'-])\s*", re.IGNORECASE)
# What "how many more minutes" asks for. Alone, or behind the noun, it is a difference to something else.
_MORE = {"more", "extra", "additional"}

# Of units there is no end; but the words that make another number of the one before them, or take it back, are few:
# numerals, comparisons, operations, denials.
_DENIALS = (
    r"not|no|never|[a-z]+n't|(?:ca|wo|do|does|did|is|are|was|were|has|have|could|would|should)nt|cannot|without|neither"
    r"|nor|none|impossible|unlikely|hardly|invalid|unless|wrong|incorrect|false|untrue|except|but|if|than"
)
_NO_UNITS = re.compile(
    rf"{_DENIALS}|or|and|to|is|are|was|were"
    r"|(?:zero|one|two|three|four|five|fif|six|seven|eight|eigh|nine|nin|ten|eleven|twelve|twelf"
    r"|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)t(?:y|ie)"
    r"|k|hundred|thousand|[a-z]*illion|lakh|crore|grand|dozen|score|gross|pair|half|halve|third|quarter)(?:th)?s?"
    r"|mill?|mln|mn|bill?|bn|tril|tn|thous"
    r"|more|less|lesser|fewer|short|shy|greater|larger|smaller|bigger|higher|lower|above|below|under|over"
    r"|negative|plus|minus|times|twice|doubled?|halved|tripled?|quadrupled?|divided|multiplied|squared|cubed|factorial|pi|sqrt|mod|modulo"
    r"|base|point|off|extra|additional|ahead|behind|past|almost|nearly"
)
# A million in capitals, or of money. Otherwise metres, and what a box may call them.
_MAGNITUDES = re.compile(r"M|MM|B|T")
_MAGNITUDES_OF_MONEY = re.compile(r"m|mm|b|t", re.IGNORECASE)
_DENIAL = re.compile(_DENIALS)
_UNITS = {
    name: names.split()[0]
    for names in (
        "mm millimeter millimetre",
        "cm centimeter centimetre",
        "m meter metre",
        "km kilometer kilometre",
        "in inch inche",
        "ft foot feet",
        "yd yard",
        "mi mile",
        "mg milligram",
        "g gram",
        "kg kilogram kilo",
        "lb lbs pound",
        "oz ounce",
        "ml mL milliliter millilitre",
        "l L liter litre",
        "gal gallon",
        "s sec second",
        "min minute",
        "h hr hour",
        "day",
        "week",
        "month",
        "yr year",
        "cent",
        "dollar USD",
        "euro EUR",
        "degree",
        "rad radian",
        "mph",
    )
    for name in names.split()
}


# How many of the smallest one each is. Days and weeks may be those at work, and between these systems people round.
_SYSTEMS = [
    {"s": 1, "min": 60, "h": 3600},
    {"month": 1, "yr": 12},
    {"mm": 1, "cm": 10, "m": 1000, "km": 1_000_000},
    {"in": 1, "ft": 12, "yd": 36, "mi": 63_360},
    {"mg": 1, "g": 1000, "kg": 1_000_000},
    {"oz": 1, "lb": 16},
    {"ml": 1, "l": 1000},
    {"cent": 1, "dollar": 100},
    {"": 1, "pair": 2},
]


class Number(NamedTuple):
    """
    A number, whether a percent sign followed, and its unit: a name of `_UNITS`, with its power, `pair`, or nothing.

    A quotient is `unfinished` if it is a whole number, or one of decimals: `144/2`, `1.5/4`.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""
    unfinished: bool = False


def parse_number(text: str) -> Number | None:
    """
    Read a text that is one number and nothing else but its unit.

    Args:
        text (`str`):
            The text, as [`~trl_diffusion.rewards.latex.tidy`] leaves it.

    Returns:
        [`Number`], or `None` if it is anything else.
    """
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_NUMBER else None
    if match is None:
        return None
    multiple = None if match["percent"] else _MULTIPLE.match(match["unit"])
    words = multiple["text"] + match["unit"][multiple.end() :] if multiple else match["unit"]
    unit = _parse_unit(words, spaced=bool(match["space"] or multiple))
    currency = match["front"] or match["currency"]
    if currency and unit is not None:
        unit = _unit_of_money(currency, unit, words)
    value = _value(match)
    if unit is None or value is None:
        return None
    value *= _MULTIPLES[multiple["word"].lower()] if multiple else 1
    quotient = match[0][: match.start("space")] if not (match["plain"] or match["head"]) else ""
    unfinished = bool(quotient) and (value.denominator == 1 or "." in quotient)
    return Number(-value if match["sign"] == "-" else value, bool(match["percent"]), unit, unfinished)


def same_number(gold: Number, answer: Number) -> bool:
    """
    Whether an answer gives the right number.

    Exactly: `0.33` is not `1/3`. `2/4` is `1/2`, but `144/2` is not 72: dividing was the task. A unit that one of them
    lacks is not missed; two known units have to be the same. A percent sign is a unit as well, `50%` is right where
    `50` is asked, unless the right number lies between -1 and 1 and is no percentage itself. There `50%` means a half.
    """
    if gold.unit and answer.unit and gold.unit != answer.unit:
        return False
    if (gold.percent and answer.unit) or (answer.percent and gold.unit):
        return False
    if answer.unfinished and not gold.unfinished:
        return False
    value = answer.value
    if answer.percent and not gold.percent and abs(gold.value) < 1:
        value /= 100
    return value == gold.value


def units_per(unit: str, other: str) -> Fraction | None:
    """How many of another unit one is, `60` for `h` and `min`; `None` where that is not known exactly."""
    system = next((system for system in _SYSTEMS if unit in system and other in system), None)
    return None if system is None else Fraction(system[unit], system[other])


def denies(text: str) -> bool:
    """Whether a word of a text takes back what it says: `not`, `wrong`, `isn't`."""
    return any(map(_DENIAL.fullmatch, re.findall(r"[a-z']+", re.sub("[’‘ʼ´`]", "'", text.lower()))))


def _fraction(digits: str) -> Fraction:
    digits = digits.replace(",", "").replace(" ", "")
    return Fraction(digits + "0" if digits.endswith(".") else digits)


def _value(match: re.Match) -> Fraction | None:
    """The number without its sign, `None` for division by zero and for mixed numbers whose fraction is improper."""
    if match["plain"]:
        return _fraction(match["plain"])
    if match["head"]:
        before, after = match["head"].split(".")
        period = match["period"] or match["period_digit"]
        nines = 10 ** len(after) * (10 ** len(period) - 1)
        return Fraction(int(before + after + period) - int(before + after or "0"), nines)
    whole = match["whole"] or match["whole_plain"]
    top = _fraction(match["over"] or match["over_digit"] or match["top"])
    bottom = _fraction(match["under"] or match["under_digit"] or match["bottom"])
    if bottom == 0 or (whole and not 0 <= top < bottom):
        return None
    return (int(whole) if whole else 0) + top / bottom


def _parse_unit(text: str, spaced: bool) -> str | None:
    """The unit's name, empty if there is none or none that is known; `None` if this is something else."""
    text = text.strip()
    if not text:
        return ""
    if _DEGREES.fullmatch(text):
        return "degree"
    marked = _TEXT_UNIT.fullmatch(text)
    match = marked or _PLAIN_UNIT.fullmatch(text)
    if match is None:
        return None
    words = [word.strip(".,;:()!") for word in match["words"].replace("~", " ").split()]
    if not all(map(_WORD.fullmatch, words)):
        return None
    nouns, is_pair = _nouns(words)
    if any(map(_NO_UNITS.fullmatch, re.findall(r"[a-z']+", " ".join(nouns).lower()))):
        return None
    if any(map(_MAGNITUDES.fullmatch, words)):
        return None
    power = {"square": "2", "sq": "2", "cubic": "3"}.get(nouns[0].lower() if nouns else "", "")
    name = "pair" if is_pair else _unit_name(nouns[1:] if power else nouns)
    power = power or match["power"] or ""
    # Without \text, letters may be variables: 5x, 5 x, 5ab, 5m.
    if not marked and not (name and (spaced or len(words[-1]) > 1)) and not (spaced and len(words[0]) > 2):
        return None
    return f"{name}^{power}" if name and power else name


def _nouns(words: list[str]) -> tuple[list[str], bool]:
    """The words for what is counted, and whether that is pairs, of `more minutes`, `times` and `pairs of shoes`."""
    if len(words) > 1 and words[0].lower() in _MORE:
        words = words[1:]
    if [word.lower() for word in words] == ["times"]:  # 2 times a number is a product
        return [], False
    if not words or words[0].lower() not in ("pair", "pairs"):
        return words, False
    words = words[1:]
    return words[1:] if words and words[0].lower() == "of" else words, True


def _unit_of_money(currency: str, unit: str, words: str) -> str | None:
    """The unit of `$5` and what follows it, `None` if that is another one: `$5 m`, `$5 cents`."""
    if any(map(_MAGNITUDES_OF_MONEY.fullmatch, re.findall(r"(?<!\\)\b[a-zA-Z]+", words))):
        return None
    name = {"¤": "dollar", "€": "euro"}.get(currency, "")
    return None if unit and unit != name else name


def _unit_name(words: list[str]) -> str:
    if len(words) != 1:
        return ""
    word = words[0].rstrip(".")
    lower = word.lower() if len(word) > 1 else word  # M is no metre
    return next((_UNITS[w] for w in (word, lower, lower.removesuffix("s")) if w in _UNITS), "")
