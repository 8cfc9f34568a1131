# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from .calibration import ThresholdUse
from .frontiers import frontier, names_and_conditions
from .intervals import Z
from .likelihood_gap import LikelihoodGap
from .scoring import Evaluation


BEFORE, AFTER, COST = "#8a8f98", "#1f6feb", "#d9730d"


def plot_run(
    log_history: list[dict[str, float]],
    before: dict[str, list[Evaluation]],
    after: dict[str, list[Evaluation]],
    path: str | Path,
    *,
    title: str = "",
    problems: str = "",
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
        problems (`str`, *optional*, defaults to `""`):
            What was evaluated, such as task and split. Its number is known.
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
            _draw_frontier(cost, points, color, style=style, marker=marker, label=f"{when}, {name}")
    _name_cost_axes(cost, [*before.values(), *after.values()], problems)
    training.grid(alpha=0.25)
    cost.legend(loc="center right", bbox_to_anchor=(1.0, 0.35), fontsize=9)
    _save(figure, path, title)


def plot_frontiers(
    sweeps: dict[str, list[Evaluation]], path: str | Path, *, title: str = "", problems: str = ""
) -> None:
    """
    Draw accuracy against passes of one checkpoint or several. A line joins the points that no other of the same
    checkpoint beats, a band shows their intervals, a star is a decoder with learned thresholds. Temperature and canvas
    stand below the title, or with the names where they are not the same for all.

    Args:
        sweeps (`dict[str, list[Evaluation]]`):
            Evaluations under many decoders, by the name of the checkpoint, see [`load_sweep`].
        path (`str` or `Path`):
            File to write; the suffix decides the format.
        title (`str`, *optional*, defaults to `""`):
            Title of the picture.
        problems (`str`, *optional*, defaults to `""`):
            What was evaluated, such as task and split. Its number is known.
    """
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axes = figure.subplots()
    names, conditions = names_and_conditions(sweeps)
    for (name, points), color in zip(sweeps.items(), cycle((BEFORE, AFTER, COST, "#2da44e", "#8250df", "#bf3989"))):
        _draw_frontier(axes, points, color, style="-", marker="o", label=names[name])
    _name_cost_axes(axes, sweeps.values(), problems)
    if conditions:
        axes.set_title(f"{axes.get_title()}\n{conditions}", fontsize=9)
    axes.legend(loc="lower right", fontsize=9)
    _save(figure, path, title)


def plot_calibration(uses: list[ThresholdUse], path: str | Path, *, title: str = "") -> None:
    """
    Draw how often each threshold is chosen, and the accuracy and the passes of the answers that it was drawn for and,
    where that is known, if it were drawn for every prompt.

    Args:
        uses (`list[ThresholdUse]`):
            See [`threshold_calibration`].
        path (`str` or `Path`):
            File to write; the suffix decides the format.
        title (`str`, *optional*, defaults to `""`):
            Title of the picture.
    """
    figure = Figure(figsize=(15, 4.6), layout="constrained")
    share, accuracy, passes = figure.subplots(1, 3)
    places, names = range(len(uses)), [f"{use.threshold:.3g}" for use in uses]
    share.bar(places, [use.share for use in uses], width=0.4, align="edge", color=AFTER, label="drawn")
    if any(use.greedy_share is not None for use in uses):
        share.bar(
            places,
            [use.greedy_share or 0 for use in uses],
            width=-0.4,
            align="edge",
            color=BEFORE,
            label="most likely",
        )
    share.set(ylabel="share of the draws", title="What the head chooses")

    where_drawn, always = (AFTER, "where drawn"), (BEFORE, "if drawn for every prompt")
    for accuracies, intervals, offset, (color, label) in (
        ([u.accuracy for u in uses], [u.interval for u in uses], -0.08, where_drawn),
        ([u.accuracy_if_always for u in uses], [u.interval_if_always for u in uses], 0.08, always),
    ):
        drawn = [
            (place + offset, value, *ends)
            for place, value, ends in zip(places, accuracies, intervals)
            if value is not None and ends is not None
        ]
        if drawn:
            xs, ys, lows, highs = zip(*drawn)
            errors = [[y - low for y, low in zip(ys, lows)], [high - y for y, high in zip(ys, highs)]]
            accuracy.errorbar(xs, ys, yerr=errors, fmt="o", color=color, capsize=3, label=label)
    accuracy.set(ylim=(0, 1.02), ylabel="accuracy", title="How often it is right")
    for nfes, marker, (color, label) in (
        ([u.nfe for u in uses], "o-", where_drawn),
        ([u.nfe_if_always for u in uses], "s--", always),
    ):
        known = [(place, nfe) for place, nfe in zip(places, nfes) if nfe is not None]
        if known:
            passes.plot(*zip(*known), marker, color=color, label=label)
    passes.set(ylabel="forward passes per answer", ylim=(0, None), title="What it costs")
    for axes in (share, accuracy, passes):
        axes.set(xlabel="threshold", xticks=list(places), xticklabels=names)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    for axis in (share.yaxis, accuracy.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    _save(figure, path, title)


def plot_likelihood_gap(gaps: Mapping[str, LikelihoodGap], path: str | Path, *, title: str = "") -> None:
    """
    Draw how far estimators are from the policy against the denoising step: figure 2 of
    [DiFFPO](https://huggingface.co/papers/2510.02212). Bands are 95 % intervals, cut at 0, which no divergence is
    below; a step that tokens of a single prompt were written in has none.

    Args:
        gaps (`Mapping[str, LikelihoodGap]`):
            Divergences by the name of the estimator, see [`likelihood_gap`].
        path (`str` or `Path`):
            File to write; the suffix decides the format.
        title (`str`, *optional*, defaults to `""`):
            Title of the picture.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, gap in gaps.items():
        steps, ends = range(1, len(gap.mean) + 1), list(zip(gap.mean, gap.standard_error))
        (line,) = axes.plot(steps, gap.mean, marker="o", markersize=3, label=name)
        low, high = [max(mean - Z * error, 0.0) for mean, error in ends], [mean + Z * error for mean, error in ends]
        axes.fill_between(steps, low, high, alpha=0.15, color=line.get_color())
    axes.set(xlabel="denoising step", ylabel="KL divergence per token, nats", ylim=(0, None))
    axes.legend(frameon=False)
    _save(figure, path, title)


def _draw_frontier(axes: Axes, points: list[Evaluation], color: str, *, style: str, marker: str, label: str) -> None:
    axes.scatter([p.nfe for p in points], [p.accuracy for p in points], s=14, marker=marker, color=color, alpha=0.35)
    best = frontier(points)
    xs, ys = [p.nfe for p in best], [p.accuracy for p in best]
    axes.plot(xs, ys, style, marker=marker, markersize=4, color=color, label=label)
    axes.fill_between(xs, [p.interval[0] for p in best], [p.interval[1] for p in best], color=color, alpha=0.08, lw=0)
    learned = [p for p in points if str(p.decoder.get("threshold", "")).startswith("learned")]
    if learned:
        xs, ys = [p.nfe for p in learned], [p.accuracy for p in learned]
        axes.scatter(xs, ys, s=120, marker="*", color=color, edgecolor="white", zorder=3, label=f"{label}: learned")


def _name_cost_axes(axes: Axes, evaluations: Iterable[list[Evaluation]], problems: str) -> None:
    counts = sorted({point.prompts for points in evaluations for point in points})
    asked = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))) if counts else "no"
    axes.set(
        xscale="log",
        ylim=(0, 1.02),
        xlabel="forward passes per answer",
        ylabel=f"accuracy on {asked} prompts" + (f" ({problems})" if problems else ""),
        title="Accuracy against cost, over rules and thresholds",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.grid(alpha=0.25)


def _save(figure: Figure, path: str | Path, title: str) -> None:
    if title:
        figure.suptitle(title)
    figure.savefig(path, dpi=130)
