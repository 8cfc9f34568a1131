# SPDX-License-Identifier: Apache-2.0
"""
The colours of denoising steps.

Text is written on the colour, black or white as the colour needs it: readable on dark and light terminals alike. The
colours are those of [cividis](https://doi.org/10.1371/journal.pone.0199239), from dark blue to yellow: it was made to
look the same with and without colour blindness, and its lightness alone tells early from late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.style import Style


# At equal distances; in between, colours are mixed.
_CIVIDIS = (
    *("00224e", "0c3470", "35456c", "4f576c", "666970", "7d7c78"),
    *("948e77", "ada272", "c8b866", "e5cf52", "fee838"),
)


def colour_of(share: float) -> str:
    """
    The colour of a step, `#rrggbb`.

    Args:
        share (`float`):
            When the step was made, from `0` (first) to `1` (last).
    """
    red, green, blue = _mix(share)
    return f"#{red:02x}{green:02x}{blue:02x}"


def text_colour_of(share: float) -> str:
    """Black or white: what is read more easily on the colour of a step."""
    # Relative luminance, and the contrast ratios (1.05 / (l + 0.05) with white), of the WCAG.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _mix(share))]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def style_of(share: float) -> Style:
    """The style of text that was written in a step."""
    return Style(color=text_colour_of(share), bgcolor=colour_of(share))


@dataclass(frozen=True)
class StepScale:
    """
    A place among the colours for every step that there may be. It is known before the first one, so that tokens keep
    their colours while others are written.

    Args:
        steps (`int`):
            The most steps that there can be.
        even (`bool`):
            Whether they are equally far apart, as suits a schedule, which makes all of them. Otherwise they are as far
            apart as their logarithms: adaptive rules make few of many, and on an even scale these would look alike.
    """

    steps: int
    even: bool

    def __call__(self, step: int) -> float:
        """The place of a step, counted from 0: from `0` (first) to `1` (last)."""
        if self.even or self.steps <= 1:
            return step / max(self.steps - 1, 1)
        return math.log(step + 1) / math.log(self.steps)

    def marks(self) -> list[int]:
        """Some steps to explain the colours with, counted from 1."""
        if self.even:
            return sorted({1, *(math.ceil(self.steps * i / 4) for i in range(1, 5))})
        digits = range(len(str(self.steps)))
        round_ones = (factor * 10**power for power in digits for factor in (1, 2, 5))
        return sorted({*(n for n in round_ones if n <= self.steps), self.steps})


def _mix(share: float) -> tuple[int, ...]:
    place = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    low = min(int(place), len(_CIVIDIS) - 2)
    here, there = (bytes.fromhex(colour) for colour in _CIVIDIS[low : low + 2])
    return tuple(round(a + (place - low) * (b - a)) for a, b in zip(here, there, strict=True))
