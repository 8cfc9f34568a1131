# SPDX-License-Identifier: Apache-2.0
"""Sample efficiency, and accuracy against passes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from trl_diffusion.evaluation.plots import AFTER, BEFORE, COST

from .inference import Estimate, Sample, contrast
from .outcomes import curve_points, scale_of
from .protocol import BOUNDS, TASKS, clusters
from .records import Study
from .variants import UNTRAINED


COLORS = (AFTER, COST, "#2da44e", "#8250df", "#bf3989", "#0a7ea4", "#9a6700", "#cf222e")


def draw_curves(study: Study, task: str, variants: Sequence[str], path: Path) -> None:
    """Accuracy against updates: of the held-out problems, sampled, with intervals; and of the rollouts."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    held_out, rollouts = figure.subplots(1, 2)
    own = clusters(TASKS[task], scale_of(study, task))
    before = study.seeds(task, UNTRAINED)[0]
    for key, color in zip(variants, cycle(COLORS)):
        records = list(study.seeds(task, key).values())
        if not records:
            continue
        updates = curve_points(before, records[0])[0]
        by_update = zip(*(curve_points(before, record)[1] for record in records), strict=True)
        _band(held_out, updates, [_estimate(answers, own) for answers in by_update], color, key)
        accuracy = np.mean([record.rollouts["accuracy"] for record in records], axis=0)
        rollouts.plot(range(1, len(accuracy) + 1), accuracy, color=color, label=key)
    held_out.set(title="Held-out problems, sampled at temperature 1")
    rollouts.set(title="Rollouts, by the decoder of each method")
    for axes in (held_out, rollouts):
        _finish(axes, "updates")
    figure.savefig(path, dpi=130)


def draw_frontiers(study: Study, task: str, variants: Sequence[str], path: Path) -> None:
    """Greedy accuracy against passes over the bounds, means over seeds; learned thresholds by themselves."""
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    own = clusters(TASKS[task], scale_of(study, task))
    for key, color in zip((UNTRAINED, *variants), (BEFORE, *COLORS)):
        records = list(study.seeds(task, key).values())
        if not records:
            continue
        found = [[record.answers[f"bound {bound:g}"] for record in records] for bound in BOUNDS]
        passes = [float(np.mean([a.passes for a in answers])) for answers in found]
        _band(axes, passes, [_estimate([a.bits for a in answers], own) for answers in found], color, key)
        learned = [record.answers["learned"] for record in records if "learned" in record.answers]
        axes.scatter([a.passes for a in learned], [a.bits.mean() for a in learned], color=color, marker="*", s=90)
    axes.axvline(TASKS[task].passes, color=BEFORE, lw=0.8, ls=":")
    axes.set(xscale="log", title="Greedy, entropy bounds from 0.03 to 8; stars: learned thresholds")
    _finish(axes, "forward passes per answer")
    axes.set_ylim(
        bottom=np.floor(10 * min(line.get_ydata().min() for line in axes.lines if line.get_marker() == "o")) / 10
    )
    ticks = (1, 2, 3, 5, 10)
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    figure.savefig(path, dpi=130)


def _estimate(answers: Sequence[np.ndarray], clusters: Sequence[int]) -> Estimate:
    return contrast(Sample.of(np.stack(answers), clusters))


def _band(axes: Axes, xs: Sequence[float], estimates: Sequence[Estimate], color: str, label: str) -> None:
    axes.plot(xs, [e.mean for e in estimates], "o-", markersize=4, color=color, label=label)
    lows, highs = zip(*(e.interval for e in estimates))
    axes.fill_between(xs, lows, highs, color=color, alpha=0.1, lw=0)


def _finish(axes: Axes, xlabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel="accuracy", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=8)
