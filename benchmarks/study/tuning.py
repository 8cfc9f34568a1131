# SPDX-License-Identifier: Apache-2.0
"""A learning rate for each method: chosen on problems that are neither trained on nor held out, then trained anew."""

from __future__ import annotations

import statistics
from pathlib import Path

from .markdown import percent, points, rows
from .outcomes import EQUAL_PASSES, difference, mean
from .protocol import TASKS, Scale
from .records import FOLDER, Study
from .running import Run, choosing_name, tuned_name
from .variants import MAIN


RATES = (1e-4, 2e-4, 4e-4, 8e-4)
SEED = 100  # of the runs that choose, and of no other


def choosing_runs(task: str, scale: Scale, folder: Path = FOLDER) -> list[Run]:
    """One for each method and rate."""
    return [Run(variant, task, SEED, scale, folder, rate, choosing=True) for variant in MAIN for rate in RATES]


def chosen_rate(study: Study, task: str, variant: str) -> float | None:
    """That with the best accuracy in equal passes; of equals, the lower. `None` until all have been tried."""
    runs = {rate: study.seeds(task, choosing_name(variant, rate)) for rate in RATES}
    if not all(runs.values()):
        return None
    return max(RATES, key=lambda rate: (validated(study, task, variant, rate), -rate))


def validated(study: Study, task: str, variant: str, rate: float) -> float:
    """Accuracy in equal passes on the validation problems."""
    seeds = study.seeds(task, choosing_name(variant, rate))
    return statistics.mean(float(EQUAL_PASSES.value(study, record).mean()) for record in seeds.values())


def tuned_runs(study: Study, task: str, scale: Scale, seeds: list[int], folder: Path = FOLDER) -> list[Run]:
    """With the rates that were chosen, on the held-out problems."""
    rates = {variant: chosen_rate(study, task, variant) for variant in MAIN}
    return [Run(v, task, seed, scale, folder, rate) for v, rate in rates.items() if rate for seed in seeds]


def tuned_table(study: Study, task: str) -> list[str]:
    """What was chosen, and what it changes."""
    lines = []
    for variant in MAIN:
        rate = chosen_rate(study, task, variant)
        if rate is None:
            continue
        tuned, baseline_rate = tuned_name(variant, task, rate), chosen_rate(study, task, MAIN[0])
        baseline = None if baseline_rate is None else tuned_name(MAIN[0], task, baseline_rate)
        tried = " / ".join(f"{100 * validated(study, task, variant, r):.1f}" for r in RATES)
        lines.append(
            [
                f"`{variant}`",
                tried,
                f"{rate:g}",
                percent(mean(study, task, tuned, EQUAL_PASSES)),
                "" if tuned == variant else points(difference(study, task, tuned, variant, EQUAL_PASSES)),
                ""
                if variant == MAIN[0] or baseline is None
                else points(difference(study, task, tuned, baseline, EQUAL_PASSES)),
            ]
        )
    heads = (
        "method", f"validation at {' / '.join(f'{r:g}' for r in RATES)}", "chosen",
        f"in {TASKS[task].passes:g} passes",
        "difference from before", f"from `{MAIN[0]}`, also tuned",
    )  # fmt: skip
    return rows(heads, lines) if lines else []
