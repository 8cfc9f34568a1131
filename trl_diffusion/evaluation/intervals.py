# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of proportions, with one sample per prompt or several, and of means."""

from __future__ import annotations

import math
from collections.abc import Sequence


Z = 1.959964  # of the normal distribution: 95 % intervals


def wilson_interval(successes: float, trials: float, z: float = Z) -> tuple[float, float]:
    """
    Wilson's score interval of a proportion.

    Args:
        successes (`float`):
            Number of successes.
        trials (`float`):
            Number of trials, not necessarily whole: an effective one.
        z (`float`, *optional*, defaults to `1.959964`):
            Normal quantile; the default makes 95 % intervals.

    Returns:
        `tuple[float, float]`: lower and upper end.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"`successes` ({successes}) must lie between 0 and `trials` ({trials}), which must be positive."
        )
    p = successes / trials
    center = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, center - half), min(1.0, center + half)


def clustered_interval(
    means: Sequence[float], weights: Sequence[float] | None = None, *, samples: float
) -> tuple[float, float]:
    """
    Wilson's interval of a mean over prompts, each with several samples.

    Samples of a prompt are alike, so that they count for less than as many prompts. The number of trials is the
    effective one, `p (1 - p)` over the variance of the mean as the spread between prompts shows it (Korn and Graubard,
    Survey Methodology 24, 1998; in Wilson's interval: Dean and Pagano, Journal of Survey Statistics and Methodology 3,
    2015). With one sample per prompt it is the number of prompts. Where all samples are right, or all wrong, the
    spread tells nothing, and a prompt counts once.

    Args:
        means (`Sequence[float]`):
            Mean of each prompt, from 0 to 1.
        weights (`Sequence[float]`, *optional*):
            Weight of each prompt. Equal by default.
        samples (`float`):
            Number of samples in all. The interval is never narrower than if they were independent.

    Returns:
        `tuple[float, float]`: lower and upper end.

    Raises:
        `ValueError`: If there are no prompts.
    """
    if not len(means):
        raise ValueError("`means` is empty: there is nothing to take the mean of.")
    weights = [1.0] * len(means) if weights is None else weights
    total = sum(weights)
    p = sum(w * x for w, x in zip(weights, means, strict=True)) / total
    p = min(max(p, 0.0), 1.0)
    variance = sum((w * (x - p)) ** 2 for w, x in zip(weights, means, strict=True)) / total**2
    if 0 < p < 1:
        trials = p * (1 - p) / variance if variance > 0 else samples
    else:
        trials = total**2 / sum(w * w for w in weights)
    trials = max(1.0, min(trials, samples))
    return wilson_interval(p * trials, trials)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """
    Normal 95 % interval of a mean.

    Args:
        values (`Sequence[float]`):
            One of each prompt.

    Returns:
        `tuple[float, float]`: lower and upper end; the mean alone if there is a single value.
    """
    count, mean = len(values), sum(values) / len(values)
    half = Z * math.sqrt(sum((x - mean) ** 2 for x in values) / max(1, count - 1) / count)
    return mean - half, mean + half
