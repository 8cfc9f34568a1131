# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion report`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trl import TrlParser

from .parsing import make_parser, parse


DESCRIPTION = """A run on one page that opens from a file: curves, frontiers, samples with a slider over their steps.

examples:
    trl-diffusion report --output_dir trained/ --output_file report.html
    trl-diffusion report --output_dir trained/ --frontier points.jsonl \\
        --generations before.jsonl after.jsonl --task gsm8k \\
        --output_file report.html"""


@dataclass
class ReportArguments:
    """What to show, and where."""

    _argument_group_name = "what to show"

    output_file: str = field(metadata={"help": "The HTML file to write.", "metavar": "FILE"})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of a run: its last state is shown.", "metavar": "FOLDER"}
    )
    generations: list[str] | None = field(
        default=None, metadata={"help": "Files written by `trl-diffusion eval`.", "metavar": "FILE"}
    )
    frontier: str | None = field(
        default=None, metadata={"help": "File of `trl-diffusion frontier`.", "metavar": "FILE"}
    )
    task: str | None = field(
        default=None, metadata={"help": "The task whose reward judges the generations.", "metavar": "TASK"}
    )
    tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "Tokenizer of the model that wrote the generations. By default that of `--output_dir`.",
            "metavar": "MODEL",
        },
    )
    title: str | None = field(default=None, metadata={"help": "By default the folder's name."})
    max_samples: int = field(default=12, metadata={"help": "Samples of each file that are shown."})


def make() -> TrlParser:
    return make_parser("report", DESCRIPTION, ReportArguments)


def run(words: Sequence[str]) -> int:
    (args,) = parse(make(), words)

    from ..evaluation import Generations, load_generations, load_sweep, rewards_of, score
    from ..visualization.report import render_report
    from .arguments import check_size, task_named, tokenizer_of
    from .columns import check_columns
    from .files import path_is, prepare

    check_size("--max_samples", args.max_samples)
    prepare(args.output_file, "--output_file")
    if args.output_dir is None and args.generations is None and args.frontier is None:
        raise ValueError("There is nothing to show: pass `--output_dir`, `--generations` or `--frontier`.")
    samples = {Path(path).stem: load_generations(path) for path in args.generations or []}
    if len(samples) < len(args.generations or []):
        raise ValueError(f"`--generations` has two files of the same name: {', '.join(args.generations)}.")
    where, option = (args.tokenizer, "--tokenizer") if args.tokenizer else (args.output_dir, "--output_dir")
    if samples and where is None:
        raise ValueError("`--generations` need the model's tokenizer: pass `--tokenizer`.")
    evaluations, rewards = {}, {}
    if args.task is not None:
        reward = task_named(args.task).reward
        for name, generations in samples.items():
            check_columns(generations, name, reward, f"--task {args.task}")
        evaluations = {name: score(generations, reward) for name, generations in samples.items()}
        shown = {name: Generations(made.header, made.samples[: args.max_samples]) for name, made in samples.items()}
        rewards = {name: rewards_of(few, reward) for name, few in shown.items()}
    sweeps = None
    if args.frontier is not None:
        with path_is("--frontier"):
            sweeps = load_sweep(args.frontier)
    page = render_report(
        args.title or Path(args.output_dir or args.output_file).stem,
        log_history=[] if args.output_dir is None else log_history(Path(args.output_dir)),
        sweeps=sweeps,
        evaluations=evaluations,
        samples=samples,
        tokenizer=tokenizer_of(where, option) if samples and where else None,
        rewards=rewards,
        max_samples=args.max_samples,
    )
    Path(args.output_file).write_text(page, encoding="utf-8")
    print(args.output_file)
    return 0


def log_history(folder: Path) -> list[dict[str, Any]]:
    """
    What a run has logged.

    Raises:
        `FileNotFoundError`: If there is no state of a run.
    """
    from transformers.trainer_utils import get_last_checkpoint

    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    for place in (folder, *([Path(last)] if last is not None else [])):
        state = place / "trainer_state.json"
        if state.is_file():
            return json.loads(state.read_text())["log_history"]
    raise FileNotFoundError(f"`--output_dir {folder}` has no `trainer_state.json`, nor has a checkpoint in it.")
