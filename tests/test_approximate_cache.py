# SPDX-License-Identifier: Apache-2.0
"""Caches that approximate: exact where they must be, and measured where they are not."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.generation.config import CACHES
from trl_diffusion.generation.drift import RefreshInterval
from trl_diffusion.likelihood import ExactSteps, RolloutBatch, score_views
from trl_diffusion.models import DiffusionSpec, resolve_spec

from .conftest import make_model
from .test_sampler import prompts
from .test_threshold import with_head
from .trainers import METHODS, spy


MASK = 1


def config(**overrides):
    return DiffusionGenerationConfig(**{"max_new_tokens": 12, "block_length": 4, "entropy_bound": 1.0} | overrides)


def decode(model, rows=6, **options):
    return DiffusionSampler(model, config(**options)).sample(*prompts(rows=rows), seeds=torch.arange(rows))


def same(one, other):
    for name in ("completion_ids", "unmask_step", "nfe", "threshold"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), equal_nan=True, msg=name)
    torch.testing.assert_close(one.log_probs, other.log_probs, atol=5e-6, rtol=0)
    torch.testing.assert_close(one.entropies, other.entropies, atol=5e-6, rtol=0)


@pytest.fixture
def deep():
    return make_model(dtype=torch.float64, n_layers=3)


@pytest.fixture
def shallow():
    """With one layer, keys and values depend on the token at their position alone: no cache is an approximation."""
    return make_model(dtype=torch.float64, n_layers=1)


CASES = [
    {},
    {"max_batch_size": 2},
    {"unmasking": "random", "eos_token_ids": (4, 5, 6)},
    {"unmasking": "confidence_threshold", "confidence_threshold": 0.3, "temperature": 0.0},
]


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_cache_that_is_always_new_changes_nothing(deep, kind, options):
    same(decode(deep, approximate_cache=kind, cache_refresh_interval=1, **options), decode(deep, **options))


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("interval", [None, 2])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_a_cache_of_what_does_not_change_changes_nothing(shallow, kind, interval, options):
    same(
        decode(shallow, approximate_cache=kind, cache_refresh_interval=interval, **options), decode(shallow, **options)
    )


@pytest.mark.parametrize("kind", CACHES)
def test_shifted_logits_come_from_the_column_before(shallow, kind):
    spec = DiffusionSpec(MASK, logit_shift=1, reduces_logits=True)
    cached, plain = (
        DiffusionSampler(shallow, config(approximate_cache=cache), spec).sample(*prompts(), seeds=torch.arange(8))
        for cache in (kind, None)
    )
    same(cached, plain)
    assert cached.nfe.max() > 3


@pytest.mark.parametrize("kind", CACHES)
def test_learned_thresholds_are_read_from_the_whole_canvas(shallow, kind):
    for per_block in (False, True):
        model = with_head(make_model(dtype=torch.float64, n_layers=1), per_block=per_block)
        cached, plain = (decode(model, learned_threshold="sample", approximate_cache=c) for c in (kind, None))
        same(cached, plain)
        torch.testing.assert_close(cached.threshold_log_probs, plain.threshold_log_probs)


@pytest.mark.parametrize("kind", CACHES)
def test_it_is_an_approximation_elsewhere_and_exact_where_a_block_begins(deep, kind):
    trajectory = decode(deep, approximate_cache=kind, unmasking="left_to_right")
    exact = rescored(deep, trajectory)
    begins = torch.arange(12) % 4 == 0
    gap = (trajectory.log_probs - exact).abs()
    assert gap[:, begins].max() < 1e-5 < 1e-4 < gap[:, ~begins].max()


def rescored(model, trajectory, rows=6):
    ids, mask = prompts(rows=rows)
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(rows)[:, None])
    (part,) = ExactSteps().passes(batch, 0, MASK)
    with torch.no_grad():
        return score_views(model, resolve_spec(model), part.views, batch).token_log_probs.float()


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("max_batch_size", [None, 1, 4])
def test_a_sample_does_not_depend_on_its_batch(deep, kind, max_batch_size):
    ids, mask = prompts(rows=6)
    options = {"approximate_cache": kind, "cache_refresh_interval": 3, "eos_token_ids": (4, 5)}
    together = DiffusionSampler(deep, config(max_batch_size=max_batch_size, **options)).sample(
        ids, mask, seeds=torch.arange(6)
    )
    for row in range(6):
        start = int((mask[row] == 0).sum())  # alone, and without its padding
        alone = DiffusionSampler(deep, config(**options)).sample(
            ids[row : row + 1, start:], seeds=torch.arange(row, row + 1)
        )
        same(alone, together[row : row + 1])


def test_rows_that_wait_have_no_keys_and_values(deep):
    held = []
    deep.register_forward_pre_hook(
        lambda m, a, kwargs: held.append({len(states[0]) for states in kwargs["past_key_values"].stored}),
        with_kwargs=True,
    )
    decode(deep, rows=6, approximate_cache="dual", max_batch_size=2, eos_token_ids=(4, 5))
    assert held[0] == set() and set().union(*held) == {2}


@pytest.mark.parametrize(
    ("kind", "interval", "widths"),
    [
        ("dual", None, [18, 4, 4, 4] * 3),
        ("prefix", None, [18, 12, 12, 12, 18, 8, 8, 8, 18, 4, 4, 4]),
        ("dual", 2, [18, 4, 18, 4] * 3),
        ("prefix", 3, [18, 12, 12, 18, 18, 8, 8, 18, 18, 4, 4, 18]),
    ],
)
def test_columns_that_a_step_sends(deep, kind, interval, widths):
    seen = []
    deep.register_forward_pre_hook(lambda m, a, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True)
    options = {"approximate_cache": kind, "cache_refresh_interval": interval}
    trajectory = decode(deep, rows=1, unmasking="left_to_right", **options)
    assert seen == widths
    assert trajectory.row_forwards.item() == pytest.approx(sum(widths) / 19)


def test_rows_at_different_steps_do_not_wait_forever(deep):
    """Rows that need the whole canvas go first, the others follow: each is served in its turn."""
    threshold = torch.tensor([0.0, torch.inf, 1.0, 0.5])
    sampler = DiffusionSampler(deep, config(approximate_cache="dual", cache_refresh_interval=2, max_batch_size=3))
    trajectory = sampler.sample(*prompts(rows=4), threshold=threshold)
    assert (trajectory.unmask_step >= 0).all()
    assert trajectory.nfe[0] == 12 and trajectory.nfe[1] == 3


# ---------------------------------------------------------------- drift


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_drift_is_that_of_the_tokens_against_the_model(deep, temperature):
    """One token is written in each step, of two: the second one of a block is all that is checked."""
    options = {"block_length": 2, "unmasking": "left_to_right", "temperature": temperature}
    trajectory = decode(deep, approximate_cache="dual", drift_check_rate=1.0, **options)
    ids, mask = prompts(rows=6)
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(6)[:, None])
    (part,) = ExactSteps().passes(batch, 0, MASK)
    scores = score_views(deep, resolve_spec(deep), part.views, batch, temperature=temperature)
    weights = (scores.token_log_probs - trajectory.log_probs)[:, 1::2].exp()
    expected = [torch.ones_like(weights), weights - 1 - weights.log(), weights, weights.square()]
    torch.testing.assert_close(
        trajectory.drift, torch.stack([e.sum(-1) for e in expected], 1).float(), atol=1e-5, rtol=1e-4
    )
    assert trajectory.drift[:, 1].min() > 0
    assert torch.equal(trajectory.completion_ids, decode(deep, approximate_cache="dual", **options).completion_ids)


def test_no_drift_where_nothing_is_approximated(shallow):
    count, kl, weights, squares = decode(shallow, approximate_cache="dual", drift_check_rate=0.5).drift.sum(0)
    assert count > 0 and kl.abs() < 1e-5 and weights.item() == pytest.approx(count.item()) == squares.item()


def test_a_check_is_a_pass_of_its_own(deep):
    """Processes that shard a model make the same number of passes, each."""
    passes, turns = [], []
    deep.register_forward_hook(lambda *_: passes.append(1))

    def anyone_busy(busy):
        turns.append(busy)
        return busy

    sampler = DiffusionSampler(deep, config(approximate_cache="dual", drift_check_rate=0.5))
    trajectory = sampler.sample(*prompts(rows=3), seeds=torch.arange(3), anyone_busy=anyone_busy)
    assert sum(turns) == len(passes) and not sampler.model.training
    assert trajectory.drift[:, 0].sum() > 0


def test_the_share_of_steps_that_are_checked(deep):
    passes = []
    deep.register_forward_hook(lambda *_: passes.append(1))
    checks = {}
    for rate in (0.0, 0.3, 1.0):
        passes.clear()
        options = {"drift_check_rate": rate} if rate else {}
        for seed in range(20):
            sampler = DiffusionSampler(deep, config(approximate_cache="dual", unmasking="left_to_right", **options))
            sampler.sample(*prompts(rows=1), seeds=torch.tensor([seed]))
        checks[rate] = len(passes) - 20 * 12
    assert checks[0.0] == 0 and checks[1.0] == 20 * 9 and 30 < checks[0.3] < 80  # 54 +- 6 expected


def test_the_steps_that_are_checked_are_chosen_by_the_seeds(deep):
    def checked(seed):
        sampler = DiffusionSampler(deep, config(approximate_cache="dual", drift_check_rate=0.5))
        return sampler.sample(*prompts(rows=1), seeds=torch.tensor([seed])).drift[0, 0].item()

    assert len({checked(seed) for seed in range(12)}) > 2 and checked(3) == checked(3)


# ---------------------------------------------------------------- training


def test_trajectory_methods_make_up_for_the_cache(build):
    """The old policy is scored without it, and tokens are weighed by what they are to the model."""
    trainer = build(
        "agrpo", cls=spy(METHODS["agrpo"][1]), approximate_cache="dual", cache_clip_max=1.05, num_step_draws=2,
        views_per_forward=2, unmasking="low_confidence", num_iterations=2, drift_check_rate=0.5, max_steps=4,
        block_length=8,
    )  # fmt: skip
    trainer.train()
    truncated = 0
    for call in trainer.seen:
        inputs = call["inputs"]
        scored = torch.stack([(s.weights != 0).any(1) for s in call["scores"]]).any(0)
        old = inputs["old_per_token_logps"][:, call["draw"]]
        ratio = (old - inputs["rollout_log_probs"]).exp()[scored]
        assert (ratio - 1).abs().max() > 1e-4
        truncated += int((ratio > 1.05).sum())
        torch.testing.assert_close(call["weights"][scored], ratio.clamp(max=1.05))
    assert truncated > 0
    entry, count, kl, weight, square = trainer.state.log_history[0], *trainer.seen[0]["inputs"]["rollout_drift"].sum(0)
    assert entry["drift/kl"] == pytest.approx((kl / count).item()) != 0
    assert entry["drift/ess"] == pytest.approx((weight**2 / (count * square)).item()) and "sampler/cached" in entry
    assert entry["drift/kl"] > 0 and 0.5 < entry["drift/ess"] < 1
    assert entry["sampling/importance_sampling_ratio/mean"] < 1.05


def test_the_refresh_interval_outlives_the_process(build, tmp_path):
    options = {
        "approximate_cache": "dual", "cache_refresh_interval": 1, "drift_check_rate": 1.0, "cache_min_ess": 0.01,
        "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.0,
    }  # fmt: skip
    build("diffpo", max_steps=2, **options).train()
    trainer = build("diffpo", max_steps=3, **options)
    trainer.train(resume_from_checkpoint=True)
    intervals = [entry.get("drift/refresh_interval") for entry in trainer.state.log_history]
    assert intervals[:3] == [1, 2, 3]


def test_the_refresh_interval_adapts_to_the_drift(build):
    intervals = {}
    for min_ess in (1e-6, 1 - 1e-9):
        trainer = build(
            "diffpo", approximate_cache="dual", cache_refresh_interval=3, drift_check_rate=1.0, cache_min_ess=min_ess,
            max_steps=4, block_length=8, unmasking="left_to_right", num_iterations=1,
        )  # fmt: skip
        trainer.train()
        intervals[min_ess] = [entry.get("drift/refresh_interval") for entry in trainer.state.log_history][:4]
    assert intervals[1e-6] == [3, 4, 5, 6]
    assert intervals[1 - 1e-9] == [3, 1, 2, 1]  # where nothing is cached, nothing can be measured: it is tried again
    interval = RefreshInterval(100, 8, 0.9)
    assert interval.steps == 8
    nan = float("nan")
    for ess, expected in ((0.95, 8), (0.5, 4), (nan, 4), (0.9, 5), (0.1, 2), (0.1, 1), (0.1, 1), (nan, 2)):
        interval.update(ess)
        assert interval.steps == expected


def test_log_ratios_of_trajectories_are_the_models(build):
    """Not those of what the sampler drew from: before the first update policy and reference agree."""
    trainer = build("dmpo", sequence_log_probs="exact", approximate_cache="dual", block_length=8, max_steps=1)
    trainer.train()
    assert trainer.state.log_history[0]["target/log_ratio"] < 1e-4


def test_without_drift_the_cache_changes_no_update(build):
    histories = [
        build("agrpo", **options).train().metrics["train_loss"]
        for options in ({}, {"approximate_cache": "prefix", "cache_refresh_interval": 1})
    ]
    assert histories[0] == pytest.approx(histories[1], abs=1e-5) and histories[0] != 0


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"approximate_cache": "block"}, "`approximate_cache` must be one of 'prefix', 'dual', got 'block'"),
        ({"cache_refresh_interval": 2}, "`cache_refresh_interval` has no effect without `approximate_cache`"),
        ({"drift_check_rate": 0.1}, "`drift_check_rate` has no effect without `approximate_cache`"),
        ({"approximate_cache": "dual", "cache_refresh_interval": 0}, "must be at least 1, got 0"),
        ({"approximate_cache": "dual", "drift_check_rate": 1.5}, r"must lie in \[0, 1\], got 1.5"),
        ({"approximate_cache": "dual", "drift_check_rate": 0.1, "temperature": 0.0}, "a `temperature` above 0"),
        ({"approximate_cache": "dual", "drift_check_rate": 0.1, "top_k": 5}, "no `top_k`"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_a_trainer_says_so_before_it_trains(build, model_path):
    model = AutoModelForCausalLM.from_pretrained(model_path, attn_implementation="eager")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="does not work with `attn_implementation='flash_attention_2'`"):
        build("agrpo", model=model, approximate_cache="dual")
    with pytest.raises(ValueError, match="`cache_clip_max=2.0`: has no effect: there is no `approximate_cache`"):
        build("agrpo", cache_clip_max=2.0)
    with pytest.raises(ValueError, match="`cache_clip_max=2.0`: has no effect: this method has no use for"):
        build("diffu_grpo", cache_clip_max=2.0, approximate_cache="dual")
    with pytest.raises(ValueError, match="`cache_min_ess=0.9`: has no effect without `drift_check_rate`"):
        build("agrpo", cache_min_ess=0.9, approximate_cache="dual")
    with pytest.raises(ValueError, match="`cache_min_ess=1.0`: must be a number above 0 and below 1"):
        build("agrpo", cache_min_ess=1.0, approximate_cache="dual", drift_check_rate=0.1)
    with pytest.raises(ValueError, match="`cache_clip_max=0.0`: must be a number above 0"):
        build("agrpo", cache_clip_max=0.0, approximate_cache="dual")


def test_models_with_an_exact_cache_need_no_other(deep):
    with pytest.raises(ValueError, match="block-causal ones have an exact one"):
        DiffusionSampler(deep, config(approximate_cache="dual"), DiffusionSpec(MASK, attention_block=4))
