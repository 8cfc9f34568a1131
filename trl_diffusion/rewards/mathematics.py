# SPDX-License-Identifier: Apache-2.0
"""Reward for mathematics with answers of all kinds, such as MATH's."""

from __future__ import annotations

from typing import Any

from .answers import parse_answer
from .equivalence import equivalent, parse_gold
from .expressions import require_math_verify
from .extraction import extract_final_answer


def math_reward(completions: list[Any], answer: list[str], **kwargs: Any) -> list[float | None]:
    r"""
    `1` for an answer that equals the reference, else `0`.

    It differs from TRL's `accuracy_reward`, which uses math-verify as well, where that would pay for wrong answers, or
    not pay for right ones:

    - The answer may stand in `<answer>` tags, too, and has to be all that stands there.
    - Numbers are compared exactly, not to six digits. `9%` is not always `9`.
    - Pairs and intervals keep their order and their brackets; only lists and sets come in any order.
    - Where the reference is a number, `2^{10}` or `\sin 30^\circ` is no answer: computing it was the task.
    - What is too large to compute is not computed. Beside, there is a limit of CPU time, which leaves alarms alone;
      outside the main thread there is none: see [`~trl_diffusion.rewards.with_time_limit`].

    `docs/tasks.md` has the rules.

    Args:
        completions (`list`):
            Completions, plain or conversational.
        answer (`list[str]`):
            The references: the answer alone, in LaTeX.

    Returns:
        `list[float | None]`: one reward per completion, `None` where the reference cannot be read.

    Raises:
        `ImportError`: Without math-verify: `pip install trl-diffusion[math]`.

    Example:

    ```python
    >>> from trl_diffusion.rewards import math_reward
    >>> math_reward([r"So it is $\boxed{\dfrac{2}{4}}$.", r"\boxed{2}"], answer=[r"\frac{1}{2}", r"\sqrt{2}"])
    [1.0, 0.0]
    ```
    """
    require_math_verify()
    rewards: list[float | None] = []
    for completion, reference in zip(completions, answer, strict=True):
        gold = parse_gold(str(reference))
        given = parse_answer(extract_final_answer(completion))
        rewards.append(None if gold is None else float(given is not None and equivalent(gold, given)))
    return rewards
