# SPDX-License-Identifier: Apache-2.0
"""Figures from samples, against closed forms, enumeration and simulation. No model."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from trl_diffusion.evaluation import (
    Generation,
    Generations,
    clustered_interval,
    compare,
    different_settings,
    paired_interval,
    pass_at_k,
    score,
    sign_flip_p_value,
    threshold_calibration,
    wilson_interval,
)
from trl_diffusion.generation import Trajectory
from trl_diffusion.models import ThresholdHeadConfig
from trl_diffusion.rewards import gsm8k_reward


def a_sample(prompt, sample=0, text="right", nfe=4, tokens=6, ended=True, threshold=0.1, draw=None, prompt_text="?"):
    """Made up. `draw` is the action and the probability of a threshold."""
    nothing = torch.zeros(1, 8)
    action, probability = (None, None) if draw is None else draw
    trajectory = Trajectory(
        completion_ids=torch.arange(8)[None],
        unmask_step=nothing.long(),
        log_probs=nothing,
        entropies=nothing,
        nfe=torch.tensor([nfe]),
        threshold=torch.tensor([[threshold]]),
        slack=torch.zeros(1),
        row_forwards=torch.zeros(1),
        threshold_actions=None if action is None else torch.tensor([[float(action)]]),
        threshold_log_probs=None if probability is None else torch.tensor([[math.log(probability)]]),
    )
    return Generation(prompt, sample, 0, prompt_text, {}, [1], trajectory, text, tokens, ended, seconds=0.5)


def some(rows, **settings):
    """Samples of as many prompts as there are rows: strings of `1` (right) and `0`."""
    samples = [
        a_sample(p, s, text="right" if c == "1" else "wrong") for p, row in enumerate(rows) for s, c in enumerate(row)
    ]
    return of_samples(samples, **settings)


def of_samples(samples, head=None, **decoder):
    header = {
        "settings": {
            "model": {"threshold_head": head},
            "decoder": {"learned_threshold": "off"} | decoder,
        },
        "decoder": {"threshold": 0.1},
        "num_samples": max(sample.sample_index for sample in samples) + 1,
    }
    return Generations(header, samples)


def is_right(completions, **kwargs):
    return [float(text == "right") for text in completions]


# ---------------------------------------------------------------- intervals


def test_interval_of_prompts_with_one_sample_is_wilsons():
    for right, prompts in ((0, 7), (3, 10), (10, 10), (1, 1), (250, 500)):
        values = [1.0] * right + [0.0] * (prompts - right)
        assert clustered_interval(values, samples=prompts) == pytest.approx(wilson_interval(right, prompts), abs=1e-12)


def test_interval_of_prompts_whose_samples_agree_counts_prompts():
    assert clustered_interval([1, 0, 1, 1], samples=40) == pytest.approx(wilson_interval(3, 4))
    assert clustered_interval([1, 1, 1], samples=300) == pytest.approx(wilson_interval(3, 3))
    assert clustered_interval([0.5] * 9, samples=36) == pytest.approx(wilson_interval(18, 36))  # not of more


@pytest.mark.parametrize(
    ("prompts", "samples", "mean", "likeness"),
    [(100, 8, 0.5, 0.3), (100, 2, 0.9, 0.3), (30, 32, 0.5, 0.9), (300, 8, 0.2, 0.05)],
)
def test_interval_covers_the_truth_in_95_of_100_cases(prompts, samples, mean, likeness):
    """Prompts of different difficulty: where samples are counted as if they were prompts, it often does not."""
    rng = np.random.default_rng(0)
    spread = 1 / likeness - 1
    difficulty = rng.beta(mean * spread, (1 - mean) * spread, (800, prompts))
    covered = []
    naive = []
    for row in rng.binomial(samples, difficulty) / samples:
        low, high = clustered_interval(row.tolist(), samples=prompts * samples)
        covered.append(low <= mean <= high)
        low, high = wilson_interval(row.sum() * samples, prompts * samples)
        naive.append(low <= mean <= high)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(naive) < np.mean(covered) - (0.1 if likeness * samples > 1 else 0.01)


def test_weighted_interval_of_whole_weights_is_that_of_copies():
    weighted = clustered_interval([1, 0, 0.5], [4.0, 4.0, 4.0], samples=12)
    assert weighted == pytest.approx(clustered_interval([1, 0, 0.5], samples=12))
    one_counts = clustered_interval([1, 0.0], [1e9, 1e-9], samples=100)
    assert one_counts == pytest.approx(wilson_interval(1, 1), abs=1e-6)


# ---------------------------------------------------------------- pass@k


def test_pass_at_k_is_the_share_of_all_draws_with_a_right_one():
    for samples in range(1, 7):
        for correct, k in itertools.product(range(samples + 1), range(1, samples + 1)):
            draws = list(itertools.combinations([True] * correct + [False] * (samples - correct), k))
            assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)
    for nonsense in ((3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)):
        with pytest.raises(ValueError, match="`correct`"):
            pass_at_k(*nonsense)


# ---------------------------------------------------------------- score


def test_score_counts_what_can_be_counted_by_hand():
    samples = [
        a_sample(0, 0, "right", nfe=2, tokens=4),
        a_sample(0, 1, "wrong", nfe=6, tokens=8, ended=False),
        a_sample(1, 0, "right", nfe=3, tokens=5),
        a_sample(1, 1, " \n", nfe=1, tokens=1),
        a_sample(2, 0, "unknown", nfe=4, tokens=8, ended=False),
        a_sample(2, 1, "wrong", nfe=8, tokens=6),
    ]

    def reward(completions, nfe, threshold, **kwargs):
        assert nfe == [2, 6, 3, 1, 4, 8] and threshold == pytest.approx([0.1] * 6)
        return [{"right": 1.0, "unknown": None}.get(text, 0.0) for text in completions]

    e = score(of_samples(samples), reward)
    assert (e.accuracy, e.nfe, e.tokens, e.prompts, e.samples) == (2 / 6, 24 / 6, 32 / 6, 3, 2)
    assert (e.tokens_per_step, e.tokens_per_second, e.seconds) == (32 / 24, 32 / 3, 3.0)
    assert (e.truncated, e.empty, e.unjudged) == (2 / 6, 1 / 6, 1 / 6)
    assert {k: value for k, (value, _) in e.pass_at.items()} == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}
    assert e.interval == pytest.approx(clustered_interval([0.5, 0.5, 0], samples=6))
    assert e.pass_at[2][1] == pytest.approx(wilson_interval(2, 3))


def test_interval_of_pass_at_k_counts_groups_of_k_samples():
    """Prompts that are all equally hard, so that samples are as good as independent: six times two groups of two."""
    e = score(some(["1100", "0110", "0011", "1001", "1010", "0101"]), is_right)
    value, interval = e.pass_at[2]
    assert value == pytest.approx(5 / 6)  # of the six pairs of a prompt, one is all wrong
    assert interval == pytest.approx(binomtest(10, 12).proportion_ci(method="wilson"), abs=1e-6)
    assert e.pass_at[1][1] == pytest.approx(binomtest(12, 24).proportion_ci(method="wilson"), abs=1e-6)


def test_nothing_is_not_scored():
    with pytest.raises(ValueError, match="no samples"):
        score(Generations(some(["1"]).header, []), is_right)


def test_asynchronous_and_wrong_rewards():
    async def slowly(completions, **kwargs):
        return [1.0] * len(completions)

    assert score(some(["1", "0"]), slowly).accuracy == 1.0
    with pytest.raises(ValueError, match="1 rewards for 2 completions") as caught:
        score(some(["1", "0"]), lambda completions, **kwargs: [1.0])
    assert "<lambda>" in caught.value.__notes__[0]


# ---------------------------------------------------------------- comparison


def mcnemar(better, worse):
    """The textbook's: a binomial test of the prompts on which they differ."""
    n, k = better + worse, min(better, worse)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


