# SPDX-License-Identifier: Apache-2.0
"""What an update does not compute: rows that teach nothing, and canvases that it has computed already."""

import itertools
import time

import pytest
import torch
from datasets import Dataset

from trl_diffusion.likelihood import ExactSteps
from trl_diffusion.trainer.micro_batches import reunite_groups
from trl_diffusion.trainer.stopwatch import Stopwatch
from trl_diffusion.trainer.trl_hooks import GRPOHooks

from .trainers import METHODS, spy


# Metrics that are means over rows, of which there are fewer.
OVER_SCORED_ROWS = (
    "entropy",
    "sampling/importance_sampling_ratio",
    "threshold/entropy",
    "sequence_ratio",
    "clip_ratio",
    "elbo",
    "eubo",
)


def some_groups_tie(prompts, completions, **kwargs):
    """Half of the prompts have nothing to teach."""
    return [sum(map(str.isdigit, text)) / 4 if "+" in prompt else 0.5 for prompt, text in zip(prompts, completions)]


def canvases(trainer):
    """The number of rows in each of the model's forward passes of updates and of scoring, not of rollouts."""
    counts, score = [], trainer.score

    def counting(*args, **kwargs):
        scores = score(*args, **kwargs)
        counts.append(scores.canvases)
        return scores

    trainer.score = counting
    return counts


def run(build, method, **options):
    # Adam would blow up rounding where a gradient is nearly zero.
    trainer = build(method, **{"optim": "sgd", "learning_rate": 0.3} | options)
    counts = canvases(trainer)
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return trainer.state.log_history, weights, counts


def same(first, second):
    (history, weights, _), (other_history, other_weights, _) = first, second
    torch.testing.assert_close(weights, other_weights, atol=2e-5, rtol=0)
    for entry, other in zip(history, other_history, strict=True):
        assert entry.keys() == other.keys()
        for name, value in entry.items():
            if name.startswith(OVER_SCORED_ROWS) or "time" in name or "per_second" in name or value is None:
                continue
            assert other[name] == pytest.approx(value, abs=2e-4, rel=1e-4), name


@pytest.mark.parametrize("method", [*sorted(METHODS.keys() - {"dmpo"}), "joint"])
@pytest.mark.parametrize("num_iterations", [1, 2])
def test_rows_without_advantage_are_not_scored(build, monkeypatch, method, num_iterations):
    options = {
        "reward": some_groups_tie,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "num_iterations": num_iterations,
        "max_steps": 2 * num_iterations,
        "beta": 0.0,
    }
    if method == "wd1":
        del options["beta"]
    if method == "joint":  # whose thresholds are scored on canvases, too
        method, options["regime"] = "diffpo", "joint"
    with_savings = run(build, method, **options)
    monkeypatch.setattr(GRPOHooks, "_without_idle_rows", lambda self, batch, inputs: batch)
    without = run(build, method, **options)
    same(with_savings, without)
    assert 0.2 < sum(with_savings[2]) / sum(without[2]) < 0.8


@pytest.mark.parametrize("options", [{"beta": 0.1}, {"entropy_coef": 0.01}], ids=str)
def test_rows_without_advantage_are_scored_where_they_count(build, monkeypatch, options):
    options |= {"reward": some_groups_tie, "per_device_train_batch_size": 8, "max_steps": 1}
    found = run(build, "diffpo", **options)
    monkeypatch.setattr(GRPOHooks, "_without_idle_rows", lambda self, batch, inputs: batch)
    expected = run(build, "diffpo", **options)
    assert found[2] == expected[2]
    same(found, expected)


@pytest.mark.parametrize("method", ["diffpo", "d2"])
def test_the_entropy_is_that_of_the_tokens_that_are_scored(build, method):
    """TRL divides by the tokens of all rows."""
    cls = spy(METHODS[method][1])
    options = {"views_per_forward": 8} if method == "d2" else {}
    trainer = build(method, **options, cls=cls, reward=some_groups_tie, per_device_train_batch_size=8, max_steps=3)
    trainer.train()
    idle = 0
    for call, entry in zip(trainer.seen, trainer.state.log_history, strict=False):
        (scores,) = call["scores"]
        scored = (scores.weights != 0).any(1)
        idle += int((~scored.any(-1)).sum())
        if scored.any():
            assert entry["entropy"] == pytest.approx(scores.token_entropies[scored].mean().item(), rel=1e-5)
        else:
            assert entry["entropy"] is None
    assert 0 < idle < 24


def test_metrics_of_objectives_are_those_of_the_rows_that_are_scored(build):
    cls = spy(METHODS["spg"][1])
    trainer = build("spg", cls=cls, reward=some_groups_tie, per_device_train_batch_size=8, max_steps=3)
    trainer.train()
    idle = 0
    for call, entry in zip(trainer.seen, trainer.state.log_history, strict=False):
        (scores,) = call["scores"]
        taught = call["inputs"]["advantages"] != 0
        idle += int((~taught).sum())
        if taught.any():
            assert entry["elbo"] == pytest.approx(scores.token_log_probs.sum(-1)[taught].mean().item(), rel=1e-5)
    assert 0 < idle < 24


def test_an_update_in_which_nothing_is_learned(build):
    """No group has an advantage: nothing moves, nothing is NaN, one canvas goes through the model for the engine."""
    history, weights, counts = run(build, "diffpo", reward=lambda completions, **kwargs: [1.0] * len(completions))
    fresh = torch.cat([p.detach().flatten() for p in build("diffpo").model.parameters()])
    assert torch.equal(weights, fresh) and set(counts) == {1}
    assert [entry["loss"] for entry in history if "loss" in entry] == [0.0, 0.0]


