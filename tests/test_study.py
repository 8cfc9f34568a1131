# SPDX-License-Identifier: Apache-2.0
"""The study: statistics against simulation and closed forms, runs that are killed, and a page that is not stale."""

import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.study import running
from benchmarks.study.__main__ import SEEDS, main, parse, planned
from benchmarks.study.claims import CLAIMS, CONTRADICTED, EQUAL, MISSING, SUPPORTED, UNDECIDED, judge
from benchmarks.study.inference import Prior, Sample, cluster_values, contrast, detectable, holm, prior_of
from benchmarks.study.outcomes import (
    SAMPLED,
    at_passes,
    curve_points,
    difference,
    learning_curve,
    mixture,
    over_frontier,
    passes_for,
)
from benchmarks.study.protocol import (
    BOUNDS,
    FULL,
    SMOKE,
    TASKS,
    clusters,
    make_trainer,
    permuted,
    settings_of,
    training_set,
    validation_set,
)
from benchmarks.study.protocol import test_set as held_out
from benchmarks.study.records import FOLDER, Answers, Record, Study, load, save
from benchmarks.study.running import Run, make, make_all
from benchmarks.study.tables import NOTHING, PAGE, filled, sections
from benchmarks.study.tuning import FIRST, RATES, SEED, choosing_runs, chosen_rate, methods, rates_to_try
from benchmarks.study.variants import GROUPS, UNTRAINED, VARIANTS


SUDOKU = TASKS["sudoku"]
SCALE = SMOKE["sudoku"]


# Statistics.


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


# Outcomes.


def record(variant, seed, right, task="sudoku", passes=2.0, **answers):
    """A record in which all decoders give these answers, but for those named."""
    names = ("sampled", "one per pass", *(f"bound {b:g}" for b in BOUNDS))
    all_answers = {name: Answers.pack(list(right), passes) for name in names} | answers
    settings = {"scale": {**SCALE.__dict__, "checkpoints": [1], "problems": len(right), "few": len(right)}}
    curve = {0 if variant == UNTRAINED else 1: Answers.pack(list(right), passes)}
    rollouts = {"accuracy": [0.5, 0.6], "passes": [5.0, 4.0]}
    return Record(variant, task, seed, settings, all_answers, curve, rollouts, 10.0, {})


def study(*records):
    found = {}
    for own in records:
        found.setdefault((own.task, own.variant), {})[own.seed] = own
    return Study(found)


def test_bits_come_back(tmp_path):
    right = list(np.random.default_rng(0).random(1003) < 0.6)
    packed = Answers.pack(right, 3.5)
    assert packed.bits.tolist() == [float(r) for r in right]
    assert len(packed.correct) == 2 * 126
    own = record("diffpo", 3, right)
    save(tmp_path, own)
    assert load(tmp_path / "sudoku" / "diffpo.3.json") == own
    assert Study.read(tmp_path).seeds("sudoku", "diffpo") == {3: own}


def test_accuracy_in_so_many_passes():
    fast, slow = Answers.pack([True, False, False, False], 1.0), Answers.pack([True, True, True, False], 3.0)
    assert mixture([fast, slow], 1.5).tolist() == [1, 0.25, 0.25, 0]
    assert mixture([fast, slow], 1.0).tolist() == fast.bits.tolist()
    assert mixture([fast, slow], 9.0).tolist() == slow.bits.tolist()
    assert mixture([fast, slow], 0.9).tolist() == [0, 0, 0, 0]


def spread_record(variant, seed, passes, counts):
    """Of 10 problems, so many right at each bound; the last ones as at the last that is given."""
    missing = len(BOUNDS) - len(passes)
    answers = {
        f"bound {b:g}": Answers.pack([i < n for i in range(10)], p)
        for b, p, n in zip(BOUNDS, passes + passes[-1:] * missing, counts + counts[-1:] * missing, strict=True)
    }
    return record(variant, seed, [False] * 10, **answers)


def test_passes_that_an_accuracy_needs():
    own = spread_record("diffpo", 0, [9, 8, 7, 6, 5, 4, 3, 2], [9, 9, 9, 9, 8, 7, 6, 4])
    assert passes_for(own, 0.8) == pytest.approx(5.0)
    assert passes_for(own, 0.75) == pytest.approx(4.5)
    assert passes_for(own, 0.3) == 2
    assert passes_for(own, 0.95) is None
    assert at_passes(own, 4.5).mean() == pytest.approx(0.75)


