# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion train`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..scripts.help import overview
from ..scripts.options import UsageError, unrecognised
from .launching import configurations, launch
from .quiet import register_models
from .train_checks import check_trackers, in_options, problems, warn_of_idle_threshold
from .train_options import TrainArguments, method_names, methods, parser_of, summary


EXAMPLES = """examples:
    trl-diffusion train {method} --task sudoku --output_dir sudoku \\
        --model_name_or_path embedded/sudoku --max_completion_length 20 \\
        --block_length 20 --learning_rate 2e-4 --max_steps 60
    trl-diffusion train {method} --config recipe.yaml --learning_rate 2e-6
    trl-diffusion train {method} --config recipe.yaml --accelerate_config zero3 \\
        --num_processes 8
    trl-diffusion train {method} --config recipe.yaml \\
        --dataset_name me/problems --reward my_rewards:accuracy

All that is no option of this command goes to `accelerate launch`; `--accelerate_config` takes a file, or one of
{configs}.

Started again with the same `--output_dir`, a run goes on from its last checkpoint, if it is the same run: method,
model, data and settings may not have changed, but for its length, and for where and how often things are written."""


def run(words: Sequence[str]) -> int:
    names = method_names()
    if words[:1] in (["-h"], ["--help"]):
        what = "Train a model by a method, on a task or on a dataset of your own."
        more = "`trl-diffusion train <method> --help` describes the options of a method: its own, and TRL's."
        listed = {name: summary(name) for name in names}
        print(overview("trl-diffusion train <method>", what, "methods", listed, examples("diffpo"), more))
        return 0
    if not words or words[0].startswith("-"):
        raise UsageError(f"`train` needs a method, before its options: one of {', '.join(names)}.")
    if words[0] not in names:
        raise UsageError(f"{unrecognised(words[:1], names)}; methods are {', '.join(names)}.")
    return _run(words[0], list(words[1:]), *methods()[words[0]])


def examples(method: str) -> str:
    """How a method is called."""
    return EXAMPLES.format(method=method, configs=", ".join(configurations()))


def _run(method: str, words: list[str], config: type, trainer: type) -> int:
    from .arguments import check_thresholds

    parser = parser_of(method, config, f"Train by {summary(method)}\n\n{examples(method)}")
    try:
        *parsed, from_config, from_words = parser.parse_args_and_config(
            list(words), return_remaining_strings=True, separate_remaining_strings=True
        )
    except ValueError as error:
        raise in_options(error) from error
    # A file's thresholds are of the file's rule: another one on the command line does without them.
    thresholds = parser.typed if "unmasking" in parser.typed else parser.given
    check_thresholds(parsed[1].unmasking, thresholds, "unmasking" in parsed[1].refused())
    check_trackers(parsed[1].report_to)
    if "LOCAL_RANK" not in os.environ and (from_config or from_words):
        return launch(parser, method, words, from_config, from_words)
    register_models()
    if parsed[1].process_index == 0:
        warn_of_idle_threshold(parsed[0], parsed[1])
    return _train(method, trainer, *parsed)  # what is left of a file is the launcher's


def _train(method: str, trainer_class: Any, args: TrainArguments, config: Any, model_args: Any) -> int:
    from transformers.trainer_utils import get_last_checkpoint
    from trl import get_peft_config, get_quantization_config

    from . import run_record
    from .arguments import model_path

    if model_args.model_name_or_path is None:
        raise UsageError("`--model_name_or_path` says which model to train.")
    folder = Path(config.output_dir)
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    settings = run_record.describe(method, args, config, model_args, processes=config.world_size)
    if checkpoint is not None:
        run_record.check_same_run(folder, settings)
        run_record.check_length(folder, config.max_steps, updates_of(checkpoint))
    model = model_path(model_args.model_name_or_path)
    dataset, rewards = problems(args, model_args.model_name_or_path, config.max_completion_length)
    config.model_init_kwargs = (config.model_init_kwargs or {}) | {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }
    trainer = trainer_class(
        model=model,
        reward_funcs=rewards,
        args=config,
        train_dataset=dataset,
        quantization_config=get_quantization_config(model_args),
        peft_config=get_peft_config(model_args),
    )
    _go_on(trainer, folder, checkpoint, settings, args.dataset_name)
    return 0


def _go_on(
    trainer: Any, folder: Path, checkpoint: str | None, settings: dict[str, Any], dataset_name: str | None
) -> None:
    """Train from a checkpoint, or from the beginning; save and push what there is to save and to push."""
    from . import run_record

    config = trainer.args
    record = None if checkpoint is None else run_record.read(folder)
    saved = None if record is None else record.get("saved")
    if checkpoint is not None and record is None:
        # The model in the folder is taken for that of the last checkpoint: it is not known which one it is.
        saved = updates_of(checkpoint) if any(folder.glob("*model*.safetensors")) else None
        if config.should_save:
            print(
                f"`--output_dir {folder}` holds a run without a record of its settings ({run_record.FILE}): it is "
                "continued with the settings given here.",
                file=sys.stderr,
            )
    if config.should_save and record is None:
        run_record.write(folder, settings, saved)
    trainer.train(resume_from_checkpoint=checkpoint)
    updates = trainer.state.global_step
    if saved == updates:
        if trainer.is_world_process_zero():
            print(f"run is complete: {updates} of {trainer.state.max_steps} updates")
    else:
        trainer.save_model(str(folder))
        trainer.save_state()  # with the last logs, which no checkpoint may have
        if config.should_save:
            run_record.write(folder, settings if record is None else record["settings"], updates)
    if config.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset_name)


def updates_of(checkpoint: str) -> int:
    """How many updates a checkpoint has seen."""
    return int(Path(checkpoint).name.rsplit("-", 1)[1])
