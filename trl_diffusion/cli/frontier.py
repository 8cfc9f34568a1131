# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion frontier`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl import TrlParser

from .arguments import DEVICE, DTYPE
from .parsing import make_parser, parse


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from .. import DiffusionGenerationConfig
    from ..tasks import Task

DESCRIPTION = """Accuracy against forward passes: the same problems under many decoders, for one or several models.

examples:
    trl-diffusion frontier --models embedded/sudoku --task sudoku \\
        --size 50 --output_file points.jsonl
    trl-diffusion frontier --models base/ trained/ --names before after \\
        --task gsm8k --output_file points.jsonl --picture frontier.png
    accelerate launch --num_processes 8 -m trl_diffusion.cli frontier \\
        --config frontier.yaml

Points that are in the file are not measured again. A model that has learned its thresholds is also decoded with them:
a star in the picture."""
_SHARED = """One temperature and one canvas for all models: what you set, else what the model of `--decoder_from`
carries. Without it the models that carry settings must agree; where none does, it is as in [brackets]."""
# What a frontier goes through.
_VARIED = ("unmasking", "entropy_bound", "confidence_threshold", "max_denoising_steps", "learned_threshold")


@dataclass
class FrontierArguments:
    """Which models, under which decoders."""

    _argument_group_name = "models and decoders"

    models: list[str] = field(metadata={"help": "Ids on the Hub, folders, or embedded models.", "metavar": "MODEL"})
    output_file: str = field(
        metadata={"help": "File for the points: JSON lines, a header and a line per point.", "metavar": "FILE"}
    )
    names: list[str] | None = field(
        default=None, metadata={"help": "Their names. By default as `--models`.", "metavar": "NAME"}
    )
    picture: str | None = field(
        default=None, metadata={"help": "File for a picture; needs matplotlib.", "metavar": "FILE"}
    )
    generations_dir: str | None = field(
        default=None, metadata={"help": "Folder for all answers, a file per point.", "metavar": "FOLDER"}
    )
    decoder_from: str | None = field(
        default=None,
        metadata={"help": "The model whose temperature and canvas are those of all.", "metavar": "MODEL"},
    )
    entropy_bounds: list[float] | None = field(
        default=None, metadata={"help": "Bounds to try, in nats. By default twelve from 0.01 to 8."}
    )
    confidence_thresholds: list[float] | None = field(
        default=None, metadata={"help": "Thresholds to try. By default twelve from 0.95 to 0.3."}
    )
    tokens_per_step: list[int] | None = field(
        default=None, metadata={"help": "Fixed schedules to try. By default 1, 2 and 4."}
    )
    dtype: str = field(default="auto", metadata=DTYPE)
    device: str | None = field(default=None, metadata=DEVICE)
    num_samples: int = field(
        default=1, metadata={"help": "Answers per problem. More make each point of sampled decoders surer."}
    )
    batch_size: int = field(default=64, metadata={"help": "Answers that are decoded at a time."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampling. The problems are the same for every seed."})


def make() -> TrlParser:
    from .arguments import TASKS_CANVAS, TaskArguments, decoding_arguments

    return make_parser(
        "frontier", DESCRIPTION, TaskArguments, FrontierArguments, decoding_arguments(TASKS_CANVAS, _VARIED, _SHARED)
    )


def run(words: Sequence[str]) -> int:
    task_args, args, decoding = parse(make(), words)

    from ..evaluation import frontier, frontier_settings, sweep
    from .arguments import ModelArguments, load_model, load_problems, processes_of, task_named
    from .files import path_is
    from .tables import print_frontiers

    names = args.names or args.models
    if len(names) != len(args.models) or len(set(names)) != len(names):
        raise ValueError(f"`names` must name each of the {len(args.models)} models differently, got {names}.")
    _check_files(args)
    grid = {
        name: values
        for name in ("entropy_bounds", "confidence_thresholds", "tokens_per_step")
        if (values := getattr(args, name)) is not None
    }
    decoder, source = shared_decoder(args.models, args.decoder_from, decoding, task_named(task_args.task))
    frontier_settings(decoder, **grid)  # what has no meaning is found now
    processes = processes_of(args.device)
    if processes.is_main_process:
        canvas = f"{decoder.max_new_tokens} tokens in blocks of {decoder.block_length}"
        print(f"All models: temperature {decoder.temperature}, {canvas}; as on the command line, else {source}.")
    points = {}
    for name, path in zip(names, args.models, strict=True):
        task, dataset = load_problems(task_args, path)
        model, tokenizer = load_model(ModelArguments(path, dtype=args.dtype, device=args.device))
        with path_is("--output_file"):
            points[name] = sweep(
                model,
                tokenizer,
                dataset,
                task.reward,
                settings_for(model, decoder, grid),
                args.output_file,
                name=name,
                generations_dir=args.generations_dir,
                num_samples=args.num_samples,
                batch_size=args.batch_size,
                seed=args.seed,
                accelerator=processes if processes.num_processes > 1 else None,
            )
    if processes.is_main_process:
        print_frontiers({name: frontier(evaluations) for name, evaluations in points.items()})
        if args.picture:
            from ..evaluation.plots import plot_frontiers

            plot_frontiers(
                points, args.picture, title=task_args.task, problems=f"{task_args.task}, {task_args.split} split"
            )
    return 0


def settings_for(
    model: PreTrainedModel, decoder: DiffusionGenerationConfig, grid: dict[str, Any]
) -> list[DiffusionGenerationConfig]:
    """The decoders of the grid, and the model's own thresholds, if it has learned to choose them."""
    from ..evaluation import frontier_settings
    from ..models import threshold_policy
    from .arguments import ends_of

    decoder = replace(decoder, eos_token_ids=ends_of(model))
    settings, policy = frontier_settings(decoder, **grid), threshold_policy(model)
    if policy is not None:
        learned = replace(decoder, unmasking=policy.config.rule, max_denoising_steps=None, learned_threshold="greedy")
        settings.append(learned)
    return settings


def shared_decoder(
    models: Sequence[str], decoder_from: str | None, decoding: Any, task: Task
) -> tuple[DiffusionGenerationConfig, str]:
    """
    One decoder for all models, but for ends of text, rules and thresholds: models are compared, not decoders.

    Args:
        models (`Sequence[str]`):
            Ids, folders or embedded models.
        decoder_from (`str`, *optional*):
            The one that decides.
        decoding:
            What was said, as [`~trl_diffusion.cli.arguments.decoding_arguments`] has it.
        task ([`~trl_diffusion.tasks.Task`]):
            Whose canvas it is if nothing else decides.

    Returns:
        `tuple[DiffusionGenerationConfig, str]`: the settings, and where they are from, in words.

    Raises:
        `ValueError`: If the models carry different ones, and nobody decides.
    """
    from .. import DiffusionGenerationConfig
    from .arguments import model_path, said, settings_from

    chosen = said(decoding)
    fixed = chosen | {"learned_threshold": "off"}
    if decoder_from is not None:
        carried = {decoder_from: settings_from(decoder_from, **fixed)}
    else:
        carried = {
            name: DiffusionGenerationConfig.from_pretrained(path, **fixed)
            for name in models
            if DiffusionGenerationConfig.carried_by(path := model_path(name, "--models"))
        }
    if not carried:
        canvas = {"max_new_tokens": task.completion_length, "block_length": task.block_length, "temperature": 0.0}
        return DiffusionGenerationConfig(**canvas | chosen), "as the task has it"
    (first, decoder), *others = carried.items()
    for name, other in others:
        one, two = map(_beside_the_rule, (decoder, other))
        if one != two:
            listed = ", ".join(f"{key} {one[key]!r} and {two[key]!r}" for key in one if one[key] != two[key])
            raise ValueError(
                f"{first} and {name} carry different decoding settings: {listed}. Say them "
                f"(`--{next(key for key in one if one[key] != two[key])} ...`), or take those of one model: "
                f"`--decoder_from {first}`."
            )
    return decoder, f"as {' and '.join(carried)} {'carries' if len(carried) == 1 else 'carry'} it"


def _beside_the_rule(config: DiffusionGenerationConfig) -> dict[str, Any]:
    """All settings that a sweep leaves as they are."""
    settings = replace(config, unmasking="entropy_bound", entropy_bound=0.0, max_denoising_steps=None).effective()
    del settings["eos_token_ids"]
    return settings


def _check_files(args: FrontierArguments) -> None:
    """Find what cannot be written while there is no work to lose."""
    from .files import prepare

    prepare(args.output_file, "--output_file")
    if args.picture is not None:
        from matplotlib.figure import Figure

        prepare(args.picture, "--picture")
        kinds, kind = Figure().canvas.get_supported_filetypes(), Path(args.picture).suffix.removeprefix(".")
        if kind and kind not in kinds:
            raise ValueError(f"`--picture {args.picture}`: pictures are of the kinds {', '.join(sorted(kinds))}.")