def test_differences_are_paired_by_problem():
    rng = np.random.default_rng(4)
    hard = rng.random(20) < 0.5
    flips = {(v, s): rng.integers(20) for v in ("diffpo", "diffu-grpo") for s in range(6)}
    runs = [record(v, s, [h != (i == f) for i, h in enumerate(hard)]) for (v, s), f in flips.items()]
    found = difference(study(*runs), "sudoku", "diffpo", "diffu-grpo", SAMPLED)
    alone = crossed(np.stack([runs[s].answers["sampled"].bits for s in range(6)]))
    assert found.interval[1] - found.interval[0] < 0.6 * (alone.interval[1] - alone.interval[0])
    assert difference(study(runs[0]), "sudoku", "diffpo", "diffu-grpo", SAMPLED) is None


def test_the_untrained_model_has_no_seeds():
    runs = [record("diffpo", s, [i != s for i in range(20)]) for s in range(4)]
    before = record(UNTRAINED, 0, [i < 5 for i in range(20)])
    found = difference(study(*runs, before), "sudoku", "diffpo", UNTRAINED, SAMPLED)
    assert (found.mean, found.seeds) == (pytest.approx(0.95 - 0.25), 4)
    alone = crossed(np.stack([r.answers["sampled"].bits for r in runs]))
    assert found.parts[0] == pytest.approx(alone.parts[0]) and found.parts[1][0] == 0


def test_a_learned_threshold_is_compared_in_as_many_passes():
    base = spread_record("diffpo-speed", 0, [9, 8, 7, 6, 5, 4, 3, 2], [9, 9, 9, 9, 8, 7, 6, 4])
    joint = record("diffpo-joint", 0, [False] * 10, learned=Answers.pack([True] * 9 + [False], 4.5))
    found = over_frontier(study(base, joint), "sudoku", "diffpo-joint", "diffpo-speed")
    assert found.mean == pytest.approx(0.9 - 0.75)


def test_area_under_the_learning_curve():
    before, own = record(UNTRAINED, 0, [False] * 4), record("diffpo", 0, [True] * 4)
    own.curve[1] = Answers.pack([True, True, False, False], 2.0)
    assert curve_points(before, own)[0] == [0, 1, 2]
    # From 0 to one half in the first update, to 1 in the second.
    assert learning_curve(study(before, own), own).mean() == pytest.approx((0.25 + 0.75) / 2)


# Claims.


def test_verdicts():
    claim = next(c for c in CLAIMS if c.text == "Importance weights help")
    right, wrong = [True] * 20, [True] * 4 + [False] * 16

    def verdict(ours, theirs):
        runs = [record("diffpo", s, ours[s]) for s in range(3)] + [
            record("diffpo-unweighted", s, theirs[s]) for s in range(3)
        ]
        return judge(study(*runs), [claim])[0].verdict

    assert verdict([right] * 3, [wrong] * 3) == SUPPORTED
    assert verdict([wrong] * 3, [right] * 3) == CONTRADICTED
    assert verdict([right, wrong, right], [wrong, right, right]) == UNDECIDED
    assert verdict([right] * 3, [right] * 3) == EQUAL
    assert judge(study(), [claim])[0].verdict == MISSING
    few = [record(v, s, right) for v in ("diffpo", "diffpo-unweighted") for s in range(2)]
    assert judge(study(*few), [claim])[0].verdict == MISSING


def test_all_claims_are_computed_from_the_runs_that_are_planned():
    """None names a variant that no group has, on that task; and with all runs there, each has a verdict."""
    rng = np.random.default_rng(5)
    runs = planned(list(GROUPS), None, [0, 1, 2], SMOKE, lambda task, method: 1e-4, FOLDER)
    made = []
    for run in runs:
        learned = {}
        if VARIANTS[run.variant].learns_threshold:
            learned["learned"] = Answers.pack(list(rng.random(20) < 0.5), 2.0)
        made.append(record(run.variant, run.seed, list(rng.random(20) < 0.5), run.task, **learned))
    judgements = judge(study(*made))
    assert len(judgements) == len(CLAIMS) > 25
    for judgement in judgements:  # chance alone, so that nothing survives the adjustment
        assert judgement.verdict == UNDECIDED, judgement


