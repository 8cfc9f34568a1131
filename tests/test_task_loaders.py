# SPDX-License-Identifier: Apache-2.0
"""Datasets from the Hub, read from folders that have its layout; samples, prompts, worked examples, the registry."""

import json
import re
import subprocess
import sys
from fractions import Fraction

import datasets
import pytest

from trl_diffusion.rewards import countdown_reward, gsm8k_reward, math_reward, sudoku_reward
from trl_diffusion.rewards.countdown import evaluate_expression
from trl_diffusion.rewards.equivalence import parse_gold
from trl_diffusion.rewards.extraction import last_boxed
from trl_diffusion.tasks import TASKS, Task, countdown, get_task, gsm8k, math500, sudoku
from trl_diffusion.tasks.hub import load_sample
from trl_diffusion.tasks.prompts import STYLES, solution_text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write_dataset(folder, config="default", **splits):
    """A dataset as the Hub serves it: a card that names its files."""
    folder.mkdir()
    card = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        card += [f"  - split: {split}", f"    path: {split}.jsonl"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return str(folder)


# ---------------------------------------------------------------- GSM8K


@pytest.fixture
def gsm8k_hub(tmp_path, monkeypatch):
    rows = [
        {"question": f"What is {n} plus 1000? ", "answer": f"{n} + 1000 = <<{n}+1000={n + 1000}>>\n#### {n + 1000:,}"}
        for n in range(30)
    ]
    monkeypatch.setattr(gsm8k, "HUB_ID", write_dataset(tmp_path / "gsm8k", "main", train=rows[:20], test=rows[20:]))


def test_gsm8k(gsm8k_hub):
    test = gsm8k.load("test")
    assert test.column_names == ["prompt", "answer"] and len(test) == 10 and len(gsm8k.load("train")) == 20
    assert test["answer"][0] == "1,020"
    assert [message["role"] for message in test["prompt"][0]] == ["user"]
    assert test["prompt"][0][0]["content"].startswith("What is 20 plus 1000?\n\nThink step by step")
    assert gsm8k_reward(["<answer>1020</answer>"], answer=test["answer"][:1]) == [1]


def test_gsm8k_platinum(gsm8k_hub, tmp_path, monkeypatch):
    """The schema of its card, on rows of our own: fewer problems than GSM8K's, one with another answer."""
    rows = [
        {"question": "What is 20 plus 1000?", "answer": "#### 1,020", "cleaning_status": "consensus"},
        {"question": "What is 21 plus 1000?\n", "answer": "20 + 1 = 21\n#### 1021", "cleaning_status": "revised"},
        {"question": "What is 22 plus 1000?", "answer": "#### 1022", "cleaning_status": "verified"},
    ]
    monkeypatch.setattr(gsm8k, "PLATINUM_ID", write_dataset(tmp_path / "platinum", "main", test=rows))
    task = get_task("gsm8k-platinum")
    test = task.load("test")
    assert test.column_names == ["prompt", "answer", "cleaning_status"]
    assert test["answer"] == ["1,020", "1021", "1022"] and test["cleaning_status"][1] == "revised"
    assert test["prompt"][1][0]["content"].startswith("What is 21 plus 1000?\n\nThink step by step")
    assert test["prompt"][0] == get_task("gsm8k").load("test")["prompt"][0]  # asked for in the same words
    # What is trained on is GSM8K's own.
    assert task.load("train")["answer"] == get_task("gsm8k").load("train")["answer"]
    assert task.load("train").column_names == ["prompt", "answer"]
    assert len(task.load("test", 2, shots=1, style="boxed")) == 2 and len(task.load("test", source="sample")) == 8
    with pytest.raises(ValueError, match="`split` must be one of"):
        task.load("validation")


def test_a_part_is_drawn_once_and_again(gsm8k_hub):
    part = gsm8k.load("train", 8, seed=1)["answer"]
    assert part == gsm8k.load("train", 8, seed=1)["answer"] != gsm8k.load("train", 8, seed=2)["answer"]
    assert len(set(part)) == 8
    with pytest.raises(ValueError, match="`size` must be between 1 and 20"):
        gsm8k.load("train", 21)


def test_gsm8k_without_its_mark():
    with pytest.raises(ValueError, match="has no '####'"):
        gsm8k.gold_answer("It is 3.")


# ---------------------------------------------------------------- MATH


def math_row(n, **columns):
    return {"problem": f"Compute ${n}^2$.", "solution": rf"It is $\boxed{{{n * n}}}$.", "unique_id": f"{n}"} | columns


@pytest.fixture
def math_hub(tmp_path, monkeypatch):
    extra = [{"answer": f"{n * n}", "subject": "Algebra", "level": n % 5 + 1} for n in range(30)]
    test = [math_row(n, **extra[n]) for n in range(20, 30)]
    # One of the tested problems stands among those for training, with other spaces.
    train = [math_row(n, **extra[n]) for n in range(20)] + [test[0] | {"problem": "Compute  $20^2$. "}]
    monkeypatch.setattr(math500, "TRAIN_ID", write_dataset(tmp_path / "train", train=train))
    monkeypatch.setattr(math500, "TEST_ID", write_dataset(tmp_path / "test", test=test))


def test_math(math_hub):
    test = math500.load("test")
    assert test.column_names == ["prompt", "answer", "subject", "level"] and len(test) == 10
    assert test[0]["answer"] == "400" and test[0]["subject"] == "Algebra" and test[0]["level"] == 1
    assert test[0]["prompt"][0]["content"].endswith(r"Put the final answer inside \boxed{}.")


def test_no_tested_problem_is_trained_on(math_hub):
    train, test = math500.load("train"), math500.load("test")
    assert len(train) == 20 and "400" not in train["answer"]
    assert not set(train["answer"]) & set(test["answer"])


def test_levels(math_hub):
    assert set(math500.load("train", max_level=4)["level"]) == {1, 2, 3, 4}


def test_the_older_schema_of_math(tmp_path, monkeypatch):
    """Levels in words, no column for the answer, a subject by another name."""
    rows = [math_row(3, type="Algebra", level="Level 2"), math_row(4, type="Geometry", level="Level ?")]
    monkeypatch.setattr(math500, "TRAIN_ID", write_dataset(tmp_path / "train", train=rows))
    monkeypatch.setattr(math500, "TEST_ID", write_dataset(tmp_path / "test", test=[math_row(5, answer="25")]))
    train = math500.load("train")
    assert (train["answer"], train["subject"], train["level"]) == (["9", "16"], ["Algebra", "Geometry"], [2, 5])


# ---------------------------------------------------------------- Countdown


@pytest.fixture
def countdown_hub(tmp_path, monkeypatch):
    rows = [{"target": 10 + n, "nums": [n, n + 1, n + 7][: 2 + n % 2] + [5, 9][: 1 + n % 3 % 2]} for n in range(1, 90)]
    rows += [{"target": 33, "nums": [9, 3, 8]}]  # the first worked example, in another order
    monkeypatch.setattr(countdown, "HUB_ID", write_dataset(tmp_path / "countdown", train=rows))


def test_countdown_from_the_hub(countdown_hub):
    train, test = countdown.load_from_hub("train"), countdown.load_from_hub("test")
    assert train.column_names == ["prompt", "numbers", "target"]
    sets = [{tuple(sorted(numbers)) for numbers in split["numbers"]} for split in (train, test)]
    assert sets[0] and sets[1] and not sets[0] & sets[1]
    assert {len(numbers) for numbers in train["numbers"]} == {3}
    assert {len(numbers) for numbers in countdown.load_from_hub("train", count=4)["numbers"]} == {4}
    assert (3, 8, 9) in sets[0]
    shown = countdown.load_from_hub("train", shots=1)
    assert [9, 3, 8] not in shown["numbers"] and len(shown) == len(train) - 1
    with pytest.raises(ValueError, match="`count` must be 3 or 4"):
        countdown.load_from_hub("train", count=5)


def test_the_generator_splits_as_the_hub_is_split():
    for split in ("train", "test"):
        rows = countdown.make_dataset(split, 50, count=4, largest=99, operators="+-*/")
        assert all(countdown._belongs_to(numbers, split) and len(numbers) == 4 for numbers in rows["numbers"])


# ---------------------------------------------------------------- Sudoku


def test_the_leaky_split_leaks_and_the_other_does_not():
    train, test = (set(sudoku.make_dataset(split, 800, leaky=True)["solution"]) for split in ("train", "test"))
    assert len(test & train) / len(test) > 0.8
    leaky = [set(sudoku.make_dataset(split, 800, leaky=True)["puzzle"]) for split in ("train", "test")]
    assert not leaky[0] & leaky[1]
    train, test = (set(sudoku.make_dataset(split, 800)["solution"]) for split in ("train", "test"))
    assert not train & test


# ---------------------------------------------------------------- samples and worked examples


@pytest.mark.parametrize("task", [gsm8k, math500])
def test_samples(task):
    train, test = task.load("train", source="sample"), task.load("test", source="sample")
    assert len(train) == 16 and len(test) == 8
    questions = [{row["prompt"][-1]["content"] for row in split} for split in (train, test)]
    assert not questions[0] & questions[1] and len(questions[0] | questions[1]) == 24


def test_the_samples_answers_score_and_their_neighbours_do_not():
    for split in ("train", "test"):
        for task, reward in ((gsm8k, gsm8k_reward), (math500, math_reward)):
            answers = task.load(split, source="sample")["answer"]
            assert reward([rf"\boxed{{{answer}}}" for answer in answers], answer=answers) == [1] * len(answers)
            assert reward([f"<answer>{answer}</answer>" for answer in answers], answer=answers) == [1] * len(answers)
            moved = [*answers[1:], answers[0]]
            assert sum(reward([rf"\boxed{{{a}}}" for a in moved], answer=answers)) == sum(
                a == b for a, b in zip(moved, answers)
            )


def test_the_samples_worked_solutions_are_right():
    """The calculations in the solutions hold, and the boxes hold the answers."""
    checked = 0
    for split in ("train", "test"):
        for row in load_sample("gsm8k", split):
            for left, right in re.findall(r"([0-9.][0-9.+*/ -]*[0-9]) = ([0-9.]*[0-9])", row["answer"]):
                if "." not in left:
                    assert evaluate_expression(left)[0] == Fraction(right), row["answer"]
                    checked += 1
        for row in load_sample("math", split):
            assert last_boxed(row["solution"]) == row["answer"] and parse_gold(row["answer"]) is not None
    assert checked > 40


def examples():
    for task, reward in ((gsm8k, gsm8k_reward), (math500, math_reward)):
        for example in task.EXAMPLES:
            yield example, lambda text, e=example, r=reward: r([text], answer=[e.answer])[0]
    for solved, shown in zip(sudoku._SOLVED, sudoku.EXAMPLES):
        yield shown, lambda text, p=solved[0]: sudoku_reward([text], puzzle=[p])[0]
    for count, problems in countdown._SOLVED.items():
        for (numbers, target, *_), shown in zip(problems, countdown.EXAMPLES[count]):
            yield shown, lambda t, n=numbers, g=target: countdown_reward([t], numbers=[n], target=[g])[0]


@pytest.mark.parametrize("style", STYLES)
def test_worked_examples_score_in_every_style(style):
    shown = list(examples())
    assert len(shown) == 17
    for example, score in shown:
        text = solution_text(example, style)
        assert score(text) == 1, text
        assert TASKS["gsm8k"].reward_funcs(style)[1]([text]) == [1], text


def test_worked_examples_belong_to_the_training_split():
    for problems in countdown._SOLVED.values():
        assert all(countdown._belongs_to(numbers, "train") for numbers, *_ in problems)
    for puzzle, _, grid in sudoku._SOLVED:
        assert sudoku._belongs_to(puzzle, "train") and grid in sudoku.split_grids("train")
        assert sudoku.count_solutions(puzzle) == 1 and sudoku.is_solution(puzzle, grid)


@pytest.mark.parametrize("name", ["gsm8k", "math500", "countdown", "countdown4", "sudoku"])
def test_worked_examples_are_in_no_dataset(name):
    task, style = TASKS[name], "reasoning"
    source = {"source": "sample"} if name in ("gsm8k", "math500") else {}
    for split in ("train", "test"):
        for row in task.load(split, 8, style=style, shots=2, **source):
            turns = [message["content"] for message in row["prompt"]]
            assert [message["role"] for message in row["prompt"]] == ["user", "assistant"] * 2 + ["user"]
            assert turns[-1] not in turns[:-1] and "<reasoning>" in turns[1]


def test_generated_problems_of_the_examples_are_left_out():
    few = {"count": 3, "largest": 9, "operators": "+*", "max_target": 40}
    alone, shown = (countdown.make_dataset("train", 1500, shots=n, style="boxed", **few) for n in (0, 1))
    assert any(sorted(numbers) == [3, 8, 9] for numbers in alone["numbers"])
    assert not any(sorted(numbers) == [3, 8, 9] for numbers in shown["numbers"])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gsm8k.load("dev"), "`split` must be one of"),
        (lambda: gsm8k.load("test", source="web"), "`source` must be 'hub' or 'sample'"),
        (lambda: gsm8k.load("test", style="compact", source="sample"), "`style` must be one of 'instruct'"),
        (lambda: gsm8k.load("test", shots=5, source="sample"), "`shots` must be between 0 and 4"),
        (lambda: math500.load("dev"), "`split` must be one of"),
        (lambda: math500.load("test", source="web"), "`source` must be"),
        (lambda: math500.load("test", 9, source="sample"), "`size` must be between 1 and 8"),
        (lambda: countdown.make_dataset("test", 2, shots=1), "`shots` must be between 0 and 0.*style 'compact'"),
        (
            lambda: countdown.make_dataset("test", 2, count=5, shots=1, style="boxed"),
            "`shots` must be between 0 and 0.*3 and 4 numbers, not for 5",
        ),
        (lambda: sudoku.make_dataset("test", 2, shots=1), "`shots` must be between 0 and 0.*style 'compact'"),
        (lambda: math500.load("test", max_level=0, source="sample"), "`max_level` must be .*1 to 5, got 0"),
        (lambda: math500.load("test", max_level=9, source="sample"), "`max_level` must be .*1 to 5, got 9"),
        (lambda: countdown.make_dataset("test", 2, shots=1, style="boxed", count=2), "between 0 and 0"),
        (lambda: sudoku.make_dataset("test", 2, shots=4, style="boxed"), "`shots` must be between 0 and 3"),
        (lambda: get_task("chess"), "There is no task 'chess', only gsm8k, gsm8k-platinum, math500"),
    ],
)
def test_what_does_not_exist_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_prompts_that_models_were_trained_on_stay():
    """The embedded models know the compact prompts, and published figures used the instruct ones."""
    assert countdown.format_prompt([3, 4, 5], 17, "compact") == "3 4 5:17="
    assert sudoku.format_prompt("123.3.1..1.34.2.", "compact") == "123.3.1..1.34.2.="
    assert countdown.format_prompt([3, 4, 5], 17, "instruct") == [
        {
            "role": "user",
            "content": "Using each of the numbers 3, 4, 5 exactly once, and only the operations +, -, * and /, write "
            "an arithmetic expression that equals 17. Put the expression alone between <answer> and </answer>.",
        }
    ]
    assert sudoku.format_prompt("123.3.1..1.34.2.", "instruct") == [
        {
            "role": "user",
            "content": "Solve this 4x4 Sudoku. Fill every dot with a digit from 1 to 4 so that each row, each column "
            "and each 2x2 box contains 1, 2, 3 and 4 exactly once. Keep the given digits.\n\n"
            "123.\n3.1.\n.1.3\n4.2.\n\n"
            "Answer with the 16 digits of the solved grid, row by row, between <answer> and </answer>.",
        }
    ]


# ---------------------------------------------------------------- the registry


def test_tasks_by_name():
    assert set(TASKS) >= {"gsm8k", "math500", "countdown", "countdown4", "sudoku", "sudoku-leaky"}
    for name, task in TASKS.items():
        assert get_task(name) is task and isinstance(task, Task) and task.name == name
        assert task.completion_length % task.block_length == 0
        assert [f.__name__ for f in task.reward_funcs("boxed")] == [task.reward.__name__, "boxed_format_reward"]
        assert task.reward_funcs("compact") == [task.reward]


@pytest.mark.slow
def test_tasks_and_rewards_import_in_any_order():
    code = """
import importlib, sys, trl_diffusion
for first in ("rewards", "tasks", "tasks.task", "tasks.sudoku", "rewards.sudoku"):
    for name in [name for name in sys.modules if name.startswith(("trl_diffusion.tasks", "trl_diffusion.rewards"))]:
        del sys.modules[name]
    importlib.import_module(f"trl_diffusion.{first}")
    from trl_diffusion.tasks import get_task
    import trl_diffusion.rewards
    get_task("sudoku")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
