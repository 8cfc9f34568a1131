# SPDX-License-Identifier: Apache-2.0
"""What several commands ask for: a model, a task, how to decode."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any

from .. import DiffusionGenerationConfig, embedded


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..tasks import Task

EMBEDDED = "embedded/"


@dataclass
class ModelArguments:
    """Which model, and how to load it."""

    model_name_or_path: str = field(
        metadata={"help": "A model's id on the Hub, a folder, or 'embedded/sudoku' or 'embedded/countdown'."}
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    dtype: str = field(default="auto", metadata={"help": "'auto', 'float32' or 'bfloat16'."})
    attn_implementation: str | None = field(default=None, metadata={"help": "transformers' name of a kernel."})
    device: str | None = field(default=None, metadata={"help": "By default a GPU, if there is one."})


@dataclass
class TaskArguments:
    """Which problems."""

    task: str = field(metadata={"help": "A task by its name: gsm8k, math500, countdown, countdown4, sudoku, ..."})
    split: str = field(default="test", metadata={"help": "'train' or 'test'."})
    size: int | None = field(default=None, metadata={"help": "Number of problems; all by default, of puzzles 500."})
    style: str | None = field(default=None, metadata={"help": "Prompt format, such as 'reasoning' or 'boxed'."})
    task_options: dict | str | None = field(
        default=None, metadata={"help": "More options of the task's loader, as JSON: '{\"shots\": 4}'."}
    )


def _optional(config: type, left_out: set[str]) -> type:
    """The fields of a configuration, each of which may be left to the model."""
    kinds = {"int": int, "float": float, "bool": bool, "str": str}
    columns: list[Any] = []
    for f in fields(config):
        if f.name not in left_out:
            kind = kinds[str(f.type).removesuffix(" | None")]
            columns.append((f.name, kind | None, field(default=None, metadata=dict(f.metadata))))
    return make_dataclass("DecodingArguments", columns, namespace={"__doc__": "How to decode."})


# Ends of text are the model's; the length of blocks and canvas, rules and thresholds can be said.
DecodingArguments = _optional(DiffusionGenerationConfig, {"eos_token_ids"})


def model_path(name: str) -> str:
    """The folder of an embedded model, or the name as it is."""
    return embedded.path(name.removeprefix(EMBEDDED)) if name.startswith(EMBEDDED) else name


def load_model(args: ModelArguments) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer."""
    import torch
    from accelerate import PartialState
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = model_path(args.model_name_or_path)
    device = args.device or str(PartialState().device)  # each process's own
    if name != args.model_name_or_path and device == "cpu":
        torch.set_num_threads(1)  # the embedded models are so small that threads would wait for each other
    options = {"revision": args.model_revision} if args.model_revision else {}
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype=args.dtype, attn_implementation=args.attn_implementation, device_map=device, **options
    )
    return model.eval(), tokenizer


def load_problems(args: TaskArguments, model_name: str) -> tuple[Task, Dataset]:
    """The task, and its problems in the format that suits the model."""
    from ..tasks import get_task

    task, style = get_task(args.task), args.style or ("compact" if model_name.startswith(EMBEDDED) else None)
    size = 500 if args.size is None and task.generated else args.size
    return task, problems_of(task, args.split, size, style, args.task_options)


def problems_of(task: Task, split: str, size: int | None, style: str | None, options: dict | str | None) -> Dataset:
    """
    A task's problems.

    Raises:
        `ValueError`: If the options are no JSON object, or mean nothing to the task.
    """
    if isinstance(options, str):  # from the command line; from a file it is a dictionary
        try:
            parsed = json.loads(options)
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise ValueError(f"`--task_options` must be a JSON object, got {options!r}.")
        options = parsed
    return task.load(split, size, **({"style": style} if style else {}), **(options or {}))


def decoder_of(
    model: PreTrainedModel, args: Any, like: str | None = None, **defaults: Any
) -> DiffusionGenerationConfig:
    """
    What the model carries, changed by what was said; where it carries nothing, the defaults.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        args (`DecodingArguments`):
            What was said.
        like (`str`, *optional*):
            Another model, whose settings count instead. Ends of text remain the model's own.
        defaults:
            For models that carry nothing.
    """
    if like is not None:
        settings = said(args) | {"eos_token_ids": ends_of(model)}
        return DiffusionGenerationConfig.from_pretrained(model_path(like), **settings)
    if DiffusionGenerationConfig.carried_by(model):
        return DiffusionGenerationConfig.from_model(model, **said(args))
    return DiffusionGenerationConfig(**defaults | said(args))


def said(args: Any) -> dict[str, Any]:
    """The options that were given."""
    return {f.name: value for f in fields(args) if (value := getattr(args, f.name)) is not None}


def ends_of(model: PreTrainedModel) -> tuple[int, ...]:
    """The ends of text that a model carries; nothing where the tokenizer is to be asked."""
    carries = DiffusionGenerationConfig.carried_by(model)
    return DiffusionGenerationConfig.from_model(model).eos_token_ids if carries else ()