def test_families_are_adjusted_by_themselves():
    claims = [c for c in CLAIMS if c.task == "sudoku" and c.what.startswith("accuracy in")]
    rng = np.random.default_rng(8)
    runs = [
        record(key, s, list(rng.random(20) < (0.9 if key == "diffpo" else 0.3)))
        for key in ("diffpo", "diffpo-mf", "diffpo-unweighted", "diffu-grpo", "wd1", "spg", "d2")
        for s in range(3)
    ]
    made = study(*runs)
    alone = judge(made, [c for c in claims if c.family == "DiFFPO"])
    among = [j for j in judge(made, claims) if j.claim.family == "DiFFPO"]
    assert [j.p_value for j in alone] == [j.p_value for j in among]
    known = [j for j in among if j.estimate is not None]
    raw = [j.estimate.p_value for j in known]
    assert len(known) == 3 and [j.p_value for j in known] == pytest.approx(holm(raw))


def test_groups_hold_their_baselines_and_known_variants():
    for group in GROUPS.values():
        assert group.baseline in group.variants
        assert set(group.variants) <= VARIANTS.keys()
    assert {v for g in GROUPS.values() for v in g.variants} == VARIANTS.keys()


# The protocol.


def test_problems_are_trained_on_chosen_by_or_held_out():
    for task in TASKS.values():
        scale = SMOKE[task.name]
        sets = [set(problems(task, scale)["prompt"]) for problems in (training_set, validation_set, held_out)]
        assert all(sets) and not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
        own = clusters(task, scale)
        assert len(own) == scale.problems and 1 < len(set(own)) <= scale.problems


def test_permuted_rewards_stay_in_their_group_and_lose_their_completion():
    def reward(completions):
        return [float(c) for c in completions]

    shuffled = permuted(reward, group=4, seed=0)
    completions = [0, 1, 2, 3] * 5 + [10, 11, 12, 13] * 5
    drawn = [shuffled(completions) for _ in range(30)]
    for rewards in drawn:
        for i in range(0, 40, 4):
            assert sorted(rewards[i : i + 4]) == sorted(completions[i : i + 4])
    # Each completion gets each reward of its group equally often: 1.5 on average, within four standard errors.
    assert np.mean([r[:4] for r in drawn], axis=0) == pytest.approx([1.5] * 4, abs=4 * 1.118 / math.sqrt(30))
    assert len({tuple(r[:4]) for r in drawn}) > 5


def test_every_variant_is_accepted_by_its_configuration(tmp_path):
    for variant in VARIANTS.values():
        if variant.key != UNTRAINED:
            scale = replace(SCALE, completions=256, group=8)
            trainer = make_trainer(variant, SUDOKU, scale, 0, str(tmp_path), 1e-4)
            weights = trainer.args.reward_weights
            assert weights == (None if variant.reward == "task" else [0.0, 1.0])
            assert trainer.reward_func_names[0] == SUDOKU.reward.__name__
    assert type(make_trainer(VARIANTS["diffpo-mf"], SUDOKU, SCALE, 0, str(tmp_path), 1e-4).estimator).__name__ == (
        "MeanField"
    )


# Runs.


def smoke(variant, folder, seed=0, **options):
    return Run(variant, "sudoku", seed, SCALE, **{"learning_rate": 2e-4, "folder": folder} | options)


def test_measuring_in_passing_does_not_disturb_the_training(tmp_path):
    with_curve = make(smoke("diffpo", tmp_path / "a"))
    without = make(replace(smoke("diffpo", tmp_path / "b"), scale=replace(SCALE, checkpoints=())))
    assert with_curve.answers == without.answers and with_curve.rollouts == without.rollouts
    assert list(with_curve.curve) == [1] and not without.curve
    assert len(with_curve.rollouts["accuracy"]) == SCALE.updates


def test_the_accuracy_of_rollouts_is_logged_whatever_is_trained_for(tmp_path):
    joint = make(smoke("diffpo-joint", tmp_path))
    assert all(0 <= accuracy <= 1 for accuracy in joint.rollouts["accuracy"])
    assert {"learned", "learned sampled"} <= joint.answers.keys()


def _make(run, mark):
    mark.write_text("begun")
    make(run)


