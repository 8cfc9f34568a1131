# SPDX-License-Identifier: Apache-2.0
"""References of every kind that MATH has: each scores in any dress, and never for another one."""

import re
from itertools import product

import pytest

from trl_diffusion.rewards import math_reward
from trl_diffusion.rewards.answers import parse_answer
from trl_diffusion.rewards.equivalence import equivalent, parse_gold
from trl_diffusion.rewards.extraction import extract_final_answer

from .generations.references import REFERENCES


def dresses(answer):
    """What models print around an answer."""
    yield from (
        f"Hence it is $\\boxed{{{answer}}}$.",
        f"\\[\n\\boxed{{{answer}.}}\n\\]<|eot_id|><|endoftext|>",
        f"<reasoning>\nLet us see.\n</reasoning>\n<answer>\n{answer}\n</answer>",
        f"<answer>${answer}$</answer>",
        f"<answer>${answer}$.</answer><|eot_id|>",
        f"<answer>\\({answer}\\)<|endoftext|>",
        f"<answer>$\\boxed{{{answer}}}$",
        f"### Final Answer\n\nThe final answer is: $\\boxed{{{answer}}}$. I hope it is correct.",
        f"We are done.\nThe answer is ${answer}$.",
    )
    if is_value(answer):
        yield f"$\\boxed{{X = {answer}}}$"


def is_value(answer):
    """Whether this might follow `X =`."""
    return not re.search(r"[=<>:]|\\[lg]e(?![a-z])|\\text|\\in(?![a-z])|_", answer)


@pytest.mark.parametrize("line", REFERENCES, ids=lambda line: line[0])
def test_each_scores_in_any_dress(line):
    for text in dresses(line[0]):
        assert math_reward([text], answer=[line[0]]) == [1], text
    for answer in line[1:]:
        assert math_reward([rf"\boxed{{{answer}}}"], answer=[line[0]]) == [1], answer
        assert math_reward([rf"\boxed{{{answer}}}"], answer=[answer]) == [1], answer


def test_none_scores_for_another():
    """Each reference beside all ways to write the others."""
    golds = [parse_gold(line[0]) for line in REFERENCES]
    answers = [[parse_answer(extract_final_answer(rf"\boxed{{{text}}}")) for text in line] for line in REFERENCES]
    mistaken = [
        (REFERENCES[i][0], REFERENCES[j][k])
        for i, j in product(range(len(REFERENCES)), repeat=2)
        if i != j
        for k, answer in enumerate(answers[j])
        if equivalent(golds[i], answer)
    ]
    assert len(REFERENCES) > 80 and not mistaken
