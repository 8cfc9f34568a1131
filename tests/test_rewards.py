# SPDX-License-Identifier: Apache-2.0
import math
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_diffusion.rewards import countdown_reward, sudoku_reward
from trl_diffusion.rewards.countdown import evaluate_expression
from trl_diffusion.rewards.extraction import extract_answer
from trl_diffusion.tasks import countdown, sudoku


def sudoku_score(completion, puzzle="4..1.3.......2.3"):
    return sudoku_reward([completion], puzzle=[puzzle])[0]


def countdown_score(completion, numbers=(3, 4, 5), target=17):
    return countdown_reward([completion], numbers=[list(numbers)], target=[target])[0]


# ---------------------------------------------------------------- answers in many dresses


@pytest.mark.parametrize(
    "text, answer",
    [
        ("42", "42"),
        ("  42 \n", "42"),
        ("so <answer>42</answer> it is", "42"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        ("<answer>\n42", "42"),
        ("<ANSWER>42</Answer>", "42"),
        ("42<|endoftext|><|eot_id|>", "42"),
        ("<answer></answer>", ""),
        ("", ""),
    ],
)
def test_extract_answer(text, answer):
    assert extract_answer(text) == answer
    assert extract_answer([{"role": "assistant", "content": text}]) == answer


@pytest.mark.parametrize(
    "text, score",
    [
        ("3*4+5", 1),
        ("5+4*3", 1),
        ("(4*3)+5", 1),
        ("((3)*(4))+5", 1),
        ("3 × 4 + 5 = 17", 1),
        ("<answer>3*4+5=17</answer>", 1),
        ("thinking <answer>5+3*4</answer> done", 1),
        ("3*4+5 = 18", 1),  # the expression counts, not what is claimed of it
        ("17", 0),
        ("12+5", 0),
        ("3*4+5+0", 0),
        ("3*4", 0),
        ("3*4+5*1", 0),
        ("3+4+5", 0),
        ("3*4+5-", 0),
        ("3**4+5", 0),
        ("-3*-4+5", 0),
        ("34+5", 0),
        ("3*4+5 apples", 0),
        ("import os", 0),
        ("__import__('os').system('true')", 0),
        ("", 0),
        ("=17", 0),
    ],
)
def test_countdown_by_hand(text, score):
    assert countdown_score(text) == score


@pytest.mark.parametrize(
    "text, score",
    [
        ("4231132431422413", 0),
        ("4213132424313142", 0),
        ("42 31\n13 24\n31 42\n24 13", 0),
    ],
)
def test_sudoku_wrong(text, score):
    assert sudoku_score(text) == score


def test_sudoku_dresses():
    rng = random.Random(0)
    for _ in range(50):
        puzzle, grid = sudoku.sample_puzzle(rng, "test")
        rows = [grid[i : i + 4] for i in range(0, 16, 4)]
        for text in (
            grid,
            "\n".join(rows),
            f"<answer>{grid}</answer>",
            "<answer>\n" + "\n".join(" ".join(row) for row in rows) + "\n</answer>",
            "|".join(rows),
            grid + "<|endoftext|>",
        ):
            assert sudoku_score(text, puzzle) == 1
        cell = rng.randrange(16)
        wrong = grid[:cell] + rng.choice([d for d in "01235" if d != grid[cell]]) + grid[cell + 1 :]
        for text in (wrong, grid[:-1], grid + "1", f"{grid} or {wrong}", grid[::-1] + "x"):
            assert sudoku_score(text, puzzle) == 0


def test_valid_grid_that_ignores_the_clues():
    grids = sudoku.solved_grids()
    assert sudoku_score(grids[0], puzzle=grids[1][:8] + "." * 8) == float(grids[0].startswith(grids[1][:8]))
    assert sudoku_score(grids[0], puzzle="." * 16) == 1


# ---------------------------------------------------------------- against Python's own arithmetic, on safe input only


@st.composite
def expressions(draw, depth=0):
    if depth > 3 or draw(st.booleans()):
        return str(draw(st.integers(0, 99)))
    left, right = draw(expressions(depth=depth + 1)), draw(expressions(depth=depth + 1))
    text = f"{left}{draw(st.sampled_from('+-*/'))}{right}"
    return f"({text})" if draw(st.booleans()) else text


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_arithmetic_equals_pythons(text):
    result = evaluate_expression(text)
    numbers = "".join(c if c.isdigit() else " " for c in text).split()
    exact = "".join(f"Fraction({part})" if part.isdigit() else part for part in split_numbers(text))
    try:
        expected = eval(exact, {"Fraction": Fraction, "__builtins__": {}})  # the test's own text, digits and operators
    except ZeroDivisionError:
        assert result is None
        return
    assert result == (expected, [int(n) for n in numbers])


def split_numbers(text):
    parts, digits = [], ""
    for character in text:
        if character.isdigit():
            digits += character
            continue
        parts += [digits] if digits else []
        parts.append(character)
        digits = ""
    return parts + ([digits] if digits else [])


def write(tree, depth=0):
    """A tree of operations in the signs of others, and for Python."""
    if isinstance(tree, int):
        return str(tree), f"Fraction({tree})"
    sign, left, right, style = tree
    (a, exact_a), (b, exact_b) = write(left, depth + 1), write(right, depth + 1)
    exact = f"({exact_a} {sign} {exact_b})"
    if sign == "/" and style % 2:
        return rf"\frac{{{a}}}{{{b}}}", exact
    signs = {"+": "++++", "-": "-\u2011\u2212\u2013", "*": ["x", "X", "\u2217", r"\times"], "/": "/\u00f7//"}
    return (rf"({a} {signs[sign][style]} {b})" if depth else rf"{a} {signs[sign][style]} {b}"), exact


trees = st.recursive(
    st.integers(0, 99), lambda sub: st.tuples(st.sampled_from("+-*/"), sub, sub, st.integers(0, 3)), max_leaves=5
)


@given(trees, st.sampled_from(["{}", "x = {}", "Expression: {}", "{} = 7", "7 = {}", r"\[ {} \]", "-({})"]))
@settings(max_examples=300, deadline=None)
def test_arithmetic_in_other_dresses_equals_pythons(tree, dress):
    text, exact = write(tree)
    try:
        expected = eval(exact, {"Fraction": Fraction, "__builtins__": {}})  # the test's own text, digits and operators
    except ZeroDivisionError:
        expected = None
    if "7" in dress and isinstance(tree, int):
        return  # of two numbers, either may be the given one
    result = evaluate_expression(dress.format(text))
    if expected is None:
        assert result is None
    else:
        assert result is not None and result[0] == (-expected if dress == "-({})" else expected)


def reachable(numbers, signed):
    """What can be made of all numbers, in Python's arithmetic; `signed` with a minus before any part."""
    if len(numbers) == 1:
        values = set(numbers)
    else:
        values = set()
        for mask in range(1, 2 ** len(numbers) - 1):
            first = tuple(n for i, n in enumerate(numbers) if mask >> i & 1)
            second = tuple(n for i, n in enumerate(numbers) if not mask >> i & 1)
            for a in reachable(first, signed):
                for b in reachable(second, signed):
                    values |= {a + b, a - b, a * b} | ({a / b} if b else set())
    return values | {-value for value in values} if signed else values


@given(st.lists(st.integers(1, 99).map(Fraction), min_size=2, max_size=3).map(tuple))
@settings(max_examples=20, deadline=None)
def test_a_minus_in_front_opens_no_new_target(numbers):
    assert {abs(value) for value in reachable(numbers, True)} == {abs(value) for value in reachable(numbers, False)}
    assert {v for v in reachable(numbers, True) if v > 0} <= reachable(numbers, False)


@given(st.text("1234 .|/&\n", max_size=40), st.integers(0, 287), st.integers(0, 17), st.data())
@settings(max_examples=100, deadline=None)
def test_a_grid_scores_in_any_dress_and_no_other_does(noise, index, place, data):
    grid = sudoku.solved_grids()[index]
    puzzle = data.draw(st.sampled_from([grid[:8] + "." * 8, "." * 16]))
    rows = [grid[i : i + 4] for i in range(0, 16, 4)]
    array = r"\begin{array}{cccc}" + r"\\".join("&".join(row) for row in rows) + r"\end{array}"
    labelled = [f"Row {i}: {row}" for i, row in enumerate(rows, 1)]
    for text in ("/".join(rows), f"Answer: {grid}", "\n".join(labelled), array):
        assert sudoku_score(f"<answer>{text}</answer>", puzzle) == 1, text
        cut = min(place, len(text))
        for mask in ("<|mdm_mask|>", "[MASK]"):
            assert sudoku_score(f"<answer>{text[:cut]}{mask}{text[cut:]}</answer>", puzzle) == 0, text
        digit = data.draw(st.sampled_from([i for i, c in enumerate(text) if c in "1234"]))
        changed = text[:digit] + str(int(text[digit]) % 4 + 1) + text[digit + 1 :]
        assert sudoku_score(f"<answer>{changed}</answer>", puzzle) == 0, changed
    assert sudoku_score("<answer>" + "\n".join(labelled[::-1]) + "</answer>", puzzle) == 0
    digits = "".join(c for c in noise if c.isdigit())
    assert sudoku_score(noise, puzzle) == (
        sudoku.is_solution(puzzle, digits) and "." not in noise.strip().removesuffix(".")
    )


def test_every_generated_solution_scores():
    for row in countdown.make_dataset("train", 300):
        assert countdown_score(row["solution"], row["numbers"], row["target"]) == 1
        assert countdown_score(row["solution"], row["numbers"], row["target"] + 1) == 0
        assert countdown_score(row["solution"] + "+1", row["numbers"], row["target"]) == 0


# ---------------------------------------------------------------- hostile completions

HOSTILE = [
    "9**9**9**9",
    "9" * 1_000_000,
    "9*" * 500_000 + "9",
    "(" * 100_000 + "1" + ")" * 100_000,
    "(" * 100 + "1" + ")" * 100,
    "1/0",
    "1/(2-2)",
    "٣*٤+٥",
    "²+³",
    "𝟛*𝟜+𝟝",
    "1e999",
    "nan",
    "inf",
    "0x10",
    "1_000",
    "3*4+5\x00",
    "<answer>" * 100_000,
    "<|" * 200_000,
    "<|a" * 200_000,
    "\n" * 1_000_000,
    "<answer>1" + "\n " * 30_000 + "x",
    "🦊" * 100_000,
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_scores_zero_at_once(text):
    started = time.process_time()
    assert countdown_score(text) == 0
    assert sudoku_score(text) == 0
    # Not a benchmark: an exponential blow-up takes minutes, this takes milliseconds.
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "completion", [None, 3, math.nan, [], [{}], ["abc"], [["abc"]], [{"role": "assistant", "content": None}], {}]
)
def test_malformed_completions_score_zero(completion):
    assert countdown_score(completion) == 0
    assert sudoku_score(completion) == 0


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_a_score(text):
    assert countdown_score(text) in (0.0, 1.0)
    assert sudoku_score(text) in (0.0, 1.0)


@given(st.text(alphabet="0123456789+-*/()= ", max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_arithmetic_gets_a_score(text):
    assert countdown_score(text) in (0.0, 1.0)


def test_one_reward_per_completion():
    assert len(sudoku_reward(["x", "y"], puzzle=["." * 16] * 2, nfe=[1, 2], trainer_state=None)) == 2
    with pytest.raises(ValueError):
        sudoku_reward(["x", "y"], puzzle=["." * 16])
