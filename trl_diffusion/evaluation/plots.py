# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from .frontier import frontier
from .scoring import Evaluation


BEFORE, AFTER, COST = "#8a8f98", "#1f6feb", "#d9730d"


def plot_run(
    log_history: list[dict[str, float]],
    before: dict[str, list[Evaluation]],
    after: dict[str, list[Evaluation]],
    path: str | Path,
    *,
    title: str = "",
) -> None:
    """
    Draw the reward and the passes over training, and accuracy against passes before and after.

    Args:
        log_history (`list[dict]`):
            The trainer's `state.log_history`.
        before (`dict[str, list[Evaluation]]`):
            Evaluations of the untrained model under many decoders, by name of the way of decoding (`"sampled"`,
            `"greedy"`). A line joins those that no other beats.
        after (`dict[str, list[Evaluation]]`):
            The same for the trained model.
        path (`str` or `Path`):
            File to write; the suffix decides the format.
        title (`str`, *optional*, defaults to `""`):
            Title of the picture.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    training, cost = figure.subplots(1, 2)
    logs = [entry for entry in log_history if "reward" in entry]
    steps = [entry["step"] for entry in logs]
    training.plot(steps, [entry["reward"] for entry in logs], color=AFTER)
    training.set(xlabel="update", ylabel="mean reward of the rollouts", ylim=(0, None), title="Training")
    training.yaxis.label.set_color(AFTER)
    passes = training.twinx()
    passes.plot(steps, [entry["sampler/nfe"] for entry in logs], color=COST)
    passes.set(ylabel="forward passes per answer", ylim=(0, None))
    passes.yaxis.label.set_color(COST)

    for when, color, evaluations in (("before", BEFORE, before), ("after", AFTER, after)):
        for (name, points), style, marker in zip(evaluations.items(), ("-", "--"), ("o", "s"), strict=False):
            cost.scatter(
                [p.nfe for p in points], [p.accuracy for p in points], s=14, marker=marker, color=color, alpha=0.35
            )
            best = frontier(points)
            xs, ys = [p.nfe for p in best], [p.accuracy for p in best]
            cost.plot(xs, ys, style, marker=marker, markersize=4, color=color, label=f"{when}, {name}")
            cost.fill_between(
                xs, [p.interval[0] for p in best], [p.interval[1] for p in best], color=color, alpha=0.08, lw=0
            )
    cost.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="forward passes per answer",
        ylabel="accuracy on held-out prompts",
        title="Accuracy against cost, over rules and thresholds",
    )
    cost.yaxis.set_major_formatter(PercentFormatter(1.0))
    cost.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500]))
    cost.xaxis.set_minor_locator(NullLocator())
    cost.xaxis.set_major_formatter(ScalarFormatter())
    cost.grid(alpha=0.25)
    training.grid(alpha=0.25)
    cost.legend(loc="center right", bbox_to_anchor=(1.0, 0.35), fontsize=9)
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=130)
