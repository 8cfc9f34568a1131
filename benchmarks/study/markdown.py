# SPDX-License-Identifier: Apache-2.0
"""Cells and tables."""

from __future__ import annotations

from collections.abc import Iterable

from .inference import Estimate


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def points(estimate: Estimate | None) -> str:
    """A difference of accuracies, and its interval."""
    if estimate is None:
        return ""
    low, high = (100 * end for end in estimate.interval)
    return f"{100 * estimate.mean:+.1f} ({low:+.1f} … {high:+.1f})"


def probability(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def rows(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    heads = list(heads)
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(line)} |" for line in lines)]
