# SPDX-License-Identifier: Apache-2.0
"""Train every variant on the embedded models, and compare: methods, ablations, controls.

    python -m benchmarks.study run                                    # everything that is missing
    python -m benchmarks.study run --groups methods diffpo --seeds 0 1 2 --jobs 2
    python -m benchmarks.study run --groups methods --tasks countdown
    python -m benchmarks.study table methods                          # or another group, speed, tuning
    python -m benchmarks.study claims                                 # what the papers say, with verdicts
    python -m benchmarks.study curves docs/images/study_curves.png
    python -m benchmarks.study frontier docs/images/study_frontier.png --variants diffpo-speed diffpo-joint
    python -m benchmarks.study page                                   # write the tables into docs/study.md

A run that is there is not made again: all may be stopped at any time, and go on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .claims import judge
from .protocol import FULL, SMOKE, TASKS, Scale
from .records import FOLDER, Study
from .running import Run, make_all
from .tables import LEARNED, NOTHING, PAGE, claims_table, filled, sections
from .tuning import choosing_runs, chosen_rate
from .variants import GROUPS, MAIN, UNTRAINED, VARIANTS


SEEDS = (10, 11, 12)  # those below were seen while the protocol was made


def planned(
    groups: list[str],
    tasks: list[str] | None,
    seeds: list[int],
    scales: dict[str, Scale],
    rates: Callable[[str, str], float],
    folder: Path,
) -> list[Run]:
    """All runs of groups, each once: a seed of all before the next, the untrained models first."""
    wanted = list(pairs(groups, tasks))
    untrained = [Run(UNTRAINED, task, 0, scales[task], 0.0, folder) for task, _ in wanted]
    trained = [
        Run(variant, task, seed, scales[task], rates(task, VARIANTS[variant].method), folder)
        for seed in seeds
        for task, variant in wanted
        if variant != UNTRAINED
    ]
    return list(dict.fromkeys([*untrained, *trained]))


def pairs(groups: list[str], tasks: list[str] | None) -> Iterator[tuple[str, str]]:
    """Tasks and variants of groups."""
    for group in groups:
        for task in tasks or GROUPS[group].tasks:
            for variant in GROUPS[group].variants:
                yield task, variant


def tune(args: argparse.Namespace, scales: dict[str, Scale]) -> int:
    """Search a learning rate for every method that is asked for. Returns how many runs failed."""
    wanted = dict.fromkeys((t, VARIANTS[v].method) for t, v in pairs(args.groups, args.tasks) if v != UNTRAINED)
    failed = 0
    while not failed:
        study = Study.read(args.results)
        runs = [r for task, method in wanted for r in choosing_runs(study, task, method, scales[task], args.results)]
        if not runs:
            break
        failed = make_all(runs, args.jobs)
    return failed


def run(args: argparse.Namespace) -> int:
    scales = SMOKE if args.smoke else FULL
    if tune(args, scales):
        return 1  # what has no learning rate cannot be run
    study = Study.read(args.results)
    rates = partial(chosen_rate, study)
    return int(make_all(planned(args.groups, args.tasks, args.seeds, scales, rates, args.results), args.jobs) > 0)


def table(args: argparse.Namespace) -> int:
    for name, lines in sections(Study.read(args.results)):
        if name.split()[0].removesuffix(LEARNED) in args.names and lines:
            print(f"{name}\n\n" + "\n".join(lines) + "\n")
    return 0


def claims(args: argparse.Namespace) -> int:
    judgements = judge(Study.read(args.results))
    print("\n".join(claims_table(judgements) or [NOTHING]))
    verdicts = [judgement.verdict for judgement in judgements]
    print("\n" + ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts)))
    return 0


def page(args: argparse.Namespace) -> int:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), Study.read(args.results)), encoding="utf-8")
    return 0


def curves(args: argparse.Namespace) -> int:
    from .pictures import draw_curves

    draw_curves(Study.read(args.results), args.task, args.variants or MAIN, args.picture)
    return 0


def frontier(args: argparse.Namespace) -> int:
    from .pictures import draw_frontiers

    draw_frontiers(Study.read(args.results), args.task, args.variants or MAIN, args.picture)
    return 0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(function.__name__, help=description, description=description)
        added.set_defaults(function=function)
        added.add_argument("--results", type=Path, default=FOLDER, help="folder of the records")
        return added

    runs = command(run, "train and measure what is missing")
    runs.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    runs.add_argument("--tasks", nargs="+", choices=list(TASKS), help="default: those of the group")
    runs.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    runs.add_argument("--jobs", type=int, default=2, help="runs at a time")
    runs.add_argument("--smoke", action="store_true", help="two updates, to see that all works; needs --results")
    tables = command(table, "print the tables of groups, or speed, tuning")
    tables.add_argument("names", nargs="*", default=[*GROUPS, "speed", "tuning"])
    command(claims, "print the claims and their verdicts")
    command(page, "write the tables into docs/study.md")
    for function, description in ((curves, "draw accuracy over the training"), (frontier, "draw accuracy and passes")):
        drawing = command(function, description)
        drawing.add_argument("picture", type=Path, help="file to write")
        drawing.add_argument("--task", choices=list(TASKS), default="sudoku")
        drawing.add_argument("--variants", nargs="+", choices=list(VARIANTS), metavar="VARIANT")
    args = parser.parse_args(argv)
    if getattr(args, "smoke", False) and args.results == FOLDER:
        parser.error("--smoke needs a folder of its own: --results FOLDER")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    return args.function(args)


if __name__ == "__main__":
    sys.exit(main())
