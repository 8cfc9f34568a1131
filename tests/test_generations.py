# SPDX-License-Identifier: Apache-2.0
"""The rewards' verdicts on what models print, against those made by hand."""

import pytest

from trl_diffusion.rewards import countdown_reward, gsm8k_reward, math_reward, sudoku_reward

from .generations import countdown, gsm8k, math, sudoku


def conversational(text):
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("task", [gsm8k, math, countdown, sudoku], ids=lambda task: task.__name__.split(".")[-1])
def test_there_are_enough_of_both_verdicts(task):
    assert len(task.CASES) >= 60 and len({case[-1] for case in task.CASES}) > 55
    verdicts = [case[-2] for case in task.CASES]
    assert 20 <= sum(verdicts) <= len(verdicts) - 20


@pytest.mark.parametrize("gold, verdict, text", gsm8k.CASES)
def test_gsm8k(gold, verdict, text):
    assert gsm8k_reward([text], answer=[gold]) == [verdict]
    assert gsm8k_reward([conversational(text)], answer=[f"Some steps.\n#### {gold}"]) == [verdict]


@pytest.mark.parametrize("gold, verdict, text", math.CASES)
def test_math(gold, verdict, text):
    assert math_reward([text], answer=[gold]) == [verdict]


@pytest.mark.parametrize("numbers, target, verdict, text", countdown.CASES)
def test_countdown(numbers, target, verdict, text):
    assert countdown_reward([text], numbers=[numbers], target=[target]) == [verdict]


@pytest.mark.parametrize("puzzle, verdict, text", sudoku.CASES)
def test_sudoku(puzzle, verdict, text):
    assert sudoku_reward([text], puzzle=[puzzle]) == [verdict]
