# SPDX-License-Identifier: Apache-2.0
"""From records to one number per seed and problem, and from these to differences of variants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .inference import Estimate, Prior, Sample, contrast, prior_of
from .protocol import BOUNDS, FULL, TASKS, Scale, clusters
from .records import Answers, Record, Study
from .variants import GROUPS, UNTRAINED, VARIANTS


@dataclass(frozen=True)
class Outcome:
    """
    What is looked at in a record.

    Args:
        name (`str`):
            In words.
        value (`Callable[[Study, Record], np.ndarray]`):
            A value per problem.
    """

    name: str
    value: Callable[[Study, Record], np.ndarray]


def at_passes(record: Record, passes: float) -> np.ndarray:
    """
    Probability of a right greedy answer in so many passes on average, interpolated between the two nearest entropy
    bounds: as if one of the two were taken by chance for each answer, in the share that makes up the number.

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
    sampled = record.answers["sampled"].bits[:few]
    points = {0: before.curve[0].bits, **{u: a.bits for u, a in record.curve.items()}, last: sampled}
    return sorted(points), [points[update] for update in sorted(points)]


# Of the policy itself: temperature 1, the bound of the rollouts.
SAMPLED = Outcome("sampled accuracy", lambda study, record: record.answers["sampled"].bits)
GREEDY = Outcome("greedy accuracy", lambda study, record: record.answers["bound 0.1"].bits)
ONE_PER_PASS = Outcome("greedy, one token per pass", lambda study, record: record.answers["one per pass"].bits)
CURVE = Outcome("learning curve", learning_curve)
EQUAL_PASSES = Outcome("accuracy in equal passes", lambda study, record: at_passes(record, TASKS[record.task].passes))


def in_passes(passes: float) -> Outcome:
    """Greedy accuracy in so many passes."""
    return Outcome(f"accuracy in {passes:g} passes", lambda study, record: at_passes(record, passes))


def scale_of(study: Study, task: str) -> Scale:
    """That the records of a task were made at."""
    for (own, _), seeds in study.records.items():
        if own == task:
            plain = next(iter(seeds.values())).settings["scale"]
            return Scale(**plain | {"checkpoints": tuple(plain["checkpoints"])})
    return FULL[task]


def sample(study: Study, task: str, variant: str, outcome: Outcome) -> Sample | None:
    """A variant's values by seed and problem; `None` without a run."""
    records = study.seeds(task, variant)
    if not records:
        return None
    values = np.stack([outcome.value(study, records[seed]) for seed in sorted(records)])
    return Sample.of(values, clusters(TASKS[task], scale_of(study, task)))


def prior(study: Study, task: str, outcome: Outcome) -> Prior | None:
    """How much seeds differ, by all variants that learn from their reward."""
    keys = [v.key for v in VARIANTS.values() if v.key != UNTRAINED and v.reward != "permuted"]
    found = [sample(study, task, key, outcome) for key in keys]
    return prior_of([s for s in found if s is not None])


def mean(study: Study, task: str, variant: str, outcome: Outcome) -> float | None:
    """Over seeds and problems; `None` without a run."""
    found = sample(study, task, variant, outcome)
    return None if found is None else float(found.means.mean())


def difference(study: Study, task: str, variant: str, baseline: str, outcome: Outcome) -> Estimate | None:
    """The first variant less the second, on the same problems; `None` if one of them has not been run."""
    ours, theirs = (sample(study, task, key, outcome) for key in (variant, baseline))
    if ours is None or theirs is None:
        return None
    typical = prior(study, task, outcome)
    return contrast(
        ours.moderated(typical), _untrained(theirs) if baseline == UNTRAINED else theirs.moderated(typical)
    )


def _untrained(found: Sample) -> Sample:
    """The same for any number of seeds."""
    return replace(found, seeds=math.inf)


def over_frontier(study: Study, task: str, variant: str, baseline: str) -> Estimate | None:
    """
    A variant with the thresholds that it has learned, less what the baseline's own bounds reach, by the same seed, in
    as many passes.
    """
    found = _over_frontier(study, task, variant, baseline)
    if found is None:
        return None
    pairs = [(k, b) for g in GROUPS.values() for k in g.learning_thresholds for b in (UNTRAINED, g.baseline)]
    others = [_over_frontier(study, task, *pair) for pair in pairs]
    return contrast(found.moderated(prior_of([s for s in others if s is not None])))


def _over_frontier(study: Study, task: str, variant: str, baseline: str) -> Sample | None:
    ours, theirs = study.seeds(task, variant), study.seeds(task, baseline)
    if baseline == UNTRAINED and theirs:
        theirs = dict.fromkeys(ours, theirs[0])
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    points = [ours[seed].answers["learned"] for seed in seeds]
    values = [p.bits - at_passes(theirs[seed], p.passes) for seed, p in zip(seeds, points, strict=True)]
    return Sample.of(np.stack(values), clusters(TASKS[task], scale_of(study, task)))


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
