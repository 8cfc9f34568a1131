# SPDX-License-Identifier: Apache-2.0
"""Figures for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from ..evaluation import Comparison, Evaluation


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def within(interval: tuple[float, float]) -> str:
    return f"({100 * interval[0]:.1f} – {100 * interval[1]:.1f})"


def print_evaluation(title: str, evaluation: Evaluation) -> None:
    """All figures of one evaluation, and how they were made."""
    table = Table(title=title, show_header=False)
    each = "one answer" if evaluation.samples == 1 else f"{evaluation.samples} answers"
    answers = f"{evaluation.prompts} problems, {each} each"
    table.add_row("accuracy", f"{percent(evaluation.accuracy)} {within(evaluation.interval)}", answers)
    for k, (value, interval) in evaluation.pass_at.items():
        if k > 1:
            table.add_row(f"pass@{k}", f"{percent(value)} {within(interval)}", "")
    table.add_row("passes per answer", f"{evaluation.nfe:.2f}", f"{evaluation.tokens_per_step:.2f} tokens per pass")
    table.add_row("tokens per answer", f"{evaluation.tokens:.1f}", f"{evaluation.tokens_per_second:.1f} per second")
    table.add_row("cut off", percent(evaluation.truncated), "no end within the canvas")
    table.add_row("empty", percent(evaluation.empty), "")
    if evaluation.unjudged:
        table.add_row("not judged", percent(evaluation.unjudged), "counted as wrong")
    table.add_row("decoder", ", ".join(f"{name} {value}" for name, value in evaluation.decoder.items()), "")
    Console().print(table)


def print_comparison(first: str, second: str, comparison: Comparison) -> None:
    """The second, less the first."""
    table = Table(title=f"{second}, compared with {first}", show_header=False)
    difference = f"{100 * comparison.difference:+.1f} points {within(comparison.interval)}"
    table.add_row("accuracy", difference, f"p = {comparison.p_value:.2g}, two-sided and exact")
    table.add_row("problems", f"{comparison.better} better, {comparison.worse} worse", f"of {comparison.prompts}")
    low, high = comparison.nfe_interval
    table.add_row("passes per answer", f"{comparison.nfe_difference:+.2f} ({low:.2f} – {high:.2f})", "")
    Console().print(table)


def print_frontiers(frontiers: Mapping[str, Iterable[Evaluation]]) -> None:
    """The best points of each model, by rising cost."""
    table = Table("model", "passes", "accuracy", "95 %", "decoder")
    for name, points in frontiers.items():
        for point in points:
            said = {key: value for key, value in point.decoder.items() if key in ("unmasking", "threshold", "steps")}
            decoder = " ".join(str(value) for value in said.values())
            table.add_row(name, f"{point.nfe:.2f}", percent(point.accuracy), within(point.interval), decoder)
        table.add_section()
    Console().print(table)
