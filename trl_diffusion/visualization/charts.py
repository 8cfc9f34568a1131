# SPDX-License-Identifier: Apache-2.0
"""Small charts as SVG, for pages that need nothing from the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle


WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 420, 240, 56, 34, 14
COLOURS = ("#1f6feb", "#d29922", "#2da44e", "#cf222e", "#8250df", "#57606a")

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


def chart(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    x_label: str,
    intervals: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    limits: Point | None = None,
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

    Returns:
        `str`: an `<svg>` element.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    every = [point for points in finite.values() for point in points]
    if not every:
        return ""
    bars = {name: [((x, low), (x, high)) for x, low, high in (intervals or {}).get(name, ())] for name in finite}
    every += [end for own in bars.values() for bar in own for end in bar]
    x_low, x_high = _range([x for x, _ in every])
    y_low, y_high = _range([y for _, y in every], limits)
    top = MARGIN * (3 if len(finite) > 1 else 2)  # below the title, and the names

    def place(point: Point) -> Point:
        x = LEFT + (point[0] - x_low) / (x_high - x_low) * (WIDTH - LEFT - MARGIN)
        y = HEIGHT - BOTTOM - (point[1] - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - top)
        return round(x, 1), round(y, 1)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<text x="{LEFT}" y="{MARGIN}" class="title">{escape(title)}</text>')
    for value in ticks(y_low, y_high):
        y = place((x_low, value))[1]
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for value in ticks(x_low, x_high):
        x = place((value, y_low))[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:g}</text>')
    middle = (WIDTH + LEFT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    for colour, (name, points) in zip(cycle(COLOURS), finite.items()):
        for (x, low), (_, high) in (map(place, bar) for bar in bars[name]):
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" class="interval" stroke="{colour}" opacity="0.5"/>'
            )
        path = " ".join(f"{x},{y}" for x, y in map(place, points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(points) <= 40:
            parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in map(place, points)]
    if len(finite) > 1:
        names = (
            f'<tspan style="fill: {colour}">— {escape(name)} </tspan>' for name, colour in zip(finite, cycle(COLOURS))
        )
        parts.append(f'<text x="{LEFT}" y="{2 * MARGIN}">{"".join(names)}</text>')
    return "".join([*parts, "</svg>"])


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