@pytest.mark.distributed
@pytest.mark.slow
def test_a_run_that_was_killed_leaves_nothing_and_is_made_again(tmp_path):
    folder, mark = tmp_path / "records", tmp_path / "mark"
    first, second = smoke("diffpo", folder), smoke("diffpo", folder, seed=1)
    make(first)
    before = first.path.stat().st_mtime_ns, first.path.read_bytes()

    process = multiprocessing.get_context("spawn").Process(target=_make, args=(second, mark))
    process.start()
    while not mark.exists():
        time.sleep(0.05)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert first.is_done() and not second.is_done()

    assert make_all([first, second], jobs=1) == 0
    assert (first.path.stat().st_mtime_ns, first.path.read_bytes()) == before  # not made again
    assert sorted(Study.read(folder).seeds("sudoku", "diffpo")) == [0, 1]
    assert not list(folder.rglob("*.part"))
    assert make_all([first, second], jobs=1) == 0


def test_half_a_record_does_not_appear_under_its_name(tmp_path, monkeypatch):
    def torn(path, text, **kwargs):
        with path.open("w") as file:
            file.write(text[:20])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(OSError):
        save(tmp_path, record("diffpo", 0, [True]))
    monkeypatch.undo()
    assert Study.read(tmp_path).records == {}


