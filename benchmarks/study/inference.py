# SPDX-License-Identifier: Apache-2.0
"""
Means and differences over seeds and problems, both of which are samples: of the trainings that could have been run,
and of the problems that could have been asked.

A value per seed and problem is modelled as `mean + seed + problem + rest`, as readers and cases are in studies of
diagnostic tests (Dorfman, Berbaum and Metz, Investigative Radiology 27, 1992). The error of a mean has two parts: how
much the means of seeds differ, and how much problems do beyond that. How sure these variances are is a matter of their
chi-squares: intervals and p-values are generalised ones (Weerahandi, Journal of the American Statistical Association
88, 1993), means over all variances that the sums of squares may have come from. One t-distribution with approximate
degrees of freedom would be simpler, and have small p-values too often.

A handful of seeds says little about how much seeds differ, and three may be alike by chance. But there are dozens of
variants, all trained in the same way. So the variance over seeds is moderated (Smyth, Statistical Applications in
Genetics and Molecular Biology 3, 2004): it is drawn towards the typical variance of all variants, the more so the more
alike their variances are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import optimize, special, stats
from scipy.stats import qmc


@dataclass(frozen=True)
class Prior:
    """
    What the variances of all variants say about that of one.

    Args:
        variance (`float`):
            The typical one.
        freedom (`float`):
            How many degrees of freedom that is worth: infinite if all variances are equal but for chance.
    """

    variance: float
    freedom: float


@dataclass(frozen=True)
class Sample:
    """
    A variant's values.

    Args:
        means (`np.ndarray` of shape `(clusters,)`):
            Over seeds.
        seeds (`float`):
            How many there are; infinite for a model that was not trained, which is the same for all.
        variance (`float`):
            Of the means of seeds; 0 where there is one, and no prior.
        freedom (`float`):
            The degrees of freedom of `variance`.
        rest (`float`):
            Variance of what is neither of the seed nor of the problem.
    """

    means: np.ndarray
    seeds: float
    variance: float
    freedom: float
    rest: float

    @classmethod
    def of(cls, values: np.ndarray, clusters: Sequence[int] | None = None) -> Sample:
        """
        Args:
            values (`np.ndarray` of shape `(seeds, problems)`):
                The values.
            clusters (`Sequence[int]`, *optional*):
                Problems with the same number are related, and count as one observation with their weight.

        Raises:
            `ValueError`: If fewer than two problems, or clusters, are left: nothing is known of their spread.
        """
        values = np.asarray(values, dtype=float)
        if clusters is not None:
            values = cluster_values(values, clusters)
        seeds, problems = values.shape
        if problems < 2:
            raise ValueError("At least two unrelated problems are needed.")
        if seeds == 1:
            return cls(values[0], 1, 0.0, 0, 0.0)
        rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
        return cls(
            means=values.mean(0),
            seeds=seeds,
            variance=float(values.mean(1).var(ddof=1)),
            freedom=seeds - 1,
            rest=float((rest**2).sum() / ((seeds - 1) * (problems - 1))),
        )

    def moderated(self, prior: Prior | None) -> Sample:
        """With a variance over seeds that has been drawn towards the typical one."""
        if prior is None:
            return self
        if math.isinf(prior.freedom):
            return replace(self, variance=prior.variance, freedom=math.inf)
        freedom = prior.freedom + self.freedom
        variance = (prior.freedom * prior.variance + self.freedom * self.variance) / freedom
        return replace(self, variance=variance, freedom=freedom)


@dataclass(frozen=True)
class Estimate:
    """
    A mean or a difference, and how sure it is.

    Args:
        mean (`float`):
            The mean.
        parts (`tuple[tuple[float, float], ...]`):
            The parts of its squared standard error, with the degrees of freedom of each: of the seeds of each sample,
            and last of the problems.
        seeds (`float`):
            Number of seeds, of the sample that has fewer.
    """

    mean: float
    parts: tuple[tuple[float, float], ...]
    seeds: float

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        if not self._errors.any():
            return self.mean, self.mean
        farthest = self._errors.max()
        while self._chance(farthest) > 0.05:
            farthest *= 2
        half = optimize.brentq(lambda distance: self._chance(distance) - 0.05, 0, farthest)
        return self.mean - half, self.mean + half

    @property
    def p_value(self) -> float:
        """Two-sided, of the mean being 0."""
        return self._chance(abs(self.mean)) if self._errors.any() else float(self.mean == 0)

    @cached_property
    def _errors(self) -> np.ndarray:
        """Standard errors, under the variances that the values may have come from."""
        inverses = _inverse_chi_squares(tuple(freedom for _, freedom in self.parts))[0]
        return np.sqrt(sum(part * inverse for (part, _), inverse in zip(self.parts, inverses, strict=True)))

    def _chance(self, distance: float) -> float:
        """Of a mean that is farther off."""
        weights = _inverse_chi_squares(tuple(freedom for _, freedom in self.parts))[1]
        return float(weights @ (2 * special.ndtr(-distance / self._errors)))


@lru_cache
def _inverse_chi_squares(freedoms: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """
    What variances may be, as multiples of their estimates, `(parts, draws)`, and the weights of the draws: a sequence
    that fills the space evenly, and large variances, which the tails are made of, the more finely.
    """
    evenly = qmc.Sobol(len(freedoms), scramble=True, seed=0).random_base2(13).T
    weights = np.prod(3 * evenly**2, axis=0)
    inverses = [
        np.ones_like(draws) if not 0 < freedom < math.inf else freedom / stats.chi2.ppf(draws**3, freedom)
        for draws, freedom in zip(evenly, freedoms, strict=True)
    ]
    return np.stack(inverses), weights / weights.sum()


def contrast(ours: Sample, theirs: Sample | None = None) -> Estimate:
    """
    The mean of a sample, or its difference to that of another on the same problems.

    Args:
        ours ([`Sample`]):
            The sample.
        theirs ([`Sample`], *optional*):
            What is taken from it.

    Returns:
        [`Estimate`]
    """
    samples = [ours] if theirs is None else [ours, theirs]
    means = ours.means if theirs is None else ours.means - theirs.means
    problems = len(means)
    # What is left over of the seeds' rest in the problems' means is part of the seeds' share already.
    of_problems = max(means.var(ddof=1) / problems - sum(s.rest / (s.seeds * problems) for s in samples), 0.0)
    parts = [(s.variance / s.seeds, s.freedom) for s in samples]
    return Estimate(
        mean=float(means.mean()),
        parts=(*parts, (float(of_problems), problems - 1)),
        seeds=min(s.seeds for s in samples),
    )


def satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of variances that have some each."""
    lost = sum(part**2 / freedom for part, freedom in parts if part)
    return sum(part for part, _ in parts) ** 2 / lost if lost else math.inf


