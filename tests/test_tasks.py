# SPDX-License-Identifier: Apache-2.0
import itertools
import random

import pytest

from trl_diffusion import embedded
from trl_diffusion.rewards.countdown import evaluate_expression
from trl_diffusion.tasks import countdown, get_task, sudoku


def brute_force_grids():
    """All solved grids, found another way: permutations of rows, filtered by columns and boxes."""
    rows = ["".join(p) for p in itertools.permutations("1234")]
    grids = []
    for grid in itertools.product(rows, repeat=4):
        columns = [{grid[r][c] for r in range(4)} for c in range(4)]
        boxes = [{grid[r + i][c + j] for i in (0, 1) for j in (0, 1)} for r in (0, 2) for c in (0, 2)]
        if all(len(unit) == 4 for unit in columns + boxes):
            grids.append("".join(grid))
    return grids


def test_solved_grids_are_all_288():
    assert list(sudoku.solved_grids()) == brute_force_grids()


def test_count_solutions_by_trying_all():
    rng = random.Random(1)
    for _ in range(30):
        puzzle, grid = sudoku.sample_puzzle(rng, "train", clues=(1, 8), unique=False)
        fitting = [g for g in sudoku.solved_grids() if sudoku.is_solution(puzzle, g)]
        assert sudoku.count_solutions(puzzle) == len(fitting) and grid in fitting


def test_sudoku_splits_share_no_solution_and_no_puzzle():
    train, test = sudoku.make_dataset("train", 3000), sudoku.make_dataset("test", 1000)
    assert not set(sudoku.split_grids("train")) & set(sudoku.split_grids("test"))
    assert not set(train["puzzle"]) & set(test["puzzle"])
    assert not set(train["solution"]) & set(test["solution"])
    assert set(train["solution"]) <= set(sudoku.split_grids("train"))
    assert all(sudoku.count_solutions(puzzle) == 1 for puzzle in test["puzzle"])
    assert len(set(test["puzzle"])) == 1000


@pytest.mark.parametrize("task", [sudoku, countdown])
@pytest.mark.parametrize("split", ["validation", "Test", "", None])
def test_no_other_split_exists(task, split):
    """Taken for the training split, it would put training puzzles into an evaluation."""
    with pytest.raises(ValueError, match="`split` must be one of 'train', 'test'"):
        task.make_dataset(split, 5)


@pytest.mark.parametrize(
    "task, options",
    [
        (sudoku, {"clues": (0, 3)}),  # would never return
        (sudoku, {"clues": (9, 4)}),
        (sudoku, {"clues": (4, 20)}),
        (countdown, {"operators": "+%"}),
        (countdown, {"operators": ""}),
        (countdown, {"count": 0}),
        (countdown, {"largest": 0}),
    ],
)
def test_impossible_tasks_are_refused(task, options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}"):
        task.make_dataset("test", 5, **options)


@pytest.mark.parametrize(
    ("task", "size", "options", "message"),
    [
        ("countdown", 1, {"count": 1, "largest": 1}, "test problem.*`count=1`, `largest=1`.*Raise `largest`"),
        ("countdown", 3, {"operators": "/", "largest": 1}, "test problem.*`largest=1`, `operators='/'`"),
        ("sudoku", 1, {"clues": (0, 0), "unique": False}, r"test puzzle.*`clues=\(0, 0\)`.*Allow more"),
        ("sudoku", 10**9, {"clues": (15, 16)}, r"`size=1000000000` is more than the distinct test puzzles"),
        ("countdown", 10**9, {"count": 2, "largest": 4}, "`size=1000000000` is more than the distinct test problems"),
    ],
    ids=str,
)
def test_what_there_is_not_is_not_looked_for_without_end(task, size, options, message):
    with pytest.raises(ValueError, match=message):
        get_task(task).load("test", size, **options)


@pytest.mark.parametrize("task", [sudoku, countdown])
@pytest.mark.parametrize("size", [0, -1, None, 2.5, True])
def test_sizes_without_meaning_are_refused(task, size):
    with pytest.raises(ValueError, match=f"`size` must be .*at least 1.*got {size}"):
        task.make_dataset("test", size)


