# SPDX-License-Identifier: Apache-2.0
"""
GSM8K: grade-school word problems whose answer is a number. 7,473 for training, 1,319 for testing.

[GSM8K-Platinum](https://huggingface.co/papers/2502.03461) is a revision of those for testing, 1,209 of them: ambiguous
problems were left out, and wrong answers put right. AGRPO is tested on it.
"""

from __future__ import annotations

from datasets import Dataset

from .hub import load_from_hub, load_sample, map_rows, select
from .prompts import WorkedExample, choose, conversation, instruction
from .splits import Split, check_split


HUB_ID = "openai/gsm8k"
PLATINUM_ID = "madrylab/gsm8k-platinum"
HUB_CONFIG = "main"  # of both
WHAT = "the final number"

EXAMPLES = (
    WorkedExample(
        "A ferry takes 36 cars. It is one third empty when it leaves the harbour. How many cars are on board?",
        "One third of 36 places is 36 / 3 = 12, so 12 places are empty. On board are 36 - 12 = 24 cars.",
        "24",
    ),
    WorkedExample(
        "Ilse knits 4 rows in 10 minutes. A scarf has 120 rows. How many hours does she need for the scarf?",
        "In an hour she knits 6 times as many rows as in 10 minutes, 6 * 4 = 24. She needs 120 / 24 = 5 hours.",
        "5",
    ),
    WorkedExample(
        "A kiosk sells postcards at $0.75 and stamps at $1.10. Tomo buys 8 of each and pays with a $20 bill. How much "
        "change does he get, in dollars?",
        "A postcard with its stamp costs 0.75 + 1.10 = 1.85 dollars. Eight of them cost 8 * 1.85 = 14.80 dollars. The "
        "change is 20 - 14.80 = 5.20 dollars.",
        "5.20",
    ),
    WorkedExample(
        "In an orchard there are 15 rows of 24 trees. A storm fells 10% of them, and half of those are replaced. How "
        "many trees stand there now?",
        "There were 15 * 24 = 360 trees. The storm felled 360 * 10 / 100 = 36. Of these 36 / 2 = 18 were replaced. So "
        "360 - 36 + 18 = 342 trees stand there.",
        "342",
    ),
)


def gold_answer(solution: str) -> str:
    """
    The number at the end of one of the dataset's solutions, after `####`.

    Raises:
        `ValueError`: If there is no such mark.
    """
    if "####" not in solution:
        raise ValueError(f"The solution {solution[:80]!r} has no '####' before its answer.")
    return solution.rsplit("####", 1)[1].strip()


def load(
    split: Split,
    size: int | None = None,
    *,
    seed: int = 0,
    style: str = "reasoning",
    shots: int = 0,
    platinum: bool = False,
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
        style (`str`, *optional*, defaults to `"reasoning"`):
            Prompt format: `"instruct"`, `"reasoning"` or `"boxed"`.
        shots (`int`, *optional*, defaults to `0`):
            Worked examples before each problem, up to four.
        platinum (`bool`, *optional*, defaults to `False`):
            Whether to test on `madrylab/gsm8k-platinum`. It has no problems for training: those are GSM8K's.
        source (`str`, *optional*, defaults to `"hub"`):
            `"hub"` for `openai/gsm8k`, `"sample"` for two dozen problems of the same kind that need no network.
        revision (`str`, *optional*):
            Branch, tag or commit of the split's dataset on the Hub.

    Returns:
        [`~datasets.Dataset`]: columns `prompt` (a conversation) and `answer` (a number as text); of GSM8K-Platinum
        `cleaning_status`, too, which says how its answer was confirmed.

    Raises:
        `ValueError`: If an argument is none of these.
    """
    check_split(split)
    examples, ask = choose(EXAMPLES, shots), "\n\n" + instruction(WHAT, style)
    if source == "hub":
        problems = load_from_hub(PLATINUM_ID if platinum and split == "test" else HUB_ID, HUB_CONFIG, split, revision)
    elif source == "sample":
        problems = load_sample("gsm8k", split)
    else:
        raise ValueError(f"`source` must be 'hub' or 'sample', got {source!r}.")
    return map_rows(
        select(problems, size, seed),
        lambda row: (
            {
                "prompt": conversation(row["question"].strip(), ask, style, examples),
                "answer": gold_answer(row["answer"]),
            }
            | {name: row[name] for name in ("cleaning_status",) if name in row}
        ),
    )
