# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion frontier`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trl import TrlParser

from .parsing import make_parser, parse


DESCRIPTION = """Accuracy against forward passes: the same problems under many decoders, for one or several models.

    trl-diffusion frontier --models embedded/sudoku trained/ --names before after --task sudoku --size 200 \\
        --output_file frontier.json --picture frontier.png

Points that are in the file are not measured again."""


@dataclass
class FrontierArguments:
    """Which models, under which decoders."""

    models: list[str] = field(metadata={"help": "Ids on the Hub, folders, or embedded models."})
    output_file: str = field(metadata={"help": "JSON file for the points."})
    names: list[str] | None = field(default=None, metadata={"help": "Their names. By default as `--models`."})
    picture: str | None = field(default=None, metadata={"help": "File for a picture; needs matplotlib."})
    generations_dir: str | None = field(default=None, metadata={"help": "Folder for all answers, a file per point."})
    entropy_bounds: list[float] | None = field(default=None, metadata={"help": "Bounds to try, in nats."})
    confidence_thresholds: list[float] | None = field(default=None, metadata={"help": "Thresholds to try."})
    tokens_per_step: list[int] | None = field(default=None, metadata={"help": "Fixed schedules to try."})
    dtype: str = field(default="auto", metadata={"help": "'auto', 'float32' or 'bfloat16'."})
    device: str | None = field(default=None, metadata={"help": "By default a GPU, if there is one."})
    batch_size: int = field(default=64, metadata={"help": "Answers that are decoded at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampling."})


def make() -> TrlParser:
    from .arguments import DecodingArguments, TaskArguments

    return make_parser("frontier", DESCRIPTION, TaskArguments, FrontierArguments, DecodingArguments)


def run(words: Sequence[str]) -> int:
    task_args, args, decoding = parse(make(), words)

    from ..evaluation import frontier, frontier_settings, sweep
    from .arguments import ModelArguments, decoder_of, load_model, load_problems
    from .tables import print_frontiers

    names = args.names or args.models
    if len(names) != len(args.models) or len(set(names)) != len(names):
        raise ValueError(f"`names` must name each of the {len(args.models)} models differently, got {names}.")
    grid = {
        name: values
        for name in ("entropy_bounds", "confidence_thresholds", "tokens_per_step")
        if (values := getattr(args, name)) is not None
    }
    points = {}
    for name, path in zip(names, args.models, strict=True):
        task, dataset = load_problems(task_args, path)
        model, tokenizer = load_model(ModelArguments(path, dtype=args.dtype, device=args.device))
        canvas = {"max_new_tokens": task.completion_length, "block_length": task.block_length, "temperature": 0.0}
        points[name] = sweep(
            model,
            tokenizer,
            dataset,
            task.reward,
            frontier_settings(decoder_of(model, decoding, **canvas), **grid),
            args.output_file,
            name=name,
            generations_dir=args.generations_dir,
            batch_size=args.batch_size,
            seed=args.seed,
        )
    print_frontiers({name: frontier(evaluations) for name, evaluations in points.items()})
    if args.picture:
        from ..evaluation.plots import plot_frontiers

        plot_frontiers(points, args.picture, title=task.name)
    return 0