def test_records_of_other_settings_are_not_mixed(tmp_path):
    run = smoke("diffpo", tmp_path)
    save(tmp_path, replace(record("diffpo", 0, [True] * 4), settings=run.settings))
    assert run.is_done()
    with pytest.raises(ValueError, match="other settings"):
        replace(run, scale=replace(SCALE, updates=3)).is_done()
    save(tmp_path, replace(record("diffpo", 1, [True] * 4), settings=run.settings | {"learning_rate": 1.0}))
    with pytest.raises(ValueError, match="other settings"):
        Study.read(tmp_path)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    class Pool:
        """In this process, so that the patch is seen."""

        def __init__(self, *args, **kwargs):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def submit(self, function, *args):
            from concurrent.futures import Future

            future = Future()
            try:
                future.set_result(function(*args))
            except ValueError as error:
                future.set_exception(error)
            return future

    def fake(run):
        if run.seed == 0:
            raise ValueError("exploded")
        return record(run.variant, run.seed, [True] * 4)

    monkeypatch.setattr(running, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(running, "make", fake)
    assert make_all([smoke("diffpo", tmp_path), smoke("diffpo", tmp_path, seed=1)], jobs=1) == 1
    assert "exploded" in capsys.readouterr().out


def test_plan():
    rates = {("sudoku", "diffpo"): 4e-4, ("countdown", "diffpo"): 1e-4}
    groups = ["methods", "diffpo", "control"]
    runs = planned(groups, None, [0, 1], SMOKE, lambda *key: rates.get(key, 8e-4), FOLDER)
    names = [(r.task, r.variant, r.seed) for r in runs]
    assert len(names) == len(set(names))
    assert names[:2] == [("sudoku", UNTRAINED, 0), ("countdown", UNTRAINED, 0)]
    assert names.index(("sudoku", "just-grpo", 0)) < names.index(("sudoku", "diffu-grpo", 1))  # a seed of all first
    # Ablations have the rate of their method on their task.
    found = {(r.task, r.variant): r.learning_rate for r in runs}
    assert found["sudoku", "diffpo-mf"] == found["sudoku", "diffpo-permuted"] == found["sudoku", "diffpo"] == 4e-4
    assert found["countdown", "diffpo-permuted"] == 1e-4 and found["sudoku", "agrpo-permuted"] == 8e-4
    with pytest.raises(SystemExit):
        parse(["run", "--smoke"])


# Learning rates.


def searched(folder, method, accuracy):
    """The whole search of a method whose accuracy in twenty problems depends on the rate."""
    tried = []
    while runs := choosing_runs(Study.read(folder), "sudoku", method, SCALE, folder):
        for own in runs:
            assert own.choosing and own.seed == SEED
            tried.append(own.learning_rate)
            save(folder, record(own.name, SEED, [n < accuracy(own.learning_rate) for n in range(20)]))
    return tried, chosen_rate(Study.read(folder), "sudoku", method)


def test_a_learning_rate_is_searched_until_the_best_is_no_longer_at_the_edge(tmp_path):
    assert (
        rates_to_try(study(), "sudoku", "diffpo") == list(FIRST) and chosen_rate(study(), "sudoku", "diffpo") is None
    )
    assert searched(tmp_path / "inside", "diffpo", {2e-4: 10, 4e-4: 12, 8e-4: 9}.get) == ([2e-4, 4e-4, 8e-4], 4e-4)
    assert searched(tmp_path / "down", "dmpo", {2e-4: 9, 4e-4: 7, 8e-4: 5, 1e-4: 12, 5e-5: 11}.get) == (
        [2e-4, 4e-4, 8e-4, 1e-4, 5e-5],
        1e-4,
    )
    tried, chosen = searched(tmp_path / "up", "agrpo", lambda rate: RATES.index(rate))
    assert tried == [2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3] and chosen == 6.4e-3  # as far as rates go
    assert searched(tmp_path / "equal", "wd1", lambda rate: 5)[1] == RATES[0]  # of equals the lower


def test_every_method_of_a_task_is_searched():
    assert methods("sudoku") == GROUPS["methods"].variants
    assert methods("countdown") == ("diffu-grpo", "diffpo", "agrpo", "dmpo")
    assert {VARIANTS[key].method for key in VARIANTS if key != UNTRAINED} == set(methods("sudoku"))


def test_runs_that_choose_do_not_see_the_held_out_problems(tmp_path, monkeypatch):
    asked = []
    answers = running.answers

    def spy(model, tokenizer, task, problems, config):
        asked.append(set(problems["prompt"]))
        return answers(model, tokenizer, task, problems, config)

    monkeypatch.setattr(running, "answers", spy)
    make(smoke("diffu-grpo", tmp_path, SEED, learning_rate=1e-4, choosing=True))
    assert asked and not any(prompts & set(held_out(SUDOKU, SCALE)["prompt"]) for prompts in asked)


# The page.


def test_the_page_has_the_tables_that_the_records_give():
    page = PAGE.read_text()
    assert filled(page, Study.read()) == page, "`python -m benchmarks.study page` writes them"
    named = {part.split(" -->")[0] for part in page.split("<!-- table ")[1:]}
    planned_tables = {f"{name} {task}" for name, group in GROUPS.items() for task in group.tasks} | {"claims"}
    assert planned_tables <= named


def test_records_that_are_committed_are_of_the_protocol():
    found = Study.read()
    for (task, name), seeds in found.records.items():
        variant, _, tried = name.partition(".choosing@")
        if variant == UNTRAINED:
            rate = 0.0
        else:
            rate = float(tried) if tried else chosen_rate(found, task, VARIANTS[variant].method)
        expected = settings_of(VARIANTS[variant], TASKS[task], FULL[task], rate)
        for own in seeds.values():
            assert own.settings == json.loads(json.dumps(expected)), (task, variant)
            assert (own.seed in SEEDS) != (bool(tried) or variant == UNTRAINED)


def test_a_stale_number_is_found(tmp_path):
    runs = [record(v, s, [True] * 15 + [False] * 5) for v in ("diffu-grpo", "diffpo") for s in range(2)]
    page = (
        "# T\n\n<!-- table methods sudoku -->\n<!-- end -->\nText.\n<!-- table main countdown -->\nold\n<!-- end -->\n"
    )
    full = filled(page, study(*runs))
    assert "| `diffpo` |" in full and "75.0" in full and NOTHING in full and "old" not in full
    assert filled(full, study(*runs)) == full
    assert filled(full.replace("75.0", "76.0"), study(*runs)) == full
    with pytest.raises(ValueError, match="asks for"):
        filled("<!-- table nonsense -->\n<!-- end -->", study())


def test_the_commands_print_and_draw(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for variant in (UNTRAINED, "diffu-grpo", "diffpo"):
        for seed in (0,) if variant == UNTRAINED else (0, 1, 2):
            save(tmp_path, record(variant, seed, [i % 3 > 0 for i in range(20)]))
    for words in (["table", "methods", "speed"], ["claims"]):
        assert main([*words, "--results", str(tmp_path)]) == 0
        assert ("| `diffu-grpo` |" if words[0] == "table" else "`diffpo` less `diffu-grpo`") in capsys.readouterr().out
    for word in ("curves", "frontier"):
        picture = tmp_path / f"{word}.png"
        assert main([word, str(picture), "--results", str(tmp_path)]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert dict(sections(Study.read(tmp_path)))["claims"]
