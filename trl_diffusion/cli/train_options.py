# SPDX-License-Identifier: Apache-2.0
"""Options of `trl-diffusion train`."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from importlib.resources import files
from typing import Any

from .arguments import TASK_OPTIONS
from .parsing import Parser, make_parser


MODEL = (
    *("model_name_or_path", "model_revision", "dtype", "attn_implementation", "use_peft", "lora_r", "lora_alpha"),
    *("lora_dropout", "lora_target_modules", "load_in_4bit", "load_in_8bit"),
)
# Beside the sampler's own options.
ROLLOUTS = ("num_generations", "temperature", "top_k", "top_p", "steps_per_generation")
LOSS = (
    *("beta", "epsilon", "epsilon_high", "loss_type", "importance_sampling_level", "scale_rewards", "reward_weights"),
    *("num_iterations", "mask_truncated_completions"),
)
TRAINING = (
    *("output_dir", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "num_train_epochs", "seed"),
    *("bf16", "gradient_checkpointing", "disable_dropout", "use_cpu"),
)
LOGGING = (
    *("logging_steps", "report_to", "run_name", "log_completions", "log_histograms", "save_steps"),
    *("save_total_limit", "push_to_hub", "hub_model_id"),
)
# What the first sentence of TRL's own description does not say.
TEXTS = {
    "model_name_or_path": "A model's id on the Hub, a folder, or 'embedded/sudoku' or 'embedded/countdown'.",
    "output_dir": "Folder for checkpoints and the model. By default 'trainer_output'.",
    "max_steps": "Updates to make. If it is not positive, `--num_train_epochs` decides.",
    "num_generations": "Completions per prompt. Must divide the completions of a rollout, those of all processes.",
    "steps_per_generation": "Micro-batches per rollout. By default `--gradient_accumulation_steps`.",
    "reward_weights": "Weights of the reward functions, one each. By default all are 1.",
    "report_to": "Where to log to, such as 'tensorboard', 'wandb' or 'trackio'.",
}
# Options that others switch on, which the trainers refuse.
IDLE = ("vllm_", "transformers_continuous_batching_", "liger_kernel_", "max_tool_calling_iterations", "log_multimodal")
SWITCHED = {
    "use_adaptive_entropy": ("entropy_coef_", "entropy_target"),
    "unmasking": ("entropy_bound", "confidence_threshold"),
}


@dataclass
class TrainArguments:
    """What to learn."""

    _argument_group_name = "what to learn"

    task: str | None = field(
        default=None, metadata={"help": "A task by its name: its problems and its rewards.", "metavar": "TASK"}
    )
    style: str | None = field(
        default=None,
        metadata={"help": "The task's prompt format; by default 'reasoning', and 'compact' for the embedded models."},
    )
    train_size: int | None = field(
        default=None, metadata={"help": "Number of problems. By default all there are; of generated puzzles, 2000."}
    )
    task_options: dict | str | None = field(default=None, metadata=TASK_OPTIONS)
    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Instead of a task: a dataset on the Hub or in a folder, with a column 'prompt', and those that "
            "`--reward` reads.",
            "metavar": "DATASET",
        },
    )
    dataset_train_split: str = field(default="train", metadata={"help": "The split of that dataset."})
    reward: list[str] | None = field(
        default=None,
        metadata={
            "help": "Instead of the task's: functions as TRL takes them, 'module:function'.",
            "metavar": "FUNCTION",
        },
    )
    speed_bonus: float | None = field(
        default=None,
        metadata={"help": "What a right answer to the task would earn on top in no time, as a share of its reward."},
    )


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


def summary(method: str) -> str:
    """What a method is, in a line: from the source, because to import it takes seconds."""
    source = (files("trl_diffusion") / "trainer" / f"{method}_trainer.py").read_text(encoding="utf-8")
    classes = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    lines = ((ast.get_docstring(node) or "").split("\n")[0] for node in classes if node.name.endswith("Trainer"))
    return next(lines).removeprefix("Trainer for ")


def parser_of(method: str, config: Any, description: str = "") -> Parser:
    """The options of a method: in groups, and without those that its trainer refuses."""
    from trl import ModelConfig

    from ..trainer.base_config import DiffusionGRPOConfig

    parser = make_parser(f"train {method}", description, TrainArguments, config, ModelConfig)
    refused = config.refused()
    idle = [*IDLE, *(name for switch, names in SWITCHED.items() if switch in refused for name in names)]
    for action in parser._actions:
        if action.dest in refused or action.dest.startswith(tuple(idle)):
            action.help = argparse.SUPPRESS
        else:
            action.help = TEXTS.get(action.dest, action.help)
    ours = [*_own(DiffusionGRPOConfig), *_own(config), *TEXTS]
    rollouts = [*ROLLOUTS, *(name for name in _own(DiffusionGRPOConfig) if name not in (*TRAINING, *LOGGING))]
    parser.arrange(
        {
            "model": MODEL,
            method: [name for name in _own(config) if name not in rollouts],
            "rollouts": rollouts,
            "loss": LOSS,
            "training": TRAINING,
            "logging and saving": LOGGING,
        },
        rest="the rest of TRL's GRPOConfig and ModelConfig",
        brief={*MODEL, *ROLLOUTS, *LOSS, *TRAINING, *LOGGING}.difference(ours),
    )
    return parser


def _own(config: type) -> Iterator[str]:
    """Fields that a class itself declares: its own options, and those with another default than its parent's."""
    return (f.name for f in fields(config) if f.name in config.__annotations__)