def prior_of(samples: Sequence[Sample]) -> Prior | None:
    """
    What the variances over seeds of all variants have in common, by the moments of their logarithms.

    Args:
        samples (`Sequence[Sample]`):
            Of many variants. Those with one seed, or whose seeds are all alike, have no part in it.

    Returns:
        [`Prior`], or `None` if there are fewer than three.
    """
    known = [s for s in samples if s.seeds > 1 and s.variance > 0]
    if len(known) < 3:
        return None
    freedoms = np.array([s.freedom for s in known]) / 2
    logs = np.log([s.variance for s in known]) - special.digamma(freedoms) + np.log(freedoms)
    excess = logs.var(ddof=1) - special.polygamma(1, freedoms).mean()
    if excess <= 0:
        return Prior(float(np.exp(logs.mean())), math.inf)
    half = optimize.brentq(lambda f: special.polygamma(1, f) - excess, 1e-3, 1e8)
    return Prior(float(np.exp(logs.mean() + special.digamma(half) - np.log(half))), 2 * half)


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


def detectable(error: float, freedom: float, level: float, power: float = 0.8) -> float:
    """
    The smallest true difference that a study finds with a given probability.

    Args:
        error (`float`):
            Standard error of the difference.
        freedom (`float`):
            Its degrees of freedom.
        level (`float`):
            Of the two-sided test.
        power (`float`, *optional*, defaults to `0.8`):
            Share of such studies that find it.

    Returns:
        `float`, in the unit of the error: by the noncentral t-distribution.
    """
    needed = stats.t.isf(level / 2, freedom)
    return error * optimize.brentq(lambda shift: stats.nct.sf(needed, freedom, shift) - power, 0, 10 * needed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment for several comparisons: the probability of one false claim or more stays below the level."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
