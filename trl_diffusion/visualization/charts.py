# SPDX-License-Identifier: Apache-2.0
"""Small charts as SVG, for pages that need nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import cycle


WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 420, 240, 56, 34, 14
# Classes `s0` to `s5` of the page, which has colours for light and for dark; dashes tell lines apart without them.
STYLES = tuple(
    (f"s{i}", dashes, mark) for i, (dashes, mark) in enumerate(2 * (("", "—"), ("6 3", "– –"), ("2 3", "···")))
)

Point = tuple[float, float]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """
    Round numbers from `low` to `high`, about `count` of them, a step of 1, 2 or 5 times a power of ten apart.
    """
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= min((1, 2, 5, 10), key=lambda factor: abs((high - low) / (step * factor) - count))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def ticks_of_logarithms(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten from `low` to `high`, or [`ticks`] if there is none or one."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [mark for mark in marks if low * (1 - 1e-9) <= mark <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else ticks(low, high)


def chart(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    x_label: str,
    intervals: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    limits: Point | None = None,
    beside: Mapping[str, Sequence[Point]] | None = None,
    logarithmic: bool = False,
) -> str:
    """
    A chart of one or several lines with points.

    Args:
        title (`str`):
            What is shown.
        lines (`Mapping[str, Sequence[tuple[float, float]]]`):
            The points of each line, by its name. Those that are not finite are left out.
        x_label (`str`):
            What the horizontal axis shows.
        intervals (`Mapping[str, Sequence[tuple[float, float, float]]]`, *optional*):
            Vertical bars in the colours of the lines, by the lines' names: where, from and to. They widen
            the range of the chart.
        limits (`tuple[float, float]`, *optional*):
            What values can be at all, `(0, 1)` for shares: the vertical axis has them if all values are the same.
        beside (`Mapping[str, Sequence[tuple[float, float]]]`, *optional*):
            Points that belong to a line, by its name, and are not on it: fainter.
        logarithmic (`bool`, *optional*, defaults to `False`):
            Whether the horizontal axis is, of positive values.

    Returns:
        `str`: an `<svg>` element.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    every = [point for points in finite.values() for point in points]
    if not every:
        return ""
    bars = {name: [((x, low), (x, high)) for x, low, high in (intervals or {}).get(name, ())] for name in finite}
    every += [end for own in bars.values() for bar in own for end in bar]
    every += [point for points in (beside or {}).values() for point in points]
    top = MARGIN * (3 if len(finite) > 1 else 2)  # below the title, and the names
    axes = _Axes(every, limits, top, logarithmic)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<text x="{LEFT}" y="{MARGIN}" class="title">{escape(title)}</text>')
    parts += axes.drawn(x_label)
    for (style, dashes, _), (name, points) in zip(cycle(STYLES), finite.items()):
        parts.append(f'<g class="{style}">')
        for (x, low), (_, high) in (map(axes.place, bar) for bar in bars[name]):
            parts.append(f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" class="interval" opacity="0.5"/>')
        for x, y in map(axes.place, (beside or {}).get(name, ())):
            parts.append(f'<circle cx="{x}" cy="{y}" r="2" class="beside"/>')
        path = " ".join(f"{x},{y}" for x, y in map(axes.place, points))
        parts.append(f'<polyline points="{path}" stroke-width="1.5" stroke-dasharray="{dashes}"/>')
        if len(points) <= 40:
            parts += [_dot(*axes.place(point), point) for point in points]
        parts.append("</g>")
    if len(finite) > 1:
        parts.append(_names(finite))
    return "".join([*parts, "</svg>"])


class _Axes:
    """Where values stand in the picture, by the range of all its points."""

    def __init__(self, points: Sequence[Point], limits: Point | None, top: float, logarithmic: bool) -> None:
        self.across: Callable[[float], float] = math.log if logarithmic else float
        self.back: Callable[[float], float] = math.exp if logarithmic else float
        self.marks = ticks_of_logarithms if logarithmic else ticks
        self.x_low, self.x_high = _range([self.across(x) for x, _ in points])
        self.y_low, self.y_high = _range([y for _, y in points], limits)
        self.top = top

    def place(self, point: Point) -> Point:
        x = LEFT + (self.across(point[0]) - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - MARGIN)
        share = (point[1] - self.y_low) / (self.y_high - self.y_low)
        return round(x, 1), round(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - self.top), 1)

    def drawn(self, x_label: str) -> Iterator[str]:
        """The horizontal lines, the numbers along both axes, and what the lower one shows."""
        left, right = self.back(self.x_low), self.back(self.x_high)
        for value in ticks(self.y_low, self.y_high):
            y = self.place((left, value))[1]
            yield f'<line x1="{LEFT}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" class="grid"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>'
        for value in self.marks(left, right):
            x = self.place((value, self.y_low))[0]
            yield f'<text x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:g}</text>'
        yield f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'


def _names(names: Iterable[str]) -> str:
    """Below the title, each after a piece of its line."""
    written = (
        f'<tspan class="{style} name">{mark}</tspan> {escape(name)} '
        for name, (style, _, mark) in zip(names, cycle(STYLES))
    )
    return f'<text x="{LEFT}" y="{2 * MARGIN}">{"".join(written)}</text>'


def _dot(x: float, y: float, point: Point) -> str:
    """With its values, for who points at it."""
    return f'<circle cx="{x}" cy="{y}" r="2.5"><title>{point[0]:.4g}: {point[1]:.4g}</title></circle>'


def _range(values: Sequence[float], limits: Point | None = None) -> Point:
    """
    From the least to the largest. Where they are the same, but for rounding, all of `limits`, or a tenth around the
    value; of a count at least from the number before to the one after, and of zero from zero to one.
    """
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low > 1e-6 * size:
        return low, high
    if limits is not None:
        return min(low, limits[0]), max(high, limits[1])
    if size == 0:
        return 0.0, 1.0
    margin = max(0.1 * size, 1.0) if low == round(low) else 0.1 * size
    return low - margin, high + margin
