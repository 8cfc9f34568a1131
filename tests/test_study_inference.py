# SPDX-License-Identifier: Apache-2.0
"""The study's statistics, against simulation and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.study.inference import Prior, Sample, cluster_values, contrast, detectable, holm, prior_of


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def crossed(values, clusters=None):
    """The mean of values by seed and problem, by itself."""
    return contrast(Sample.of(values, clusters))


def test_one_seed_is_the_t_interval_over_problems():
    values = np.array([[1.0, 0.0, 0.0, 1.0, 1.0]])
    half = 2.7764 * values.std(ddof=1) / math.sqrt(5)
    assert crossed(values).interval == pytest.approx((0.6 - half, 0.6 + half), abs=1e-4)


def test_alike_problems_leave_the_t_interval_over_seeds():
    values = np.repeat([[0.1], [0.4], [0.7]], 50, axis=1)
    half = 4.3027 * 0.3 / math.sqrt(3)
    assert crossed(values).interval == pytest.approx((0.4 - half, 0.4 + half), abs=1e-4)
    assert crossed(values).p_value == pytest.approx(stats.ttest_1samp([0.1, 0.4, 0.7], 0).pvalue)


def test_a_difference_of_seeds_that_share_nothing_is_behrens_and_fishers():
    """By simulation: the difference of two t-variables."""
    ours, theirs = np.array([0.5, 0.9, 0.6, 0.8]), np.array([0.3, 0.2, 0.4])
    found = contrast(*(Sample.of(np.repeat(values[:, None], 9, axis=1)) for values in (ours, theirs)))
    rng = np.random.default_rng(0)
    drawn = sum(v.std(ddof=1) / math.sqrt(len(v)) * rng.standard_t(len(v) - 1, size=400_000) for v in (ours, theirs))
    assert found.p_value == pytest.approx(np.mean(np.abs(drawn) > found.mean), rel=0.02)
    half = np.quantile(np.abs(drawn), 0.95)
    assert found.interval[1] - found.mean == pytest.approx(half, rel=0.01)


def test_one_problem_is_refused():
    with pytest.raises(ValueError, match="two unrelated problems"):
        Sample.of(np.ones((3, 5)), [0] * 5)


@pytest.mark.parametrize("spread", [(0, 0, 1), (0, 1, 0.5), (0.2, 0, 1), (0.05, 0.5, 1)])
def test_coverage_by_simulation(spread):
    """Of 300 studies with five seeds, about 95 % of the intervals hold the truth; over problems alone, fewer."""
    rng = np.random.default_rng(1)
    of_seed, of_problem, rest = spread
    shapes = ((5, 1), (1, 60), (5, 60))
    covered = naive = 0
    for _ in range(300):
        values = sum(s * rng.normal(size=shape) for s, shape in zip((of_seed, of_problem, rest), shapes, strict=True))
        low, high = crossed(values).interval
        covered += low <= 0 <= high
        low, high = crossed(values.mean(0)[None]).interval
        naive += low <= 0 <= high
    assert 0.91 <= covered / 300 <= 0.99
    if of_seed == 0.2:
        assert naive / 300 < 0.85  # what ignoring the seeds would do


def variances(rng, freedom, prior, count):
    """Of samples of normal values, whose true variances differ as the prior says."""
    true = prior.variance * np.ones(count)
    if math.isfinite(prior.freedom):
        true *= prior.freedom / rng.chisquare(prior.freedom, size=count)
    return true * rng.chisquare(freedom, size=count) / freedom


@pytest.mark.parametrize("freedom", [5.0, 20.0, math.inf])
def test_the_prior_is_found(freedom):
    rng = np.random.default_rng(7)
    prior = Prior(0.04, freedom)
    samples = [Sample(np.zeros(2), 4, v, 3, 0.0) for v in variances(rng, 3, prior, 40_000)]
    found = prior_of(samples)
    assert found.variance == pytest.approx(0.04, rel=0.05)
    if math.isinf(freedom):
        assert found.freedom > 150
    else:
        assert found.freedom == pytest.approx(freedom, rel=0.25)
    assert prior_of(samples[:2]) is None
    # Seeds that are all alike, and single ones, say nothing of it.
    assert prior_of([*samples, Sample(np.zeros(2), 4, 0.0, 3, 0.0), Sample(np.zeros(2), 1, 0.0, 0, 0.0)]) == found


def test_a_moderated_variance_is_between_its_own_and_the_typical_one():
    own = Sample(np.zeros(2), 3, 0.01, 2, 0.0)
    assert own.moderated(None) == own
    between = own.moderated(Prior(0.04, 4.0))
    assert (between.variance, between.freedom) == (pytest.approx((4 * 0.04 + 2 * 0.01) / 6), 6)
    assert own.moderated(Prior(0.04, math.inf)).variance == 0.04
    assert Sample.of(np.ones((1, 4))).moderated(Prior(0.04, 4.0)).variance == pytest.approx(0.04)  # one seed


def simulated_p_values(rng, prior, seeds, difference=0.0, studies=60, variants=20):
    """Of differences of pairs of variants, each study with a prior of its own finding."""
    p_values = []
    for _ in range(studies):
        scale = np.sqrt(variances(rng, 10**9, prior, variants))[:, None, None]
        values = scale * rng.normal(size=(variants, seeds, 1)) + 0.3 * rng.normal(size=(variants, seeds, 60))
        values += 0.3 * rng.normal(size=(variants, 1, 60))
        values[::2] += difference
        samples = [Sample.of(own) for own in values]
        typical = prior_of(samples)
        moderated = [s.moderated(typical) for s in samples]
        p_values += [contrast(*pair).p_value for pair in zip(moderated[::2], moderated[1::2], strict=True)]
    return np.array(p_values)


@pytest.mark.parametrize("prior", [Prior(0.02, math.inf), Prior(0.02, 6.0)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_small_p_values_are_about_as_rare_as_they_say(prior, seeds):
    """Also with three seeds that may be alike by chance: the level of one test of many is far out in the tail."""
    p_values = simulated_p_values(np.random.default_rng(seeds), prior, seeds, variants=40)
    shares = [float(np.mean(p_values < level)) for level in (0.05, 0.01, 0.002)]
    assert 0.03 < shares[0] < 0.07
    assert shares[1] < 0.02
    assert shares[2] < 0.006


def test_what_all_variants_say_of_the_variance_finds_more_than_a_variant_by_itself():
    prior, rng = Prior(0.02, math.inf), np.random.default_rng(9)
    found = np.mean(simulated_p_values(rng, prior, 3, difference=0.5) < 0.01)
    alone = [
        contrast(
            *(Sample.of(d + math.sqrt(0.02) * rng.normal(size=(3, 1)) + np.zeros(60)) for d in (0.5, 0.0))
        ).p_value
        for _ in range(300)
    ]
    assert found > np.mean(np.array(alone) < 0.01) + 0.2


def test_the_difference_that_a_study_can_find_by_simulation():
    rng = np.random.default_rng(6)
    for seeds, level in ((3, 0.05), (5, 0.01)):
        least = detectable(2.0 / math.sqrt(seeds), seeds - 1, level)
        found = stats.ttest_1samp(least + 2.0 * rng.normal(size=(20_000, seeds)), 0, axis=1).pvalue < level
        assert found.mean() == pytest.approx(0.8, abs=0.015)


def test_clusters_are_one_observation_each():
    rng = np.random.default_rng(2)
    numbers = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 9, size=12)))
    values = rng.normal(size=(3, len(numbers)))
    # The mean stays, with clusters of one nothing changes, and copies of a problem tell nothing new.
    assert cluster_values(values, numbers).mean(1) == pytest.approx(values.mean(1))
    assert crossed(values, range(len(numbers))).interval == pytest.approx(crossed(values).interval)
    alone, copied = values[:, :10], np.repeat(values[:, :10], 7, axis=1)
    assert crossed(copied, np.repeat(np.arange(10), 7)).interval == pytest.approx(crossed(alone).interval)
    assert crossed(copied).interval != pytest.approx(crossed(alone).interval)


def test_coverage_with_related_problems_of_unequal_numbers():
    rng = np.random.default_rng(3)
    covered = ignored = 0
    for _ in range(250):
        sizes = rng.integers(1, 12, size=40)
        numbers = np.repeat(np.arange(40), sizes)
        values = np.repeat(rng.normal(size=40), sizes)[None] + rng.normal(size=(5, sizes.sum())) * 0.3
        low, high = crossed(values, numbers).interval
        covered += low <= 0 <= high
        low, high = crossed(values).interval
        ignored += low <= 0 <= high
    assert 0.91 <= covered / 250 <= 0.985
    assert ignored / 250 < 0.75
