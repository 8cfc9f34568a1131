# SPDX-License-Identifier: Apache-2.0
r"""
MATH: competition problems with answers of all kinds, in LaTeX.

Tested on MATH-500, 500 of the benchmark's problems, and trained on the others. A training problem whose text occurs in
MATH-500 is left out.
"""

from __future__ import annotations

from datasets import Dataset

from ..rewards.extraction import last_boxed
from .hub import load_from_hub, load_sample, map_rows, select
from .prompts import WorkedExample, choose, conversation, instruction
from .splits import Split, check_split


TEST_ID = "HuggingFaceH4/MATH-500"
TRAIN_ID = "ankner/math-500"
WHAT = "the final answer"

EXAMPLES = (
    WorkedExample(
        r"For which positive number $x$ is $x^2 + 4x = 45$?",
        r"We complete the square: $(x+2)^2 = 45 + 4 = 49$. As $x$ is positive, $x + 2 = 7$, so $x = 5$.",
        "5",
    ),
    WorkedExample(
        "Two fair dice are rolled. What is the probability that the sum of their numbers is 9?",
        r"Of the $6 \cdot 6 = 36$ outcomes, the sum is 9 for $3+6$, $4+5$, $5+4$ and $6+3$. The probability is "
        r"$\frac{4}{36} = \frac{1}{9}$.",
        r"\frac{1}{9}",
    ),
    WorkedExample(
        r"A right triangle has legs of length 4 and 6. How long is its hypotenuse?",
        r"By the theorem of Pythagoras it is $\sqrt{4^2 + 6^2} = \sqrt{52} = 2\sqrt{13}$.",
        r"2\sqrt{13}",
    ),
    WorkedExample(
        r"For which real numbers $x$ is $|2x - 3| \le 7$? Give the answer in interval notation.",
        r"The inequality says $-7 \le 2x - 3 \le 7$. We add 3 to get $-4 \le 2x \le 10$, and halve: $-2 \le x \le 5$.",
        "[-2,5]",
    ),
)


def load(
    split: Split,
    size: int | None = None,
    *,
    seed: int = 0,
    style: str = "boxed",
    shots: int = 0,
    max_level: int = 5,
    source: str = "hub",
    revision: str | None = None,
) -> Dataset:
    """
    Load problems.

    Args:
        split (`str`):
            `"train"` or `"test"`.
        size (`int`, *optional*):
            Number of problems, drawn with `seed`. All by default.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the drawing.
        style (`str`, *optional*, defaults to `"boxed"`):
            Prompt format: `"instruct"`, `"reasoning"` or `"boxed"`.
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before each problem, up to four.
        max_level (`int`, *optional*, defaults to `5`):
            The hardest level, from 1 to 5. AGRPO trains up to 4.
        source (`str`, *optional*, defaults to `"hub"`):
            `"hub"` for `ankner/math-500` (training) and `HuggingFaceH4/MATH-500` (testing), `"sample"` for two dozen
            problems of the same kind that need no network.
        revision (`str`, *optional*):
            Branch, tag or commit of the split's dataset on the Hub.

    Returns:
        [`~datasets.Dataset`]: columns `prompt` (a conversation), `answer` (LaTeX), `subject` and `level`.

    Raises:
        `ValueError`: If an argument is none of these.
    """
    check_split(split)
    if max_level not in range(1, 6):
        raise ValueError(f"`max_level` must be a level from 1 to 5, got {max_level!r}.")
    examples, ask = choose(EXAMPLES, shots), "\n\n" + instruction(WHAT, style)
    if source == "hub" and split == "train":
        tested = {_key(problem) for problem in load_from_hub(TEST_ID, None, "test", None)["problem"]}
        problems = load_from_hub(TRAIN_ID, None, "train", revision)
        problems = problems.filter(lambda row: _key(row["problem"]) not in tested)
    elif source == "hub":
        problems = load_from_hub(TEST_ID, None, "test", revision)
    elif source == "sample":
        problems = load_sample("math", split)
    else:
        raise ValueError(f"`source` must be 'hub' or 'sample', got {source!r}.")
    if max_level < 5:
        problems = problems.filter(lambda row: _level(row) <= max_level)
    return map_rows(
        select(problems, size, seed),
        lambda row: {
            "prompt": conversation(row["problem"].strip(), ask, style, examples),
            "answer": gold_answer(row),
            "subject": row.get("subject", row.get("type", "")),
            "level": _level(row),
        },
    )


def gold_answer(row: dict) -> str:
    """The answer of one of the dataset's rows: its column `answer`, else the last box of its `solution`."""
    return row["answer"] if row.get("answer") else last_boxed(row["solution"]) or ""


def _key(problem: str) -> str:
    return "".join(problem.split())


def _level(row: dict) -> int:
    """`3` of `3` and of `Level 3`. Two of MATH's problems have none: they count as the hardest."""
    digits = "".join(c for c in str(row["level"]) if c.isdigit())
    return int(digits) if digits else 5
