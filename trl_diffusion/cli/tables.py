# SPDX-License-Identifier: Apache-2.0
"""Figures for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from ..evaluation import Comparison, Evaluation
from ..evaluation.frontiers import names_and_conditions, settings_of_the_rule


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def within(interval: tuple[float, float]) -> str:
    return f"({100 * interval[0]:.1f} – {100 * interval[1]:.1f})"


def between(interval: tuple[float, float], digits: int) -> str:
    """The interval of a difference: both ends have a sign."""
    low, high = interval
    return f"({low:+z.{digits}f} – {high:+z.{digits}f})"


def print_evaluation(title: str, evaluation: Evaluation) -> None:
    """All figures of one evaluation, and how they were made."""
    table = Table(title=title, show_header=False)
    each = "one answer" if evaluation.samples == 1 else f"{evaluation.samples} answers"
    answers = f"{evaluation.prompts} problems, {each} each"
    table.add_row("accuracy", f"{percent(evaluation.accuracy)} {within(evaluation.interval)}", answers)
    for k, (value, interval) in evaluation.pass_at.items():
        if k > 1:
            table.add_row(f"pass@{k}", f"{percent(value)} {within(interval)}", "")
    if abs(evaluation.mean_reward - evaluation.accuracy) > 1e-9:  # not of rewards that are 0 or 1
        low, high = evaluation.reward_interval
        table.add_row("mean reward", f"{evaluation.mean_reward:.3f} ({low:.3f} – {high:.3f})", "")
    table.add_row("passes per answer", f"{evaluation.nfe:.2f}", f"{evaluation.tokens_per_step:.2f} tokens per pass")
    table.add_row("tokens per answer", f"{evaluation.tokens:.1f}", f"{evaluation.tokens_per_second:.1f} per second")
    table.add_row("cut off", percent(evaluation.truncated), "no end within the canvas")
    table.add_row("empty", percent(evaluation.empty), "")
    if evaluation.unjudged:
        table.add_row("not judged", percent(evaluation.unjudged), "counted as wrong")
    _print(table, "decoder: " + ", ".join(f"{name} {value}" for name, value in evaluation.decoder.items()))


def print_comparison(first: str, second: str, comparison: Comparison) -> None:
    """The second, less the first."""
    table = Table(title=f"{second}, compared with {first}", show_header=False)
    low, high = comparison.interval
    difference = f"{100 * comparison.difference:+z.1f} points {between((100 * low, 100 * high), 1)}"
    table.add_row("accuracy", difference, f"p = {comparison.p_value:.2g}, two-sided and exact")
    table.add_row("problems", f"{comparison.better} better, {comparison.worse} worse", f"of {comparison.prompts}")
    passes = f"{comparison.nfe_difference:+z.2f} {between(comparison.nfe_interval, 2)}"
    table.add_row("passes per answer", passes, "")
    notes = [f"differs, too: {name} {one}, then {two}" for name, (one, two) in comparison.settings.items()]
    _print(table, *notes)


def print_frontiers(sweeps: Mapping[str, Iterable[Evaluation]]) -> None:
    """The best points of each model, by rising cost."""
    table = Table("model", "passes", "accuracy", "95 %", "decoder")
    names, conditions = names_and_conditions(sweeps)
    for name, points in sweeps.items():
        for point in points:
            decoder = " ".join(str(value) for value in settings_of_the_rule(point).values())
            table.add_row(names[name], f"{point.nfe:.2f}", percent(point.accuracy), within(point.interval), decoder)
        table.add_section()
    _print(table, *([f"all: {conditions}"] if conditions else []))


def _print(table: Table, *notes: str) -> None:
    """A table, and lines below it. In a file or a pipe nothing is folded to make it narrow."""
    console = Console()
    if not console.is_terminal:
        natural = console.measure(table, options=console.options.update(max_width=10_000)).maximum
        console = Console(width=max(console.width, natural))
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
