# SPDX-License-Identifier: Apache-2.0
"""From records to one number per seed and problem."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .protocol import BOUNDS, FULL, TASKS, Scale, clusters
from .records import Answers, Record, Study
from .statistics import Estimate, crossed_mean
from .variants import UNTRAINED


Outcome = Callable[[Record], np.ndarray]  # a value per problem


def sampled(record: Record) -> np.ndarray:
    """Right answers of the policy itself: temperature 1, the bound of the rollouts."""
    return record.answers["sampled"].bits


def greedy(record: Record) -> np.ndarray:
    """Right greedy answers at the bound of the rollouts."""
    return record.answers["bound 0.1"].bits


def one_per_pass(record: Record) -> np.ndarray:
    """Right greedy answers, one token per pass."""
    return record.answers["one per pass"].bits


def at_passes(record: Record, passes: float) -> np.ndarray:
    """
    Probability of a right greedy answer in so many passes on average: of the decoder that takes one of two
    neighbouring bounds by chance, in the share that makes up this number.

    Cheaper than the cheapest bound nothing can be: 0. The most careful one is as good as it gets.
    """
    points = sorted((record.answers[f"bound {bound:g}"] for bound in BOUNDS), key=lambda a: a.passes)
    return mixture(points, passes)


def mixture(points: list[Answers], passes: float) -> np.ndarray:
    """Of points in the order of their passes."""
    if passes < points[0].passes:
        return np.zeros(points[0].problems)
    for below, above in pairwise(points):
        if below.passes <= passes < above.passes:
            share = (passes - below.passes) / (above.passes - below.passes)
            return (1 - share) * below.bits + share * above.bits
    return points[-1].bits


def at_equal_passes(record: Record) -> np.ndarray:
    """[`at_passes`] at the number that is the task's."""
    return at_passes(record, TASKS[record.task].passes)


def learning_curve(study: Study, record: Record) -> np.ndarray:
    """
    Sampled accuracy over the training, from before the first update to after the last: the area under the curve, as a
    share. Of the problems that are asked in passing.

    Raises:
        `KeyError`: If the untrained model has not been measured.
    """
    before = study.seeds(record.task, UNTRAINED)[0]
    updates, points = curve_points(before, record)
    return np.trapezoid(np.stack(points), updates, axis=0) / updates[-1]


def curve_points(before: Record, record: Record) -> tuple[list[int], list[np.ndarray]]:
    """Updates, and right answers after them."""
    last = record.settings["scale"]["updates"]
    few = record.settings["scale"]["few"]
    points = {0: before.curve[0].bits, **{u: a.bits for u, a in record.curve.items()}, last: sampled(record)[:few]}
    return sorted(points), [points[update] for update in sorted(points)]


def scale_of(study: Study, task: str) -> Scale:
    """That the records of a task were made at."""
    for (own, _), seeds in study.records.items():
        if own == task:
            plain = next(iter(seeds.values())).settings["scale"]
            return Scale(**plain | {"checkpoints": tuple(plain["checkpoints"])})
    return FULL[task]


def matrix(records: dict[int, Record], seeds: list[int], outcome: Outcome) -> np.ndarray:
    """`(seeds, problems)`"""
    return np.stack([outcome(records[seed]) for seed in seeds])


def mean(study: Study, task: str, variant: str, outcome: Outcome) -> Estimate | None:
    """Over seeds and problems; `None` without a run."""
    records = study.seeds(task, variant)
    if not records:
        return None
    return crossed_mean(matrix(records, sorted(records), outcome), clusters(TASKS[task], scale_of(study, task)))


def difference(study: Study, task: str, variant: str, baseline: str, outcome: Outcome) -> Estimate | None:
    """
    The first variant less the second, on the same problems and by the same seeds; the untrained model has none of its
    own. `None` if they share no seed.
    """
    ours, theirs, seeds = _pairs(study, task, variant, baseline)
    if not seeds:
        return None
    values = matrix(ours, seeds, outcome) - matrix(theirs, seeds, outcome)
    return crossed_mean(values, clusters(TASKS[task], scale_of(study, task)))


def _pairs(
    study: Study, task: str, variant: str, baseline: str
) -> tuple[dict[int, Record], dict[int, Record], list[int]]:
    """The records of both by seed, and the seeds that they share: the untrained model's only one goes with all."""
    ours, theirs = study.seeds(task, variant), study.seeds(task, baseline)
    if baseline == UNTRAINED and theirs:
        theirs = dict.fromkeys(ours, theirs[0])
    return ours, theirs, sorted(ours.keys() & theirs.keys())


def over_frontier(study: Study, task: str, variant: str, baseline: str, decoder: str = "learned") -> Estimate | None:
    """A variant's point less what the baseline's own bounds reach, by the same seed, in as many passes."""
    ours, theirs, seeds = _pairs(study, task, variant, baseline)
    if not seeds:
        return None
    points = [ours[seed].answers[decoder] for seed in seeds]
    values = [p.bits - at_passes(theirs[seed], p.passes) for seed, p in zip(seeds, points, strict=True)]
    return crossed_mean(np.stack(values), clusters(TASKS[task], scale_of(study, task)))


def passes_for(record: Record, accuracy: float) -> float | None:
    """The fewest passes at which the greedy frontier, joined by lines, reaches an accuracy; `None` if it does not."""
    points = sorted((record.answers[f"bound {b:g}"] for b in BOUNDS), key=lambda a: a.passes)
    reached = [(a.passes, float(a.bits.mean())) for a in points]
    if reached[0][1] >= accuracy:
        return reached[0][0]
    for (below, low), (above, high) in pairwise(reached):
        if low < accuracy <= high:
            return below + (above - below) * (accuracy - low) / (high - low)
    return None
