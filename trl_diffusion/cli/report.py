# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion report`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import TrlParser

from .parsing import make_parser, parse


if TYPE_CHECKING:
    from ..evaluation import Generations

DESCRIPTION = """A run on one page that opens from a file: in short, what was run, curves, frontiers, and samples with
a slider over their steps. Files of the same problems, as before and after, are compared and shown side by side.

examples:
    trl-diffusion report --output_dir trained/ --output_file report.html
    trl-diffusion report --output_dir trained/ --frontier points.jsonl \\
        --generations before.jsonl after.jsonl --task gsm8k \\
        --output_file report.html"""


TABLES = 20  # of completions that are read, of the first and of the last


@dataclass
class ReportArguments:
    """What to show, and where."""

    _argument_group_name = "what to show"

    output_file: str = field(metadata={"help": "The HTML file to write.", "metavar": "FILE"})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder of a run: its settings and its last state.", "metavar": "FOLDER"}
    )
    generations: list[str] | None = field(
        default=None, metadata={"help": "Files written by `trl-diffusion eval`.", "metavar": "FILE"}
    )
    names: list[str] | None = field(
        default=None, metadata={"help": "Their names. By default those of the files.", "metavar": "NAME"}
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
    max_samples: int = field(
        default=12,
        metadata={"help": "Samples that are shown: the first ones, and as many more that are wrong or were."},
    )


def make() -> TrlParser:
    return make_parser("report", DESCRIPTION, ReportArguments)


def run(words: Sequence[str]) -> int:
    (args,) = parse(make(), words)

    from ..evaluation import load_generations, load_sweep
    from ..visualization.report import render_report
    from .arguments import check_size, tokenizer_of
    from .files import path_is, prepare

    check_size("--max_samples", args.max_samples)
    prepare(args.output_file, "--output_file")
    if args.output_dir is None and args.generations is None and args.frontier is None:
        raise ValueError("There is nothing to show: pass `--output_dir`, `--generations` or `--frontier`.")
    files = args.generations or []
    names = args.names or [Path(path).stem for path in files]
    if len(names) != len(files) or len(set(names)) < len(names):
        raise ValueError(f"`--names` must name each of the {len(files)} files differently, got {', '.join(names)}.")
    samples = {name: load_generations(path) for name, path in zip(names, files, strict=True)}
    where, option = (args.tokenizer, "--tokenizer") if args.tokenizer else (args.output_dir, "--output_dir")
    if samples and where is None:
        raise ValueError("`--generations` need the model's tokenizer: pass `--tokenizer`.")
    sweeps = None
    if args.frontier is not None:
        with path_is("--frontier"):
            sweeps = load_sweep(args.frontier)
    page = render_report(
        args.title or Path(args.output_dir or args.output_file).stem,
        **({} if args.output_dir is None else of_the_run(Path(args.output_dir))),
        sweeps=sweeps,
        **({} if args.task is None else judged(samples, args.task)),
        samples=samples,
        tokenizer=tokenizer_of(where, option) if samples and where else None,
        max_samples=args.max_samples,
    )
    Path(args.output_file).write_text(page, encoding="utf-8")
    print(args.output_file)
    return 0


def judged(samples: dict[str, Generations], task_name: str) -> dict[str, Any]:
    """What a task's reward says of samples, and how the last ones differ from the first."""
    from ..evaluation import rewards_of
    from ..evaluation.comparison import check_prompts, compare_judged
    from ..evaluation.scoring import summarize
    from .arguments import task_named
    from .columns import check_columns

    reward = task_named(task_name).reward
    for name, generations in samples.items():
        check_columns(generations, name, reward, f"--task {task_name}")
    rewards = {name: rewards_of(generations, reward) for name, generations in samples.items()}
    evaluations = {name: summarize(generations, rewards[name]) for name, generations in samples.items()}
    comparison = None
    if len(samples) > 1:
        first, *_, last = samples
        try:
            check_prompts(samples[first], samples[last])
        except ValueError:  # of other problems: they stand beside each other all the same
            pass
        else:
            comparison = compare_judged((samples[first], samples[last]), (rewards[first], rewards[last]))
    return {"rewards": rewards, "evaluations": evaluations, "comparison": comparison}


def of_the_run(folder: Path) -> dict[str, Any]:
    """What a run keeps in its folder."""
    from . import run_record

    history, record = log_history(folder), run_record.read(folder)
    try:
        defaults = None if record is None else run_record.defaults(record["settings"]["method"])
    except KeyError:  # of another version of the library
        defaults = None
    kept = {"log_history": history, "record": record, "defaults": defaults}
    return kept | {"completions": list(completions(folder / "completions"))}


def completions(folder: Path) -> Iterator[dict[str, Any]]:
    """
    What `log_completions` has kept of the beginning and of the end of a run: rows of its tables.

    Raises:
        `ValueError`: If a table is damaged.
    """
    from pyarrow import ArrowInvalid, parquet

    tables = sorted(folder.glob("completions_*.parquet"))
    for path in dict.fromkeys([*tables[:TABLES], *tables[-TABLES:]]):
        try:
            yield from parquet.read_table(path).to_pylist()
        except ArrowInvalid as error:
            raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def log_history(folder: Path) -> list[dict[str, Any]]:
    """
    What a run has logged.

    Raises:
        `FileNotFoundError`: If there is no state of a run.
    """
    from transformers.trainer_utils import get_last_checkpoint

    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    places = (folder, *([Path(last)] if last is not None else []))
    states = [json.loads(file.read_text()) for place in places if (file := place / "trainer_state.json").is_file()]
    if states:  # the folder's is of the end of a run, which may have gone on since
        return max(states, key=lambda state: state["global_step"])["log_history"]
    raise FileNotFoundError(f"`--output_dir {folder}` has no `trainer_state.json`, nor has a checkpoint in it.")