class _ExactESPO(METHODS["espo"][1]):
    """A method of one's own: the ratio of whole completions, scored in the states that they were written in."""

    def make_estimator(self, args):
        return ExactSteps()


def test_idle_rows_of_methods_of_ones_own(build, monkeypatch):
    """Whose old scores the sampler has recorded, while there are no new ones."""
    options = {"reward": some_groups_tie, "per_device_train_batch_size": 8, "beta": 0.0, "cls": _ExactESPO}
    found = run(build, "espo", **options)
    monkeypatch.setattr(GRPOHooks, "_without_idle_rows", lambda self, batch, inputs: batch)
    same(found, run(build, "espo", **options))
    assert max(entry.get("grad_norm", 0.0) for entry in found[0]) > 0


def test_evaluations_score_all_rows(build):
    """With one completion per prompt no row has an advantage."""
    trainer = build("diffpo", num_generations_eval=1, eval_dataset=Dataset.from_dict({"prompt": ["1+1=", "2="] * 2}))
    metrics = trainer.evaluate()
    assert metrics["eval_entropy"] > 0 and metrics["eval_sampling/importance_sampling_ratio/mean"] > 0
    assert not any("time/" in name for name in metrics) and trainer._stopwatch.read() == {}


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("method", ["diffu_grpo", "diffpo", "wd1"])
def test_groups_are_scored_together(build, monkeypatch, method):
    options = {"gradient_accumulation_steps": 4, "max_steps": 3, "seed": 5}
    if method != "wd1":
        options["loss_type"] = "dapo"  # whose normaliser is not a micro-batch's
    together = run(build, method, **options)
    monkeypatch.setattr("trl_diffusion.trainer.trl_hooks.hooks.reunite_groups", lambda batches, window: batches)
    scattered = run(build, method, **options)
    same(together, scattered)
    assert sum(together[2]) < sum(scattered[2])
    if method != "diffpo":
        assert set(together[2]) == {1}  # the one canvas of a group


@pytest.mark.parametrize(
    ("steps_per_generation", "accumulation", "windows"),
    [(4, 4, [4]), (4, 2, [2]), (2, 4, [2, 2]), (3, 2, []), (2, 3, [])],
)
def test_groups_stay_in_their_update(build, monkeypatch, steps_per_generation, accumulation, windows):
    """Where rollouts and updates do not begin together, TRL's shuffle is left alone."""
    seen = []

    def spied(batches, window):
        seen.append(window)
        return batches

    monkeypatch.setattr("trl_diffusion.trainer.trl_hooks.hooks.reunite_groups", spied)
    options = {"steps_per_generation": steps_per_generation, "gradient_accumulation_steps": accumulation}
    build("diffu_grpo", max_steps=1, **options).train()
    assert seen == windows


@pytest.mark.parametrize("window", [1, 2, 4, 8])
def test_reunited_groups_have_the_same_rows(window):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(24, generator=generator)
    batches = [
        {
            "group": part // 6,
            "row": part,
            "items": torch.tensor(7),
            "nothing": None,
            "texts": [str(row) for row in part.tolist()],
        }
        for part in rows.split(6)
    ]
    reunited = reunite_groups(batches, window)
    assert [batch.keys() for batch in reunited] == [batch.keys() for batch in batches]
    for start in range(0, 4, window):
        found, expected = (torch.cat([b["row"] for b in part[start : start + window]]) for part in (reunited, batches))
        assert sorted(found.tolist()) == sorted(expected.tolist())
        groups = (found // 6).tolist()
        assert len(set(groups)) == 1 + sum(a != b for a, b in itertools.pairwise(groups))  # each in one piece
    for batch in reunited:
        assert batch["texts"] == [str(row) for row in batch["row"].tolist()]
        assert torch.equal(batch["group"], batch["row"] // 6) and batch["items"] == 7 and batch["nothing"] is None


# ---------------------------------------------------------------- time


def test_stopwatch_counts_inner_sections_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    stopwatch = Stopwatch(torch.device("cpu"))

    def work(seconds):
        now[0] += seconds

    linear = torch.nn.Linear(1, 1)
    linear.register_forward_hook(lambda *_: work(8.0))
    with stopwatch("outer"):
        work(1.0)
        with stopwatch("inner"):
            work(2.0)
        with stopwatch.around(linear, "head"):
            work(4.0)
            linear(torch.ones(1))
    work(100.0)
    linear(torch.ones(1))
    assert stopwatch.read() == {"outer": 5.0, "inner": 2.0, "head": 8.0}
    assert stopwatch.read() == {}


def test_stopwatch_survives_an_error():
    stopwatch = Stopwatch(torch.device("cpu"))
    with pytest.raises(KeyError), stopwatch("outer"), stopwatch("inner"):
        raise KeyError
    with stopwatch("next"):
        pass
    assert stopwatch.read().keys() == {"outer", "inner", "next"}


@pytest.mark.parametrize("method", ["diffpo", "agrpo"])
def test_the_time_of_an_update_is_accounted_for(build, method):
    trainer = build(method, beta=0.1, num_iterations=2, max_steps=2, gradient_accumulation_steps=2)
    trainer.train()
    first, second = (entry for entry in trainer.state.log_history if "loss" in entry)
    sections = {"rollout", "rollout_head", "reward", "reference", "forward", "backward", "other"}
    sections |= {"old"} if method == "diffpo" else set()  # an exact estimator knows it from the rollout
    for entry in (first, second):
        times = {name.removeprefix("time/"): value for name, value in entry.items() if name.startswith("time/")}
        assert times.keys() == sections and all(value >= 0 for value in times.values())
        assert sum(times.values()) >= 0.99 * entry["step_time"] - 1e-3
    assert first["time/rollout"] > 0 and second["time/rollout"] == 0  # the second update goes on with the same buffer
