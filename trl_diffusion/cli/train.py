# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion train`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..scripts.options import options_of, unrecognised
from .parsing import in_two_words, make_parser
from .quiet import register_models


# Trackers, with the packages that they need.
_TRACKERS = {"comet_ml": "comet-ml"} | {
    name: name for name in ("clearml", "codecarbon", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb")
}
DESCRIPTION = """Train a model by a method, on a task or on a dataset of your own.

    trl-diffusion train diffpo --model_name_or_path embedded/sudoku --task sudoku --output_dir sudoku \\
        --max_completion_length 20 --block_length 20 --max_steps 60
    trl-diffusion train dmpo --config recipe.yaml --learning_rate 2e-6
    trl-diffusion train agrpo --config recipe.yaml --accelerate_config zero3 --num_processes 8
    trl-diffusion train diffpo --config recipe.yaml --dataset_name me/problems --reward my_rewards:accuracy

Methods: {methods}. Their options are those of TRL's GRPOConfig, and their own; a model's, those of TRL's ModelConfig;
all that is none of these goes to `accelerate launch`, and `--accelerate_config` takes one of {configs}, or a file.
Started again with the same `--output_dir`, a run goes on from its last checkpoint, if it is the same run: method,
model, data and settings may not have changed, but for its length, and for where and how often things are written."""


@dataclass
class TrainArguments:
    """What to learn."""

    task: str | None = field(default=None, metadata={"help": "A task by its name: its problems and its rewards."})
    style: str | None = field(
        default=None,
        metadata={"help": "The task's prompt format; by default 'reasoning', and 'compact' for the embedded models."},
    )
    train_size: int | None = field(default=None, metadata={"help": "Number of problems; all by default."})
    task_options: dict | str | None = field(
        default=None, metadata={"help": "More options of the task's loader, as JSON: '{\"shots\": 4}'."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Instead of a task: a dataset with a column 'prompt', and those of `reward`."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Its split."})
    reward: list[str] | None = field(
        default=None, metadata={"help": "Instead of the task's: functions as TRL takes them, 'module:function'."}
    )
    speed_bonus: float | None = field(
        default=None,
        metadata={"help": "What a right answer to the task would earn on top in no time, as a share of its reward."},
    )


def configurations() -> list[str]:
    """Names of the engines' configurations that come with the library."""
    folder = files("trl_diffusion") / "accelerate_configs"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def method_names() -> list[str]:
    """Names of the methods: each has a file."""
    folder = files("trl_diffusion") / "trainer"
    names = {path.name.removesuffix("_trainer.py") for path in folder.iterdir() if path.name.endswith("_trainer.py")}
    return sorted(names - {"base"})


def methods() -> dict[str, tuple[type, type]]:
    """Configuration and trainer of each method, by its name."""
    from .. import trainer

    names = [name.removesuffix("Trainer") for name in trainer.__all__ if name.endswith("Trainer")]
    names.remove("DiffusionGRPO")  # the base of all
    kinds = {name: (getattr(trainer, f"{name}Config"), getattr(trainer, f"{name}Trainer")) for name in names}
    return {
        method.__module__.rsplit(".", 1)[1].removesuffix("_trainer"): (config, method)
        for config, method in kinds.values()
    }


def run(words: Sequence[str]) -> int:
    names = method_names()
    description = DESCRIPTION.format(methods=", ".join(names), configs=", ".join(configurations()))
    if not words or words[0] in ("-h", "--help"):
        if not words:
            print(f"error: `train` needs a method: one of {', '.join(names)}", file=sys.stderr)
            return 2
        print(f"usage: trl-diffusion train <method> [options]\n\n{description}")
        return 0
    if words[0] not in names:
        print(f"error: {unrecognised(words[:1], names)}; methods are {', '.join(names)}", file=sys.stderr)
        return 2
    return _run(words[0], list(words[1:]), *methods()[words[0]], description)


def parser_of(method: str, config: type, description: str = "") -> Any:
    """The options of a method."""
    from trl import ModelConfig

    return make_parser(f"train {method}", description, TrainArguments, config, ModelConfig)


def _own_problems(name: str, split: str) -> Any:
    """
    A dataset of the user's.

    Raises:
        `ValueError`: If it cannot be read, for reasons of which each format has its own.
    """
    from datasets import load_dataset

    try:
        return load_dataset(name, split=split)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # `datasets` says what happened only in the first of them
            cause = cause.__cause__
        said = " ".join(f"{cause}".split()) or type(cause).__name__
        empty = "; is it empty?" if isinstance(cause, StopIteration) else "."
        raise ValueError(f"`--dataset_name {name}` cannot be read: {said.removesuffix('.')}{empty}") from error


def _run(method: str, words: list[str], config: type, trainer: type, description: str) -> int:
    from .arguments import check_thresholds

    parser = parser_of(method, config, description)
    try:
        *parsed, from_config, from_words = parser.parse_args_and_config(
            list(words), return_remaining_strings=True, separate_remaining_strings=True
        )
    except ValueError as error:
        raise _in_options(error) from error
    if "LOCAL_RANK" not in os.environ and (from_config or from_words):
        return _launch(parser, method, words, [*from_config, *from_words], from_words)
    register_models()
    check_thresholds(parsed[1].unmasking, parser.given)
    check_trackers(parsed[1].report_to)
    return _train(method, trainer, *parsed)  # what is left of a file is the launcher's


def _in_options(error: ValueError) -> ValueError:
    """TRL's error about numbers that it has computed, in options that one can set."""
    found = re.match(r"generation_batch_size \((\d+)\) must be divisible by num_generations \((\d+)\)", str(error))
    if found is None:
        return error
    completions, group = found.groups()
    return ValueError(
        f"`--num_generations {group}` does not divide the {completions} completions of a rollout: they are "
        "`--per_device_train_batch_size` times `--gradient_accumulation_steps` (or `--steps_per_generation`) times "
        "the number of processes. Change one of these."
    )


def check_trackers(names: Sequence[str]) -> None:
    """
    Raises:
        `ImportError`: If the package of a tracker is not installed, which would be found when the model is loaded.
    """
    from transformers.integrations import get_available_reporting_integrations

    installed = get_available_reporting_integrations()
    for name in names:
        if name in _TRACKERS and name not in installed:
            package = _TRACKERS[name]
            raise ImportError(
                f"`--report_to {name}` needs the package `{package}`: `pip install {package}`, or `--report_to none`."
            )


def _launch(parser: Any, method: str, words: list[str], launch_words: list[str], from_words: list[str]) -> int:
    """Start this command again in many processes, with what is left of its words."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    launcher = launch_command_parser()
    launch_words = _with_config_file(launch_words)
    # The launcher takes the rest of the line as the script's own.
    _, unknown = launcher.parse_known_args([*launch_words, "script"])
    if unknown:
        parser.error(unrecognised(unknown, options_of(parser) + options_of(launcher)))
    own = _without(words, from_words)
    launch_command(launcher.parse_args([*launch_words, "--module", "trl_diffusion.cli", "train", method, *own]))
    return 0


def _without(words: list[str], taken: list[str]) -> list[str]:
    """What the parser has not left over: `taken` are some of the words, in their order."""
    rest, left_over = [], list(taken)
    for word in words:
        if left_over and word == left_over[0]:
            left_over.pop(0)
        else:
            rest.append(word)
    return rest


def _with_config_file(words: list[str]) -> list[str]:
    """`--accelerate_config name` as the launcher takes it."""
    words = in_two_words(words, "--accelerate_config")
    if "--accelerate_config" not in words:
        return words
    place = words.index("--accelerate_config")
    if place + 1 == len(words):
        raise ValueError("`--accelerate_config` needs a value.")
    name = words[place + 1]
    path = (
        Path(name) if Path(name).is_file() else Path(str(files("trl_diffusion") / f"accelerate_configs/{name}.yaml"))
    )
    if not path.is_file():
        raise ValueError(f"`--accelerate_config {name}` is no file, and none of {', '.join(configurations())}.")
    return ["--config_file", str(path), *words[:place], *words[place + 2 :]]


def _train(method: str, trainer_class: Any, args: TrainArguments, config: Any, model_args: Any) -> int:
    from transformers.trainer_utils import get_last_checkpoint
    from trl import get_peft_config, get_quantization_config

    from . import run_record
    from .arguments import model_path

    if model_args.model_name_or_path is None:
        raise ValueError("`--model_name_or_path` says which model to train.")
    folder = Path(config.output_dir)
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    settings = run_record.describe(method, args, config, model_args, processes=config.world_size)
    if checkpoint is not None:
        run_record.check_same_run(folder, settings)
        run_record.check_length(folder, config.max_steps, updates_of(checkpoint))
    model = model_path(model_args.model_name_or_path)
    dataset, rewards = _problems(args, model_args.model_name_or_path, config.max_completion_length)
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
        if config.should_save:
            run_record.write(folder, settings if record is None else record["settings"], updates)
    if config.push_to_hub:
        trainer.push_to_hub(dataset_name=dataset_name)


def updates_of(checkpoint: str) -> int:
    """How many updates a checkpoint has seen."""
    return int(Path(checkpoint).name.rsplit("-", 1)[1])


def _problems(args: TrainArguments, model_name: str, max_nfe: int) -> tuple[Any, list[Any]]:
    """The dataset, and the rewards."""
    from ..rewards import with_speed_bonus
    from .arguments import check_size, problems_of, style_of, task_named
    from .imports import import_function

    if (args.task is None) == (args.dataset_name is None):
        raise ValueError("Either `--task` or `--dataset_name` says what to learn.")
    if args.speed_bonus is not None and (args.task is None or args.reward):
        raise ValueError("`--speed_bonus` is for a task's reward. Wrap your own with `rewards.with_speed_bonus`.")
    own = [import_function(name, "--reward") for name in args.reward or []]
    if args.task is None:
        if not own:
            raise ValueError("`--dataset_name` needs a `--reward` that judges the answers.")
        return _own_problems(str(args.dataset_name), args.dataset_train_split), own
    check_size("--train_size", args.train_size)
    task, style = task_named(args.task), style_of(args.style, model_name) or "reasoning"
    size = 2000 if args.train_size is None and task.generated else args.train_size
    accuracy, *formats = task.reward_funcs(style)
    if args.speed_bonus is not None:
        accuracy = with_speed_bonus(accuracy, args.speed_bonus, max_nfe)
    return problems_of(task, "train", size, style, args.task_options), own or [accuracy, *formats]
