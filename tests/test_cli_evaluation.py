# SPDX-License-Identifier: Apache-2.0
"""Evaluation on the command line: what is compared was decoded alike, and what cannot be written is found at once."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.cli import tables
from trl_diffusion.cli.figures import as_json
from trl_diffusion.evaluation import Comparison, Evaluation, load_generations, load_sweep, rewards_of, score
from trl_diffusion.models import ThresholdHeadConfig
from trl_diffusion.rewards import sudoku_cells_reward, sudoku_reward

from .command_line import MODEL, TRAIN, run


ROOT = Path(__file__).parent.parent
CARRIED = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, entropy_bound=0.3, eos_token_ids=(0,))
GRID = ("--entropy_bounds", 0.5, "--confidence_thresholds", 0.8, "--tokens_per_step", 4)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three times the same weights: without decoding settings, with those of a training, and with others."""
    folder = tmp_path_factory.mktemp("models")
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    for name, settings in (("base", None), ("trained", CARRIED), ("cooler", replace(CARRIED, temperature=0.5))):
        if settings is not None:
            settings.attach_to(model)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        if settings is None:
            (folder / name / "generation_config.json").unlink()
    return folder


def documented(page, command):
    """The words of the commands of this name on a page."""
    lines = re.findall(rf"^trl-diffusion {command} .*", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
    assert lines
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", ["cli.md", "reproducibility.md"])
def test_the_comparison_in_the_docs_is_a_fair_one(models, page, monkeypatch, capsys):
    """Of equal weights it must find no difference, whether or not the base carries settings of its own."""
    monkeypatch.chdir(models)
    small = ("--size", "10", "--device", "cpu")
    for words in documented(page, "eval"):
        assert run(*[word.replace("gsm8k", "sudoku") for word in words], *small) == 0
    capsys.readouterr()
    for words in documented(page, "score"):
        assert run(*[word.replace("gsm8k", "sudoku") for word in words]) == 0
    out = capsys.readouterr().out
    assert re.search(r"accuracy +│ \+0\.0 points", out) and "0 better, 0 worse" in out and "differs" not in out
    for words in documented(page, "frontier"):
        assert run(*[word.replace("gsm8k", "sudoku") for word in words], *small, *map(str, GRID)) == 0
    points = load_sweep("points.jsonl")
    base, trained = points["base/"], points["trained/"]
    assert [replace(p, seconds=0, tokens_per_second=0) for p in base] == [
        replace(p, seconds=0, tokens_per_second=0) for p in trained
    ]
    assert {(p.decoder["temperature"], p.decoder["max_new_tokens"]) for p in base} == {(1.0, 20)}
    for file in ("points.jsonl", "frontier.png", "base.jsonl", "trained.jsonl"):
        Path(file).unlink()


def test_two_decoders_are_not_taken_for_two_models(models, tmp_path, capsys):
    words = ("--task", "sudoku", "--size", 10, "--device", "cpu", "--output_file")
    canvas = ("--max_new_tokens", 20, "--block_length", 20)
    for name, more in (("base", canvas), ("trained", ())):
        assert run("eval", "--model_name_or_path", models / name, *words, tmp_path / f"{name}.jsonl", *more) == 0
    score = ("score", "--generations", tmp_path / "base.jsonl", tmp_path / "trained.jsonl", "--task", "sudoku")
    assert run(*score) == 1
    error = capsys.readouterr().err
    assert "temperature 0.0 and 1.0" in error and "entropy_bound 0.1 and 0.3" in error
    assert "confidence_threshold" not in error and "--allow_different_settings" in error and "--decoder_from" in error
    assert run(*score, "--allow_different_settings") == 0
    assert "differs, too: temperature 0.0, then 1.0" in capsys.readouterr().out


def test_a_frontier_has_one_canvas_and_temperature(models, tmp_path, capsys):
    words = ("--task", "sudoku", "--size", 6, "--device", "cpu", *GRID, "--output_file")
    some = ("frontier", "--models", models / "trained", models / "cooler", "--names", "one", "two")
    assert run(*some, *words, tmp_path / "p.jsonl") == 1
    error = capsys.readouterr().err
    assert "temperature 1.0 and 0.5" in error and "--decoder_from" in error and not (tmp_path / "p.jsonl").exists()
    for number, (choice, temperature) in enumerate(
        ((("--temperature", 0), 0.0), (("--decoder_from", models / "cooler"), 0.5))
    ):
        file = tmp_path / f"{number}.jsonl"
        assert run(*some, *words, file, *choice) == 0
        out = capsys.readouterr().out
        assert f"All models: temperature {temperature}, 20 tokens in blocks of 20" in out
        assert f"all: temperature {temperature}, max_new_tokens 20, block_length 20" in out
        decoders = [point.decoder for points in load_sweep(file).values() for point in points]
        assert len(decoders) == 6 and {decoder["temperature"] for decoder in decoders} == {temperature}


def test_the_seed_leaves_the_problems_as_they_are(tmp_path):
    words = ("eval", "--model_name_or_path", "embedded/sudoku", "--device", "cpu", "--task", "sudoku", "--size", 5)
    for name, more in (("a", ()), ("b", ("--seed", 5)), ("c", ("--task_options", '{"seed": 5}'))):
        assert run(*words, *more, "--output_file", tmp_path / f"{name}.jsonl") == 0
    a, b, c = (load_generations(tmp_path / f"{name}.jsonl") for name in "abc")
    digests = [g.header["settings"]["dataset"] for g in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]
    assert [g.seed for g in a.samples] == [g.seed for g in c.samples] != [g.seed for g in b.samples]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("eval", "--output_file", "file/x.jsonl"), "`--output_file file/x.jsonl`: its folder cannot be made"),
        (("frontier", "--output_file", "x.jsonl", "--picture", "file/x.png"), "`--picture file/x.png`: its folder"),
        (("frontier", "--output_file", "x.jsonl", "--picture", "x.xyz"), "`--picture x.xyz`: pictures are"),
        (("frontier", "--output_file", "folder"), "`--output_file folder` is a folder"),
        (("frontier", "--output_file", "x.jsonl", "--tokens_per_step", "0"), "`tokens_per_step` must be at least 1"),
        (("report", "--output_file", "file/x.html", "--generations", "x"), "`--output_file file/x.html`: its folder"),
    ],
    ids=["eval", "picture", "kind", "folder", "schedule", "report"],
)
def test_what_cannot_work_is_found_before_the_work(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trl_diffusion.cli.arguments.load_model", lambda args: pytest.fail("the work has begun"))
    monkeypatch.setattr("trl_diffusion.evaluation.load_generations", lambda path: pytest.fail("the work has begun"))
    Path("file").write_text("")
    Path("folder").mkdir()
    model = {"eval": "--model_name_or_path", "frontier": "--models"}.get(words[0])
    assert run(*words, *((model, "embedded/sudoku", "--task", "sudoku") if model else ())) == 1
    assert message in capsys.readouterr().err


def test_folders_of_results_are_made(tmp_path):
    words = ("--models", "embedded/sudoku", "--device", "cpu", "--task", "sudoku", "--size", 4, *GRID)
    assert run("frontier", *words, "--output_file", tmp_path / "a" / "p.jsonl", "--picture", tmp_path / "b/p.png") == 0
    header, *points = map(json.loads, (tmp_path / "a" / "p.jsonl").read_text().splitlines())
    assert header["format"].startswith("trl-diffusion sweep") and len(points) == 3 and (tmp_path / "b/p.png").is_file()
    assert points[0]["settings"]["temperature"] == 1.0 and points[0]["settings"]["max_new_tokens"] == 20
    assert run("report", "--frontier", tmp_path / "a" / "p.jsonl", "--output_file", tmp_path / "c" / "r.html") == 0
    assert (tmp_path / "c" / "r.html").is_file()


# ---------------------------------------------------------------- tables

POINT = Evaluation(0.5, (0.3, 0.7), 4.0, 2.0, 20, 1.0, CARRIED.describe(), tokens=8, tokens_per_second=9, truncated=0)


def test_figures_for_programs(models, tmp_path, monkeypatch):
    """Of a process of its own: nothing else may be on its standard output."""
    monkeypatch.chdir(models)
    command = [sys.executable, "-m", "trl_diffusion.cli"]

    def printed(*words):
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    files = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for file, seed in zip(files, (0, 1), strict=True):
        made = printed(
            *("eval", "--model_name_or_path", "trained", "--task", "sudoku", "--size", 10, "--device", "cpu"),
            *("--seed", seed, "--output_file", file, "--json"),
        )
        expected = score(load_generations(file), sudoku_reward)
        assert made["evaluations"]["sudoku"]["accuracy"] == expected.accuracy
        assert made["evaluations"]["sudoku"]["interval"] == pytest.approx(expected.interval)
    scored = printed("score", "--generations", *files, "--task", "sudoku", "--json")
    assert list(scored["evaluations"]) == list(map(str, files))
    assert scored["comparison"]["prompts"] == 10
    assert as_json({"one": POINT}).count("NaN") == 0 and json.loads(as_json({"one": POINT}))["evaluations"]["one"]


def test_intervals_are_printed_from_low_to_high(capsys):
    assert tables.within((0.25, 0.75)) == "(25.0 – 75.0)"
    tables.print_evaluation("one", POINT)
    tables.print_frontiers({"one": [POINT]})
    out = capsys.readouterr().out
    assert out.count("(30.0 – 70.0)") == 2 and out.count("temperature 1.0, max_new_tokens 20, block_length 20") == 2


def test_differences_have_signs_at_both_ends(capsys):
    tables.print_comparison("a", "b", Comparison(0.1, (-0.05, 0.25), 0.2, 3, 1, -0.01, (-0.02, -0.0001), 20))
    out = capsys.readouterr().out
    assert "+10.0 points (-5.0 – +25.0)" in out and "-0.01 (-0.02 – +0.00)" in out


def test_nothing_is_folded_in_a_pipe(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    long = "a/long/name/of/a/checkpoint/that/is/in/some/folder/deep/down/on/a/shared/disk"
    tables.print_frontiers({long: [POINT], "b": [replace(POINT, decoder=CARRIED.describe() | {"temperature": 0.0})]})
    out = capsys.readouterr().out
    assert f"{long} (temperature 1.0, max_new_tokens 20, block_length 20)" in out and "temperature 0.0" in out


def test_evaluate_score_and_compare(capsys, tmp_path):
    problems = ("--task", "sudoku", "--size", 20)
    for name, temperature in (("greedy", 0), ("sampled", 1)):
        file = tmp_path / f"{name}.jsonl"
        assert run("eval", *MODEL, *problems, "--temperature", temperature, "--output_file", file) == 0
    printed = capsys.readouterr().out
    assert "20 problems" in printed and "passes per answer" in printed
    files = ("score", "--generations", tmp_path / "sampled.jsonl", tmp_path / "greedy.jsonl", "--task", "sudoku")
    assert run(*files, "--allow_different_settings") == 0
    out = capsys.readouterr().out
    accuracies = re.findall(r"accuracy\s*│\s*([\d.]+) %", out)
    difference = re.search(r"accuracy\s*│\s*([+-][\d.]+) points", out)
    assert float(difference[1]) == pytest.approx(float(accuracies[1]) - float(accuracies[0]), abs=0.11)
    reward = "trl_diffusion.rewards:sudoku_reward"
    assert run("score", "--generations", tmp_path / "greedy.jsonl", "--reward", reward) == 0
    assert re.findall(r"accuracy\s*│\s*([\d.]+) %", capsys.readouterr().out) == accuracies[1:]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Of Sudokus."""
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 4, "--output_file", file) == 0
    return file


def test_a_reward_that_cannot_judge_these_answers(capsys, tmp_path, monkeypatch, answers):
    assert run("score", "--generations", answers, "--task", "gsm8k") == 1
    assert (
        f"{answers} has the columns 'puzzle', 'solution', and `--task gsm8k` needs 'answer'" in capsys.readouterr().err
    )
    page = ("report", "--output_file", tmp_path / "page.html", "--generations", answers)
    assert run(*page, "--task", "gsm8k", "--tokenizer", MODEL[1]) == 1
    assert "`--task gsm8k` needs 'answer'" in capsys.readouterr().err
    assert run(*page, "--max_samples", 0) == 1
    assert "`--max_samples` must be at least 1" in capsys.readouterr().err
    assert run(*page, "--tokenizer", tmp_path) == 1
    assert f"error: `--tokenizer {tmp_path}`: its tokenizer cannot be loaded" in capsys.readouterr().err
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 3, "--output_file", answers) == 1
    assert f"`--output_file {answers}` was made for 4 problems, here 3 (`--size`)" in capsys.readouterr().err
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 4, "--output_file", answers, "--temperature", 0.5) == 1
    assert "error: `--output_file`: " in (err := capsys.readouterr().err) and "`path`" not in err
    empty = tmp_path / "empty.jsonl"
    empty.write_text(answers.read_text().splitlines()[0] + "\n")
    assert run("score", "--generations", empty, "--task", "sudoku") == 1
    assert "4 of 4 samples are missing" in capsys.readouterr().err


REWARDS = """
def short(completions, **kwargs):
    return [1.0]

def fails(completions, **kwargs):
    return [kwargs["nothing"]]

async def fails_later(completions, **kwargs):
    raise ValueError("not now")
"""


def test_rewards_that_fail(capsys, tmp_path, monkeypatch, answers):
    """They are named, and their traceback shown: it is the user's code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("wrong_rewards.py").write_text(REWARDS)
    Path("broken_rewards.py").write_text("def f(:\n")
    cases = {
        "wrong_rewards:short": "1 rewards for 4 completions, expected one for each. In the reward function `short`.",
        "wrong_rewards:fails": "error: `--reward wrong_rewards:fails` raised KeyError: 'nothing'",
        "wrong_rewards:fails_later": "error: `--reward wrong_rewards:fails_later` raised ValueError: not now",
        "broken_rewards:f": "error: `--reward broken_rewards:f`: its module raised SyntaxError",
    }
    for name, message in cases.items():
        assert run("score", "--generations", answers, "--reward", name) == 1
        err = capsys.readouterr().err
        assert message in err and ("Traceback" in err) == (name != "wrong_rewards:short")
        assert "imports.py" not in err or name.startswith("broken")
    assert 'return [kwargs["nothing"]]' in _error_of(
        capsys, "score", "--generations", answers, "--reward", list(cases)[1]
    )
    err = _error_of(capsys, *TRAIN, "--reward", "wrong_rewards:fails", "--output_dir", "out", "--max_steps", 1)
    assert "error: `--reward wrong_rewards:fails` raised KeyError" in err and 'return [kwargs["nothing"]]' in err


def _error_of(capsys, *words):
    assert run(*words) == 1
    return capsys.readouterr().err


def test_frontier(capsys, tmp_path):
    words = ("--task", "sudoku", "--size", 10, "--temperature", 0, "--output_file", tmp_path / "points.jsonl")
    grid = ("--entropy_bounds", 0.1, 1.0, "--confidence_thresholds", 0.9, "--tokens_per_step", 1)
    models = ("--models", "embedded/sudoku", "embedded/sudoku", "--names", "one", "two", "--device", "cpu")
    assert run("frontier", *models, *words, *grid, "--picture", tmp_path / "picture.png") == 0
    out = capsys.readouterr().out
    assert "one" in out and "two" in out and "entropy_bound" in out
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert set(load_sweep(tmp_path / "points.jsonl")) == {"one", "two"}
    assert run("frontier", *models[:-4], "one", "one", *words) == 1


def test_a_learned_threshold_is_on_the_frontier(tmp_path, models):
    """Of the model that has one, with a star; the other has the grid alone."""
    path, folder = embedded.path("sudoku"), tmp_path / "learned"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    model.add_threshold_head(ThresholdHeadConfig(rule="confidence_threshold"))
    CARRIED.attach_to(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    points = tmp_path / "points.jsonl"
    words = ("--task", "sudoku", "--size", 4, "--device", "cpu", "--temperature", 0, "--num_samples", 1)
    decoders = ("--entropy_bounds", 0.5, "--confidence_thresholds", 0.8, "--tokens_per_step", 4)
    names = ("--models", models / "base", folder, "--names", "base", "learned", "--decoder_from", folder)
    picture = ("--picture", tmp_path / "picture.svg")
    assert run("frontier", *names, *words, *decoders, "--output_file", points, *picture) == 0
    sweeps = load_sweep(points)
    assert len(sweeps["base"]) == 3
    assert [p.decoder["threshold"] for p in sweeps["learned"][3:]] == ["learned, greedy"]
    assert sweeps["learned"][3].decoder["unmasking"] == "confidence_threshold"
    assert "learned: learned" in (tmp_path / "picture.svg").read_text()


def test_settings_and_task_are_kept_with_the_answers(tmp_path):
    file = tmp_path / "answers.jsonl"
    words = ("--task", "sudoku", "--size", 4, "--split", "train", "--task_options", '{"seed": 3}', "--batch_size", 2)
    assert run("eval", *MODEL, *words, "--output_file", file) == 0
    (made_by,) = load_generations(file).header["made_by"]
    kept = {name: made_by[name] for name in ("task", "split", "size", "style", "task_options", "batch_size")}
    assert kept == {
        "task": "sudoku",
        "split": "train",
        "size": 4,
        "style": None,
        "task_options": '{"seed": 3}',
        "batch_size": 2,
    }


def test_parts_of_answers_have_a_mean_reward(tmp_path, capsys):
    """The share of empty cells that are right, which the accuracy of whole grids does not tell."""
    file, cells = tmp_path / "answers.jsonl", "trl_diffusion.rewards:sudoku_cells_reward"
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 20, "--temperature", 1, "--output_file", file) == 0
    capsys.readouterr()
    assert run("score", "--generations", file, "--reward", cells, "--json") == 0
    figures = json.loads(capsys.readouterr().out)["evaluations"][str(file)]
    rewards = rewards_of(load_generations(file), sudoku_cells_reward)
    mean, error = np.mean(rewards), np.std(rewards, ddof=1) / np.sqrt(len(rewards))
    assert figures["mean_reward"] == pytest.approx(mean) and figures["accuracy"] < mean
    assert figures["reward_interval"] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=1e-4)
    assert run("score", "--generations", file, "--reward", cells) == 0
    assert f"{mean:.3f}" in capsys.readouterr().out
    assert score(load_generations(file), lambda completions, **_: [None] * len(completions)).unjudged == 1


def test_files_of_one_name_are_told_apart(tmp_path, capsys):
    for folder in ("before", "after"):
        file = tmp_path / folder / "answers.jsonl"
        assert run("eval", *MODEL, "--task", "sudoku", "--size", 2, "--output_file", file) == 0
    files = ("--generations", *(tmp_path / folder / "answers.jsonl" for folder in ("before", "after")))
    words = ("report", *files, "--tokenizer", MODEL[1], "--output_file", tmp_path / "page.html")
    assert run(*words) == 1 and "`--names` must name each of the 2 files differently" in capsys.readouterr().err
    assert run(*words, "--names", "one", "two") == 0 and "one, two" in (tmp_path / "page.html").read_text()
