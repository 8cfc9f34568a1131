# SPDX-License-Identifier: Apache-2.0
"""
A learning rate for each method, chosen on problems that are neither trained on nor held out.

Each method gets the same search: three rates, then one more on the side of the best as long as the best is the lowest
or the highest that has been tried. Ablations have the rate of their method.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from .markdown import rows
from .outcomes import EQUAL_PASSES
from .protocol import Scale
from .records import FOLDER, Study
from .running import Run, choosing_name
from .variants import GROUPS


RATES = (2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3)
FIRST = (2e-4, 4e-4, 8e-4)
SEED = 100  # of the runs that choose, and of no other


def methods(task: str) -> tuple[str, ...]:
    """Keys of the methods that are run on a task: those that need a learning rate."""
    wanted = [key for group in GROUPS.values() if task in group.tasks for key in group.variants]
    return tuple(key for key in GROUPS["methods"].variants if key in wanted)


def validated(study: Study, task: str, method: str) -> dict[float, float]:
    """Accuracy in equal passes on the validation problems, for each rate that has been tried, from low to high."""
    found = {}
    for rate in RATES:
        runs = study.seeds(task, choosing_name(method, rate)).values()
        if runs:
            found[rate] = statistics.mean(float(EQUAL_PASSES.value(study, record).mean()) for record in runs)
    return found


def rates_to_try(study: Study, task: str, method: str) -> list[float]:
    """The next of the search; none when it has ended."""
    found = validated(study, task, method)
    if missing := [rate for rate in FIRST if rate not in found]:
        return missing
    best, tried = RATES.index(_best(found)), list(found)
    beside = [RATES[i] for i in (best - 1, best + 1) if 0 <= i < len(RATES)]
    return [rate for rate in beside if rate not in tried]


def chosen_rate(study: Study, task: str, method: str) -> float | None:
    """That with the best accuracy in equal passes; of equals, the lower. `None` until the search has ended."""
    return None if rates_to_try(study, task, method) else _best(validated(study, task, method))


def choosing_runs(study: Study, task: str, method: str, scale: Scale, folder: Path = FOLDER) -> list[Run]:
    """The next of the search; none when it has ended."""
    return [Run(method, task, SEED, scale, r, folder, choosing=True) for r in rates_to_try(study, task, method)]


def tuning_table(study: Study, task: str) -> list[str]:
    """What was tried, and what was chosen."""
    found = {method: validated(study, task, method) for method in methods(task)}
    tried = [rate for rate in RATES if any(rate in own for own in found.values())]
    lines = []
    for method, own in found.items():
        chosen = chosen_rate(study, task, method)
        cells = [f"{100 * own[rate]:.1f}" if rate in own else "" for rate in tried]
        lines.append([f"`{method}`", *(f"**{c}**" if r == chosen else c for r, c in zip(tried, cells, strict=True))])
    return rows(("method", *(f"{rate:g}" for rate in tried)), lines) if tried else []


def _best(found: dict[float, float]) -> float:
    return max(found, key=lambda rate: (found[rate], -rate))
