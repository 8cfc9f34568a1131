# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trl import TrlParser

from .parsing import make_parser, parse


DESCRIPTION = """Score answers that `trl-diffusion eval` has kept, without the model; or compare two sets of them.

examples:
    trl-diffusion score --generations before.jsonl --task gsm8k
    trl-diffusion score --generations before.jsonl after.jsonl --task gsm8k
    trl-diffusion score --generations before.jsonl --reward my_rewards:strict

Two files are compared if they were decoded alike; `--allow_different_settings` is for comparing decoders."""


@dataclass
class ScoreArguments:
    """Which answers, and who judges them."""

    _argument_group_name = "answers and their judge"

    generations: list[str] = field(
        metadata={"help": "One file, or two of the same problems to compare.", "metavar": "FILE"}
    )
    task: str | None = field(
        default=None, metadata={"help": "A task by its name, whose reward judges.", "metavar": "TASK"}
    )
    reward: str | None = field(
        default=None, metadata={"help": "Another judge: 'module:function'.", "metavar": "FUNCTION"}
    )
    allow_different_settings: bool = field(
        default=False,
        metadata={"help": "Compare two files all the same that were decoded differently, and say in what."},
    )
    json: bool = field(default=False, metadata={"help": "Print one line of JSON, for programs, instead of tables."})


def make() -> TrlParser:
    return make_parser("score", DESCRIPTION, ScoreArguments)


def run(words: Sequence[str]) -> int:
    (args,) = parse(make(), words)

    from ..evaluation import compare, load_generations, score
    from .arguments import task_named
    from .columns import check_columns
    from .figures import as_json
    from .imports import import_function
    from .tables import print_comparison, print_evaluation

    if (args.task is None) == (args.reward is None):
        raise ValueError("Either `--task` or `--reward` says who judges.")
    if len(args.generations) > 2:
        raise ValueError(f"`--generations` takes one file, or two to compare, got {len(args.generations)}.")
    reward = task_named(args.task).reward if args.task is not None else import_function(args.reward, "--reward")
    sets = [load_generations(path) for path in args.generations]
    judge = f"--task {args.task}" if args.reward is None else f"--reward {args.reward}"
    for path, generations in zip(args.generations, sets, strict=True):
        check_columns(generations, path, reward, judge)
    evaluations = {path: score(generations, reward) for path, generations in zip(args.generations, sets, strict=True)}
    if not args.json:
        for path, evaluation in evaluations.items():
            print_evaluation(path, evaluation)
    comparison = None
    if len(sets) == 2:  # may be refused, when the figures of each are there
        before, after = sets
        comparison = compare(before, after, reward, allow_different_settings=args.allow_different_settings)
    if args.json:
        print(as_json(evaluations, comparison))
    elif comparison is not None:
        first, second = args.generations
        print_comparison(first, second, comparison)
    return 0
