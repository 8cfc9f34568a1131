# SPDX-License-Identifier: Apache-2.0
"""
Means over seeds and problems, both of which are samples: of the trainings that could have been, and of the problems
that could have been asked.

A value per seed and problem is modelled as `mean + seed + problem + rest`, as readers and cases are in studies of
diagnostic tests (Dorfman, Berbaum and Metz, Investigative Radiology 27, 1992). How sure the variances are is a matter
of their chi-squares: intervals and p-values are generalised ones (Weerahandi, Journal of the American Statistical
Association 88, 1993), means over all variances that the sums of squares may have come from. One t-distribution of
approximate degrees of freedom would be simpler, and have p-values below 0.001 many times too often: whenever three
seeds are alike by chance.

Differences of two variants are taken per seed and problem first: the problems, their noise and the order of training
are the same. A bootstrap over three seeds would give intervals that are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats


@dataclass(frozen=True)
class Estimate:
    """
    A mean, and how sure it is.

    Args:
        mean (`float`):
            The mean.
        interval (`tuple[float, float]`):
            Its 95 % interval.
        p_value (`float`):
            Two-sided, of the mean being 0.
        seeds (`int`):
            Number of seeds. With one, the interval is of this training and no other.
        spread (`float`):
            Standard deviation of the seeds' means; NaN with one seed.
    """

    mean: float
    interval: tuple[float, float]
    p_value: float
    seeds: int
    spread: float


def crossed_mean(values: np.ndarray, clusters: Sequence[int] | None = None) -> Estimate:
    """
    The mean of values by seed and problem.

    Args:
        values (`np.ndarray` of shape `(seeds, problems)`):
            The values.
        clusters (`Sequence[int]`, *optional*):
            Problems with the same number are related, and count as one observation with their weight.

    Returns:
        [`Estimate`]
    """
    values = np.asarray(values, dtype=float)
    if clusters is not None:
        values = cluster_values(values, clusters)
    seeds, mean = len(values), float(values.mean())
    spread = float(values.mean(1).std(ddof=1)) if seeds > 1 else math.nan
    if np.ptp(values) == 0:
        return Estimate(mean, (mean, mean), float(mean == 0), seeds, spread)
    errors, weights = _standard_errors(values)

    def p_value(distance: float) -> float:
        return float(weights @ (2 * special.ndtr(-distance / errors)))

    farthest = errors.max()
    while p_value(farthest) > 0.05:
        farthest *= 2
    half = optimize.brentq(lambda distance: p_value(distance) - 0.05, 0, farthest)
    return Estimate(mean, (mean - half, mean + half), p_value(abs(mean)), seeds, spread)


def _standard_errors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean's errors, under the variances that these values may have come from, and their probabilities."""
    seeds, problems = values.shape
    by_seed, by_problem = (values.mean(axis, keepdims=True) - values.mean() for axis in (1, 0))
    squares, weights = _variances(problems - 1)
    of_problems = seeds * (by_problem**2).sum() * squares
    if seeds == 1:
        return np.sqrt(of_problems / problems), weights
    rest = values - values.mean() - by_seed - by_problem
    of_rest = (rest**2).sum() / ((seeds - 1) * (problems - 1))
    of_problems = np.maximum(of_problems - of_rest, 0)
    squares, seed_weights = _variances(seeds - 1)
    # Means of seeds that are alike differ as well, by what is neither of the seed nor of the problem.
    of_seeds = np.maximum(problems * (by_seed**2).sum() * squares, of_rest)
    errors = np.sqrt((of_seeds[:, None] + of_problems) / (seeds * problems))
    return errors.ravel(), (seed_weights[:, None] * weights).ravel()


@lru_cache
def _variances(freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Variances that a sum of squares of 1 may have come from, large ones the more finely, and their probabilities."""
    steps = (np.arange(100) + 0.5) / 100
    weights = 3 * steps**2
    return 1 / stats.chi2.ppf(steps**3, freedom), weights / weights.sum()


def cluster_values(values: np.ndarray, clusters: Sequence[int]) -> np.ndarray:
    """
    A value per seed and cluster, with the same mean for each seed, whose spread over clusters is that of the mean over
    problems: clusters differ in size, and the mean is a ratio (linearised).

    Args:
        values (`np.ndarray` of shape `(seeds, problems)`):
            The values.
        clusters (`Sequence[int]`):
            Number of each problem's cluster, from 0. Those beyond the problems are left out.

    Returns:
        `np.ndarray` of shape `(seeds, clusters)`.
    """
    numbers = np.unique(np.asarray(clusters)[: values.shape[1]], return_inverse=True)[1]
    members = np.eye(numbers.max() + 1)[numbers]  # (problems, clusters)
    sizes = members.sum(0)
    means = values.mean(1, keepdims=True)
    return means + (values @ members - means * sizes) * len(sizes) / sizes.sum()


def detectable(seeds: int, spread: float, level: float, power: float = 0.8) -> float:
    """
    The smallest true difference that a study finds with a given probability.

    Args:
        seeds (`int`):
            Number of seeds.
        spread (`float`):
            Standard deviation of the difference over seeds. That problems are a sample as well makes it harder.
        level (`float`):
            Of the two-sided test.
        power (`float`, *optional*, defaults to `0.8`):
            Share of such studies that find it.

    Returns:
        `float`, in the unit of the spread: by the noncentral t-distribution.
    """
    error, needed = spread / math.sqrt(seeds), stats.t.isf(level / 2, seeds - 1)
    return optimize.brentq(
        lambda difference: stats.nct.sf(needed, seeds - 1, difference / error) - power, 0, 10 * needed * error
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment for several comparisons: the probability of one false claim or more stays below the level."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
