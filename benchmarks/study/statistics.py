# SPDX-License-Identifier: Apache-2.0
"""
Means over seeds and problems, both of which are samples: of the trainings that could have been, and of the problems
that could have been asked.

A value per seed and problem is modelled as `mean + seed + problem + rest`, as readers and cases are in studies of
diagnostic tests: variances from the mean squares (Dorfman, Berbaum and Metz, Investigative Radiology 27, 1992),
degrees of freedom as by Hillis (Statistics in Medicine 26, 2007) with the problems' own added. Differences of two
variants are taken per seed and problem first: the problems, their noise and the order of training are the same.
A bootstrap over three seeds would give intervals that are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


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
    """

    mean: float
    interval: tuple[float, float]
    p_value: float
    seeds: int


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
    seeds, problems = values.shape
    mean = float(values.mean())
    by_seed, by_problem = values.mean(1) - mean, values.mean(0) - mean
    of_problems = seeds * float((by_problem**2).sum()) / (problems - 1)
    if seeds == 1:
        variance, freedom = of_problems / problems, float(problems - 1)
    else:
        rest = values - mean - by_seed[:, None] - by_problem
        of_rest = float((rest**2).sum()) / ((seeds - 1) * (problems - 1))
        of_seeds = problems * float((by_seed**2).sum()) / (seeds - 1)
        of_problems = max(of_problems - of_rest, 0.0)
        variance = (of_seeds + of_problems) / (seeds * problems)
        spread = of_seeds**2 / (seeds - 1) + of_problems**2 / (problems - 1)
        freedom = (of_seeds + of_problems) ** 2 / spread if spread else math.inf
    error = math.sqrt(variance)
    half = t_quantile(0.975, freedom) * error
    p_value = 2 * (1 - t_probability(abs(mean) / error, freedom)) if error else float(mean == 0)
    return Estimate(mean, (mean - half, mean + half), p_value, seeds)


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment for several comparisons: the probability of one false claim or more stays below the level."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def t_probability(t: float, freedom: float) -> float:
    """Student's distribution function: `t = sqrt(freedom) tan(angle)` makes its density a power of the cosine."""
    if freedom > 1e6:
        return 0.5 * math.erfc(-t / math.sqrt(2))
    angles = np.linspace(0.0, math.atan(abs(t) / math.sqrt(freedom)), 301)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    half = scale * float(np.trapezoid(np.cos(angles) ** (freedom - 1), angles))
    return 0.5 + math.copysign(min(half, 0.5), t)


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """Inverse of [`t_probability`] above a half, by bisection."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return high
