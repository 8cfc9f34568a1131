# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation import (
    Evaluation,
    accuracy_at,
    evaluate,
    frontier,
    frontier_settings,
    wilson_interval,
)
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.scripts import quickstart
from trl_diffusion.tasks import sudoku

from .conftest import make_model


# ---------------------------------------------------------------- evaluation


@pytest.mark.parametrize("successes, trials", [(0, 10), (3, 10), (10, 10), (250, 500), (1, 1)])
def test_wilson_interval_solves_its_equation(successes, trials):
    """The ends are where the observed proportion is z standard errors away, with the error taken at the end."""
    z, p = 1.959964, successes / trials
    for end in wilson_interval(successes, trials):
        gap = abs(p - end) - z * math.sqrt(end * (1 - end) / trials)
        assert gap == pytest.approx(0, abs=1e-7)


def test_wilson_interval_refuses_nonsense():
    for successes, trials in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="`successes`"):
            wilson_interval(successes, trials)


def point(accuracy, nfe):
    return Evaluation(accuracy, (0, 1), nfe, 1.0, 10, 0.0, {})


def test_frontier_keeps_what_no_other_beats():
    points = [point(0.5, 2), point(0.4, 3), point(0.9, 5), point(0.6, 2), point(0.9, 7), point(0.1, 1)]
    best = frontier(points)
    assert [(p.accuracy, p.nfe) for p in best] == [(0.1, 1), (0.6, 2), (0.9, 5)]
    assert [accuracy_at(best, nfe) for nfe in (0.5, 1, 4.9, 5, 100)] == [None, 0.1, 0.6, 0.9, 0.9]


def test_frontier_covers_every_kind_of_rule():
    config = DiffusionGenerationConfig(max_new_tokens=16, block_length=8, temperature=0.3)
    settings = frontier_settings(config)
    assert {s.unmasking for s in settings} == {"entropy_bound", "confidence_threshold", "low_confidence"}
    assert all(s.temperature == 0.3 and s.block_length == 8 for s in settings)
    assert len({repr(s) for s in settings}) == len(settings)


@pytest.fixture(scope="module")
def base():
    path = embedded.path("sudoku")
    return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)


def test_evaluation_agrees_with_a_count_by_hand(base):
    model, tokenizer = base
    dataset = sudoku.make_dataset("test", 40)
    texts = []

    def reward(completions, puzzle, **kwargs):
        texts.extend(completions)
        return sudoku_reward(completions, puzzle)

    config = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, temperature=0.0)
    one = evaluate(model, tokenizer, dataset, reward, config)
    assert one.accuracy == sum(t == s for t, s in zip(texts, dataset["solution"])) / 40
    assert one.interval[0] < one.accuracy < one.interval[1] or one.accuracy == 1.0
    assert one.tokens_per_step == pytest.approx(sum(len(t) + 1 for t in texts) / (one.nfe * 40))  # text and its end
    assert one.decoder["temperature"] == 0.0 and one.decoder["threshold"] == 0.1
    again = evaluate(model, tokenizer, dataset, sudoku_reward, config)
    assert (again.accuracy, again.nfe) == (one.accuracy, one.nfe)


def test_embedded_sudoku_model_is_a_base_that_rl_can_lift(base):
    """It can (greedily, one token per pass) but does not reliably (sampled)."""
    model, tokenizer = base
    dataset = sudoku.make_dataset("test", 100, seed=1)
    config = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, unmasking="low_confidence")
    sampled = evaluate(model, tokenizer, dataset, sudoku_reward, config)
    config.temperature = 0.0
    greedy = evaluate(model, tokenizer, dataset, sudoku_reward, config)
    assert sampled.interval[1] < 0.4 and greedy.interval[0] > 0.85


# ---------------------------------------------------------------- the quickstart itself


def test_quickstart_claims_no_gain_where_the_base_is_never_that_fast(capsys):
    slow, fast = [point(0.5, 3), point(0.8, 9)], [point(0.9, 2), point(0.95, 5)]
    before = quickstart.Measurement(slow, slow, *slow, slow[1])
    for trained, gains, said in ((fast[0], (None, None), 2), (fast[1], (0.45, 0.45), 0)):
        after = quickstart.Measurement(fast, fast, trained, trained, fast[1])
        summary = quickstart.summarize(before, after)
        assert (summary.sampled_gain, summary.greedy_gain) == pytest.approx(gains)
        quickstart.print_table(before, after, summary)
        printed = " ".join(capsys.readouterr().out.split())
        assert printed.count("not reached: no untrained decoder is that fast") == said
        assert ("+45 points" in printed, "+45.0 points" in printed) == (not said, not said)


@pytest.mark.slow
def test_quickstart_trains_measures_and_draws(tmp_path, capsys):
    """A short run of the real thing. Twenty updates are enough for a gain that chance does not explain."""
    summary = quickstart.main(["--steps", "20", "--eval_prompts", "60", "--output_dir", str(tmp_path)])
    assert summary.sampled_gain_over_best > 0.3
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["summary"]["sampled_gain"] == summary.sampled_gain
    assert len([e for e in results["log_history"] if "reward" in e]) == 20
    assert (tmp_path / "quickstart.png").read_bytes()[:4] == b"\x89PNG"
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    printed = capsys.readouterr().out
    assert "60 held-out prompts" in printed and "one token per pass" in printed and "instead of" in printed


@pytest.mark.slow
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_quickstart_on_another_model_and_task(tmp_path, monkeypatch, tokenizer, peft):
    """What `--model` does with a hub id, on a local folder: chat prompts, its own defaults."""
    make_model(len(tokenizer), max_sequence_length=1024).save_pretrained(tmp_path / "model")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    tokenizer.chat_template = None
    monkeypatch.setattr(quickstart, "frontier_settings", lambda config, **grid: frontier_settings(config, **grid)[:1])
    arguments = ["--model", tmp_path / "model", "--task", "countdown", "--steps", 1, "--batch_size", 4]
    arguments += ["--num_generations", 2, "--eval_prompts", 2, "--output_dir", tmp_path / "out"]
    quickstart.main([str(a) for a in arguments] + ["--use_peft"] * peft)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["before"]["full_budget"]["decoder"]["max_new_tokens"] == 128
    assert results["before"]["full_budget"]["decoder"]["block_length"] == 32
    assert (tmp_path / "out" / "model" / "adapter_config.json").exists() == peft


def test_quickstart_arguments():
    assert quickstart.parse_arguments([]).batch_size == 256
    assert quickstart.parse_arguments([]).eval_prompts == 500
    assert quickstart.parse_arguments(["--model", "x"]).eval_prompts == 64
    assert quickstart.parse_arguments(["--model", "x"]).batch_size == 8
    assert quickstart.parse_arguments(["--model", "x", "--batch_size", "3"]).batch_size == 3