def test_a_generated_task_asks_for_its_size():
    with pytest.raises(ValueError, match="`size` must be .* are generated, as many as you ask for"):
        get_task("sudoku").load("test")


@pytest.mark.parametrize(
    ("task", "error", "options", "message"),
    [
        (sudoku, ValueError, {"clues": 4}, "`clues=4` must be a smallest and a largest"),
        (sudoku, ValueError, {"clues": (4, 5, 6)}, "`clues="),
        (sudoku, ValueError, {"clues": ("4", "5")}, "`clues="),
        (sudoku, ValueError, {"clues": (4.0, 5.5)}, "`clues="),
        (countdown, ValueError, {"count": "3"}, "`count` must be a whole number of at least 1, got '3'"),
        (countdown, ValueError, {"max_target": 9.5}, "`max_target` must be a whole number"),
        (countdown, ValueError, {"operators": 3}, "`operators` must be some of"),
        (
            countdown,
            TypeError,
            {"foo": 1},
            "no option `foo`, only `count`, `largest`, `operators`, `max_target`",
        ),
    ],
    ids=str,
)
def test_options_without_meaning_are_named(task, error, options, message):
    with pytest.raises(error, match=message):
        task.make_dataset("test", 2, **options)
    assert len(sudoku.make_dataset("test", 2, clues=[4, 8])) == 2  # as JSON has it


def test_few_clues_leak_nothing_either():
    options = {"clues": (1, 3), "unique": False}
    train, test = (set(sudoku.make_dataset(split, 400, **options)["puzzle"]) for split in ("train", "test"))
    assert not train & test


def test_countdown_splits_share_no_set_of_numbers():
    train, test = countdown.make_dataset("train", 3000), countdown.make_dataset("test", 500)
    train_sets, test_sets = ({tuple(sorted(n)) for n in split["numbers"]} for split in (train, test))
    assert not train_sets & test_sets and len(test_sets) > 20


@pytest.mark.parametrize("options", [{}, {"operators": "+-*/"}, {"count": 4, "largest": 20, "operators": "+-*/"}])
def test_countdown_solutions_are_right(options):
    for row in countdown.make_dataset("train", 200, **options):
        value, numbers = evaluate_expression(row["solution"])
        assert value == row["target"] and sorted(numbers) == sorted(row["numbers"])


def test_countdown_answers_fit_the_canvas():
    rng = random.Random(0)
    longest = max(len(countdown.sample_problem(rng, "train")[2]) for _ in range(20000))
    assert longest < countdown.COMPLETION_LENGTH


@pytest.mark.parametrize("task", [sudoku, countdown])
def test_datasets_repeat_and_have_prompts_in_both_styles(task):
    assert task.make_dataset("test", 20, seed=3).to_dict() == task.make_dataset("test", 20, seed=3).to_dict()
    assert task.make_dataset("test", 20, seed=3).to_dict() != task.make_dataset("test", 20, seed=4).to_dict()
    chat = task.make_dataset("test", 3, style="instruct")["prompt"]
    assert all(prompt[0]["role"] == "user" and "<answer>" in prompt[0]["content"] for prompt in chat)
    with pytest.raises(ValueError, match="`style` must be"):
        task.make_dataset("test", 3, style="haiku")


def test_too_many_puzzles_are_refused_instead_of_repeated():
    with pytest.raises(ValueError, match="`size=500`"):
        sudoku.make_dataset("test", 500, clues=(1, 1), unique=False)


def test_prompts_fit_the_tokenizer(tokenizer):
    for task in (sudoku, countdown):
        prompts = task.make_dataset("train", 200)["prompt"]
        assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(list(prompts)).input_ids)
        assert tokenizer.batch_decode(tokenizer(list(prompts)).input_ids) == list(prompts)


def test_embedded_model_for_no_task():
    with pytest.raises(ValueError, match="no embedded model for 'chess'"):
        embedded.path("chess")
