# SPDX-License-Identifier: Apache-2.0
"""Times of the day: `6:30 p.m.`, `18:30`, `4 PM`."""

from __future__ import annotations

import re
from typing import NamedTuple


_TIME = re.compile(
    r"(?P<hour>[0-9]{1,2})(?:\s*:\s*(?P<minute>[0-5][0-9]))?"
    r"\s*(?:(?:\\(?:text|mathrm|mbox|textrm)\s*\{)?\s*(?P<half>[ap])\.?\s?m\.?\s*\}?)?",
    re.IGNORECASE,
)


class Time(NamedTuple):
    """A time as it was written: without minutes (`4 p.m.`), or without its half of the day (`4:00`)."""

    hour: int
    minute: int | None
    half: str


def parse_time(text: str) -> Time | None:
    """The time that a text says, `None` for all that has neither minutes nor half a day."""
    match = _TIME.fullmatch(text)
    if match is None or not (match["minute"] or match["half"]):
        return None
    time = Time(int(match["hour"]), int(match["minute"]) if match["minute"] else None, (match["half"] or "").lower())
    return time if time.hour <= (12 if time.half else 24) else None


def same_time(gold: Time, answer: Time) -> bool:
    """
    Whether an answer gives the right time.

    A half of the day that one of them lacks is not missed. `18:30` is half past six only where the reference says
    `p.m.`; elsewhere it may be a ratio.
    """
    hour = answer.hour - 12 if gold.half == "p" and not answer.half and 12 < answer.hour < 24 else answer.hour
    return (hour, answer.minute or 0) == (gold.hour, gold.minute or 0) and not (
        gold.half and answer.half and gold.half != answer.half
    )
