# SPDX-License-Identifier: Apache-2.0
"""Reward for GSM8K."""

from __future__ import annotations

import re
from typing import Any

from .extraction import extract_final_answer
from .latex import split_name, tidy
from .numbers import Number, parse_number, same_number


def gsm8k_reward(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    `1` for the right number, else `0`.

    The answer is a number and nothing else, in any of the usual dresses: `72`, `\$1,000.00`, `\boxed{\frac{1}{2}}`,
    `48 + 24 = 72`, `72 clips`. A sum that is not worked out is no answer, nor is a number in the reasoning.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[str]`):
            The right numbers, or GSM8K's worked solutions with the number after `####`.

    Returns:
        `list[float | None]`: one reward per completion, `None` where the reference is no number.

    Example:

    ```python
    >>> from trl_diffusion.rewards import gsm8k_reward
    >>> gsm8k_reward(["<answer>72 clips</answer>", "<answer>71</answer>"], answer=["72", "72"])
    [1.0, 0.0]
    ```
    """
    rewards: list[float | None] = []
    for completion, reference in zip(completions, answer, strict=True):
        gold = _number(str(reference).rsplit("####", 1)[-1])
        given = _number(extract_final_answer(completion))
        rewards.append(None if gold is None else float(given is not None and same_number(gold, given)))
    return rewards


# GSM8K's own marks of a calculator, and the sum beside the number. Not a difference, which may be a range.
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_BRACKETS = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_SUM = re.compile(r"(?<=[a-zA-Z])\s*\(\s*[0-9.,]+(?:\s*[+*/]\s*[0-9.,]+)+\s*\)\Z")


def _number(text: str) -> Number | None:
    if len(text) > 300:
        return None
    text = _SUM.sub("", tidy(_CALCULATOR.sub("", text)))
    bracketed = _BRACKETS.fullmatch(text)
    return parse_number(split_name((bracketed[1] or bracketed[2] or "").strip() if bracketed else text)[1])