@pytest.mark.parametrize(("better", "worse", "same"), [(0, 0, 5), (1, 0, 3), (9, 2, 40), (5, 5, 0), (30, 12, 1000)])
def test_exact_test_of_single_samples_is_mcnemars(better, worse, same):
    differences = [1] * better + [-1] * worse + [0] * same
    assert sign_flip_p_value(differences) == pytest.approx(mcnemar(better, worse), rel=1e-12)


def test_exact_test_counts_all_flips():
    rng = np.random.default_rng(0)
    for _ in range(30):
        differences = rng.integers(-4, 5, 9).tolist()
        flips = itertools.product((-1, 1), repeat=9)
        sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
        expected = sum(s >= abs(sum(differences)) for s in sums) / len(sums)
        assert sign_flip_p_value(differences) == pytest.approx(expected, rel=1e-12)


def test_exact_test_keeps_its_level():
    """Two models that are equally good: a p-value below 5 % in no more than 5 of 100 cases."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(1, 1, (600, 40))
    differences = rng.binomial(4, difficulty) - rng.binomial(4, difficulty)
    rejected = np.mean([sign_flip_p_value(row.tolist()) < 0.05 for row in differences])
    assert 0.02 < rejected < 0.07


def test_paired_interval_is_bonett_and_prices():
    for better, worse, same in ((0, 0, 10), (3, 1, 16), (10, 0, 2)):
        n = better + worse + same
        a, b = (better + 1) / (n + 2), (worse + 1) / (n + 2)
        half = 1.959964 * math.sqrt((a + b - (a - b) ** 2) / (n + 2))
        expected = max(-1, a - b - half), min(1, a - b + half)
        assert paired_interval([1] * better + [-1] * worse + [0] * same) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 8, 32])
def test_paired_interval_covers_the_truth(samples):
    """Two models of which the second solves more, and both fail at the same prompts."""
    rng = np.random.default_rng(0)
    difficulty = rng.beta(0.5, 0.5, (800, 60))
    gains = rng.binomial(samples, difficulty**0.7) - rng.binomial(samples, difficulty)
    x = np.random.default_rng(1).beta(0.5, 0.5, 500_000)
    truth = np.mean(x**0.7 - x)
    intervals = [paired_interval((row / samples).tolist(), samples=samples) for row in gains]
    assert 0.93 <= np.mean([low <= truth <= high for low, high in intervals]) <= 0.985


def test_comparison_of_samples():
    first, second = some(["10", "11", "00", "10"]), some(["1111", "1110", "0000", "1100"])
    for sample in second.samples:
        sample.trajectory.nfe[:] = 2 + sample.prompt_index
    result = compare(first, second, is_right)
    assert result.difference == pytest.approx((1 + 0.75 + 0 + 0.5) / 4 - (0.5 + 1 + 0 + 0.5) / 4)
    assert (result.better, result.worse, result.prompts) == (1, 1, 4)
    assert result.interval == paired_interval([0.5, -0.25, 0.0, 0.0], samples=8 / 3)
    assert result.p_value == sign_flip_p_value([2, -1, 0, 0])
    assert result.nfe_difference == pytest.approx(3.5 - 4)
    half = 1.959964 * np.std([-2, -1, 0, 1], ddof=1) / 2
    assert result.nfe_interval == pytest.approx((-0.5 - half, -0.5 + half))
    back = compare(second, first, is_right)
    assert (back.difference, back.p_value, back.better) == (-result.difference, result.p_value, result.worse)


def test_comparison_of_different_prompts_is_refused():
    one = some(["1", "0"])
    for sample in one.samples:
        sample.columns["weight"] = math.nan  # which equals nothing
    compare(one, one, is_right)
    with pytest.raises(ValueError, match="`first` has 2 prompts and `second` 3"):
        compare(one, some(["1", "0", "1"]), is_right)
    other = of_samples([one.samples[0], replace(one.samples[1], prompt="another")])
    with pytest.raises(ValueError, match="differ in prompt 1"):
        compare(one, other, is_right)


def test_comparison_of_other_decoders_has_to_be_asked_for():
    first = some(["1", "0"], temperature=0.0, confidence_threshold=0.5, eos_token_ids=[3, 4])
    second = some(["1", "1"], temperature=1.0, max_denoising_steps=64, eos_token_ids=[4, 3])
    with pytest.raises(ValueError, match="temperature 0.0 and 1.0.*`allow_different_settings=True`") as caught:
        compare(first, second, is_right)
    assert "confidence_threshold" not in str(caught.value)  # of a rule that neither uses
    result = compare(first, second, is_right, allow_different_settings=True)
    assert result.settings == {"temperature": (0.0, 1.0), "max_denoising_steps": (None, 64)}
    assert compare(first, first, is_right).settings == {}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"block_length": 64}, ["block_length"]),
        ({"stop_at_eos": False}, ["stop_at_eos"]),
        ({"entropy_bound": 0.2}, ["entropy_bound"]),
        ({"max_batch_size": 3, "use_cache": False}, []),
        ({"unmasking": "confidence_threshold"}, ["unmasking", "entropy_bound", "confidence_threshold"]),
        ({"learned_threshold": "greedy"}, ["learned_threshold", "entropy_bound"]),
        ({"learned_threshold": "greedy", "entropy_bound": 0.7}, ["learned_threshold", "entropy_bound"]),
        ({"unmasking": "random"}, ["unmasking", "entropy_bound", "max_denoising_steps"]),
        ({"approximate_cache": "dual"}, ["approximate_cache"]),
    ],
    ids=str,
)
def test_settings_differ_if_they_have_an_effect(change, names):
    assert set(different_settings(some(["1"]), some(["1"], **change))) == set(names)


def test_schedules_of_as_many_steps_are_the_same():
    whole = some(["1"], unmasking="low_confidence")  # a step per token
    assert different_settings(whole, some(["1"], unmasking="low_confidence", max_denoising_steps=256)) == {}
    assert different_settings(whole, some(["1"], unmasking="low_confidence", max_denoising_steps=64))


def test_precision_and_prompts_belong_to_the_settings():
    first, second = some(["1"]), some(["1"])
    for generations, dtype, digest in ((first, "torch.float32", "0123456789"), (second, "torch.bfloat16", "98765432")):
        generations.header["settings"]["model"]["dtype"] = dtype
        generations.header["settings"] |= {"prompt_ids": digest, "seed": len(digest)}
    assert different_settings(first, second) == {
        "dtype": ("torch.float32", "torch.bfloat16"),
        "prompt_ids": ("01234567", "98765432"),
    }


# ---------------------------------------------------------------- calibration

GRID = ThresholdHeadConfig(grid=[0.1, 1.0]).to_dict()


def drawn(rng, prompts, samples):
    """
    Prompts that are easy or hard. The head is bold (1.0) with probability 0.8 where they are easy, and 0.2 where they
    are hard. Boldness costs half of the accuracy and of the passes.
    """
    made = []
    for p in range(prompts):
        easy = p % 2
        for s in range(samples):
            bold = rng.random() < (0.8 if easy else 0.2)
            right = rng.random() < (0.9 if easy else 0.5) * (0.5 if bold else 1)
            probability = 0.8 if bold == bool(easy) else 0.2
            made.append(
                a_sample(
                    p,
                    s,
                    "right" if right else "wrong",
                    nfe=(4 if easy else 8) // (2 if bold else 1),
                    threshold=GRID["grid"][bold],
                    draw=(int(bold), probability),
                )
            )
    return of_samples(made, GRID, learned_threshold="sample")


def test_calibration_tells_the_threshold_from_the_prompts_it_is_drawn_for():
    generations = drawn(np.random.default_rng(0), 400, 5)
    timid, bold = threshold_calibration(generations, is_right)
    assert [timid.threshold, bold.threshold] == GRID["grid"]  # not as float32 has them
    assert (timid.share, bold.share) == pytest.approx((0.5, 0.5), abs=0.03)
    # Where drawn: mostly the hard prompts for the timid, mostly the easy ones for the bold.
    assert (timid.accuracy, bold.accuracy) == pytest.approx((0.58, 0.41), abs=0.04)
    assert (timid.nfe, bold.nfe) == pytest.approx((7.2, 2.4), abs=0.2)
    # For every prompt: the two halves count the same.
    assert (timid.accuracy_if_always, bold.accuracy_if_always) == pytest.approx((0.7, 0.35), abs=0.04)
    assert (timid.nfe_if_always, bold.nfe_if_always) == pytest.approx((6.0, 3.0), abs=0.2)
    for use, truth in ((timid, 0.7), (bold, 0.35)):
        assert use.interval_if_always[0] < truth < use.interval_if_always[1]
        assert use.interval[0] < use.accuracy < use.interval[1]
        assert use.greedy_share is None


def test_interval_of_inverse_propensities_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(40):
        timid, bold = threshold_calibration(drawn(rng, 40, 2), is_right)
        hits += [timid.interval_if_always[0] < 0.7 < timid.interval_if_always[1]]
        hits += [bold.interval_if_always[0] < 0.35 < bold.interval_if_always[1]]
    assert 0.9 < np.mean(hits) < 0.99


def test_what_greedy_chooses():
    sampled = of_samples([a_sample(p, draw=(0, 0.5)) for p in range(4)], GRID, learned_threshold="sample")
    greedy = [a_sample(p, threshold=1.0 if p else 0.1, draw=(int(p > 0), 0.9)) for p in range(4)]
    uses = threshold_calibration(sampled, is_right, of_samples(greedy, GRID, learned_threshold="greedy"))
    assert [(use.share, use.greedy_share) for use in uses] == [(1.0, 0.25), (0.0, 0.75)]
    assert math.isnan(uses[1].accuracy) and uses[1].interval == (0.0, 1.0)


def test_continuous_thresholds_are_put_into_bins():
    head = ThresholdHeadConfig(kind="continuous").to_dict()
    samples = [a_sample(p, threshold=float(p), draw=(0.1 * p, 0.3), text="right" if p > 4 else "") for p in range(10)]
    uses = threshold_calibration(of_samples(samples, head, learned_threshold="sample"), is_right, bins=5)
    assert [use.threshold for use in uses] == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert [use.accuracy for use in uses] == [0, 0, 0.5, 1, 1] and {use.share for use in uses} == {0.2}
    assert all(use.accuracy_if_always is None for use in uses)


def test_greedy_samples_have_to_belong_to_the_others():
    def made(head=GRID, way="greedy", prompts=2, text="?"):
        samples = [a_sample(p, draw=(0, 0.5), prompt_text=text) for p in range(prompts)]
        return of_samples(samples, head, learned_threshold=way)

    sampled = made(way="sample")
    assert len(threshold_calibration(sampled, is_right, made())) == 1
    another = made()
    another.header["settings"]["model"]["weights"] = "another"
    for greedy, message in (
        (made(ThresholdHeadConfig(grid=[0.1, 2.0]).to_dict()), "`threshold_head` differ"),
        (another, "`greedy` and `sampled` are of different models: `weights` differ.*same checkpoint"),
        (made(prompts=3), "`greedy` has 3 prompts and `sampled` 2"),
        (made(text="!"), "`greedy` and `sampled` differ in prompt 0"),
    ):
        with pytest.raises(ValueError, match=message):
            threshold_calibration(sampled, is_right, greedy)
    with pytest.raises(ValueError, match="`sampled` tells of no `threshold_head`"):
        threshold_calibration(made(None, "sample"), is_right)
    for bins in (0, -1, 2.5):
        with pytest.raises(ValueError, match="`bins` must be a whole number of at least 1"):
            threshold_calibration(sampled, is_right, bins=bins)


def test_a_reward_of_another_task():
    generations = some(["1"])
    generations.samples[0].columns["goal"] = "5"
    with pytest.raises(ValueError, match="`gsm8k_reward` needs the columns 'answer', and the samples have 'goal'"):
        score(generations, gsm8k_reward)

    def broken(completions, **kwargs):
        return None + 1

    with pytest.raises(TypeError, match="NoneType"):
        score(generations, broken)


def test_nothing_to_compare():
    for nothing in (
        lambda: clustered_interval([], samples=0),
        lambda: paired_interval([]),
        lambda: sign_flip_p_value([]),
    ):
        with pytest.raises(ValueError, match="is empty: there is nothing to"):
            nothing()


def test_calibration_needs_thresholds_that_were_drawn():
    with pytest.raises(ValueError, match="`sampled` must be decoded with `learned_threshold='sample'`.*'off'"):
        threshold_calibration(some(["1"]), is_right)
