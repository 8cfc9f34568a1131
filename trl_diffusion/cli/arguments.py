# SPDX-License-Identifier: Apache-2.0
"""What several commands ask for: a model, a task, how to decode."""

from __future__ import annotations

import difflib
import inspect
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any

from .. import DiffusionGenerationConfig
from ..embedded import EMBEDDED
from ..scripts.options import UsageError


if TYPE_CHECKING:
    from accelerate import PartialState
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..tasks import Task

_MODEL_FILES = ("config.json", "adapter_config.json")
COMPACT = "compact"  # what the embedded models read
_MODELS_OWN = "What you do not set is as saved with the model; where nothing is saved with it, as in [brackets]."
# What the help says of models without settings, where there is a task.
TASKS_CANVAS = {"max_new_tokens": "the task's", "block_length": "the task's", "temperature": 0.0}
# What several commands ask for.
DTYPE = {
    "help": "What to compute in; 'auto' is what it was saved in.",
    "choices": ("auto", "bfloat16", "float16", "float32"),  # TRL's
}
DEVICE = {"help": "Such as 'cpu' or 'cuda:1'. By default a GPU, if there is one.", "metavar": "DEVICE"}
TASK_OPTIONS = {"help": "More options of the task's loader, as JSON: '{\"shots\": 4}'.", "metavar": "JSON"}


@dataclass
class ModelArguments:
    """Which model, and how to load it."""

    _argument_group_name = "model"

    model_name_or_path: str = field(
        metadata={
            "help": "A model's id on the Hub, a folder, or 'embedded/sudoku' or 'embedded/countdown'.",
            "metavar": "MODEL",
        }
    )
    model_revision: str | None = field(
        default=None, metadata={"help": "Branch, tag or commit on the Hub. By default its main branch."}
    )
    dtype: str = field(default="auto", metadata=DTYPE)
    attn_implementation: str | None = field(
        default=None, metadata={"help": "transformers' name of a kernel. By default the fastest there is."}
    )
    device: str | None = field(default=None, metadata=DEVICE)


@dataclass
class TaskArguments:
    """Which problems."""

    _argument_group_name = "problems"

    task: str = field(
        metadata={
            "help": "A task by its name: gsm8k, math500, countdown, countdown4, sudoku, ...",
            "metavar": "TASK",
        }
    )
    split: str = field(default="test", metadata={"help": "Its split.", "choices": ("train", "test")})
    size: int | None = field(
        default=None, metadata={"help": "Number of problems. By default all there are; of generated puzzles, 500."}
    )
    style: str | None = field(
        default=None,
        metadata={
            "help": "Prompt format, such as 'reasoning' or 'boxed'. By default the task's; of the embedded models, "
            "'compact'."
        },
    )
    task_options: dict | str | None = field(default=None, metadata=TASK_OPTIONS)


def decoding_arguments(
    defaults: Mapping[str, Any] | None = None, left_out: Collection[str] = (), description: str = _MODELS_OWN
) -> Any:
    """
    Options of [`~trl_diffusion.DiffusionGenerationConfig`], each of which may be left to the model.

    Args:
        defaults (`Mapping[str, Any]`, *optional*):
            What the help says of models without settings, where it is not the field's default.
        left_out (`Collection[str]`, *optional*):
            Fields that are not asked for. Ends of text never are: they are the model's.
        description (`str`, *optional*):
            What the help says of all of them.

    Returns:
        `type`: a dataclass, whose fields are `None` where nothing was said.
    """
    kinds = {"int": int, "float": float, "bool": bool, "str": str}
    columns: list[Any] = []
    for f in fields(DiffusionGenerationConfig):
        if f.name not in ("eos_token_ids", *left_out):
            kind = kinds[str(f.type).removesuffix(" | None")]
            default = (defaults or {}).get(f.name, f.default)
            more = {} if default is None else {"help": f"{f.metadata['help']} [{default}]"}
            columns.append((f.name, kind | None, field(default=None, metadata={**f.metadata, **more})))
    namespace = {
        "__doc__": "How to decode.",
        "_argument_group_name": "decoding",
        "_argument_group_description": description,
    }
    return make_dataclass("DecodingArguments", columns, namespace=namespace)


def model_path(name: str, option: str = "--model_name_or_path") -> str:
    """
    See [`~trl_diffusion.models.hub.model_path`], which takes seconds to import.

    Raises:
        `ValueError`: If there is no such folder, or no model in it, with the option that names it.
    """
    from ..models import hub

    path = hub.model_path(name)
    if os.path.isdir(path) and not any(map(os.path.isfile, (f"{path}/{file}" for file in _MODEL_FILES))):
        raise ValueError(f"`{option} {name}` is a folder without a model: it has no {_MODEL_FILES[0]}.")
    return path


def task_named(name: str) -> Task:
    """
    See [`~trl_diffusion.tasks.get_task`].

    Raises:
        `UsageError`: If there is no such task, with the nearest that there is.
    """
    from ..tasks import TASKS, get_task

    try:
        return get_task(name)
    except ValueError as error:
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"There is no task {name!r}{hint}; tasks are {', '.join(TASKS)}.") from error


def processes_of(device: str | None) -> PartialState:
    """The processes that a command runs in. On CPUs accelerate looks for others only if it is told so."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())


def load_model(args: ModelArguments) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    The model and its tokenizer.

    Raises:
        `ValueError`: If there is none, or it cannot be loaded in this way.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = model_path(args.model_name_or_path)
    device = args.device or str(processes_of(None).device)  # each process's own
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"`--device {device}` cannot be used: {str(error).splitlines()[0]}") from error
    if name != args.model_name_or_path and device == "cpu":
        torch.set_num_threads(1)  # the embedded models are so small that threads would wait for each other
    options = {"revision": args.model_revision} if args.model_revision else {}
    tokenizer = _loaded("tokenizer", args, lambda: AutoTokenizer.from_pretrained(name, **options))
    model = _loaded(
        "model",
        args,
        lambda: AutoModelForCausalLM.from_pretrained(
            name, dtype=args.dtype, attn_implementation=args.attn_implementation, device_map=device, **options
        ),
    )
    return model.eval(), tokenizer


def tokenizer_of(name: str, option: str) -> PreTrainedTokenizerBase:
    """
    A tokenizer alone.

    Raises:
        `ValueError`: If there is none, with the option that names it.
    """
    from transformers import AutoTokenizer

    from ..models import hub  # a tokenizer may lie in a folder without a model

    try:
        return AutoTokenizer.from_pretrained(hub.model_path(name))
    except Exception as error:
        raise ValueError(f"`{option} {name}`: its tokenizer cannot be loaded: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    said = f"{error}" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


def _loaded(what: str, args: ModelArguments, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # whatever may be wrong with files: each of their libraries has its own
        raise ValueError(
            f"The {what} of {args.model_name_or_path!r} cannot be loaded: {_in_one_line(error)}"
        ) from error


def load_problems(args: TaskArguments, model_name: str) -> tuple[Task, Dataset]:
    """The task, and its problems in the format that suits the model."""
    check_size("--size", args.size)
    task = task_named(args.task)
    size = 500 if args.size is None and task.generated else args.size
    return task, problems_of(task, args.split, size, style_of(args.style, model_name), args.task_options)


def check_size(option: str, size: int | None) -> None:
    """
    Raises:
        `ValueError`: If there would be no problems.
    """
    if size is not None and size < 1:
        raise ValueError(f"`{option}` must be at least 1, got {size}.")


def style_of(said: str | None, model_name: str) -> str | None:
    """The style of prompts: what was said, or what an embedded model reads."""
    return said or (COMPACT if model_name.startswith(EMBEDDED) else None)


def problems_of(task: Task, split: str, size: int | None, style: str | None, options: dict | str | None) -> Dataset:
    """
    A task's problems.

    Raises:
        `UsageError`: If the options are no JSON object, or mean nothing to the task, or the style does not exist.
        `ValueError`: If their values do not suit.
    """
    from ..tasks.prompts import STYLES

    more = task_options(task, options)
    try:
        return task.load(split, size, **({"style": style} if style else {}), **more)
    except TypeError as error:
        if not more:
            raise
        raise ValueError(f"`--task_options {json.dumps(more)}` does not suit {task.name!r}: {error}.") from error
    except ValueError as error:
        if style == COMPACT and "`style`" in str(error):
            raise ValueError(
                f"The embedded models read prompts of the style {COMPACT!r}, which the task {task.name!r} has not. "
                "Take one that has, sudoku or countdown, or another model."
            ) from error
        if style and "`style`" in str(error):
            near = difflib.get_close_matches(style, (*STYLES, COMPACT), n=1)
            raise UsageError(f"`--style`: {error}" + (f" Did you mean {near[0]}?" if near else "")) from error
        raise


def task_options(task: Task, options: dict | str | None) -> dict[str, Any]:
    """
    Options of a task's loader: from a file they are a mapping, from the command line JSON.

    Raises:
        `UsageError`: If they are neither, or the loader takes no such options.
    """
    if options is None:
        return {}
    try:
        result = json.loads(options) if isinstance(options, str) else options
    except ValueError:
        result = None
    if not isinstance(result, dict):
        raise UsageError(f"`--task_options` must be a JSON object, such as '{{\"shots\": 4}}', got {options!r}.")
    parameters = inspect.signature(task.load).parameters
    known = [name for name in parameters if name not in ("split", "size", "style")]  # which have options of their own
    unknown = [name for name in result if name not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise UsageError(
            f"`--task_options` has {', '.join(map(repr, unknown))}; those of the task {task.name!r} are "
            f"{', '.join(map(repr, known))}."
        )
    return result


def decoder_of(
    model: PreTrainedModel, args: Any, like: str | None = None, **defaults: Any
) -> DiffusionGenerationConfig:
    """
    What the model carries, changed by what was said; where it carries nothing, the defaults.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        args:
            What was said, as [`decoding_arguments`] has it.
        like (`str`, *optional*):
            Another model, whose settings count instead. Ends of text remain the model's own.
        defaults:
            For models that carry nothing.
    """
    chosen = said(args)
    if like is not None:
        decoder = settings_from(like, **chosen | {"eos_token_ids": ends_of(model)})
    elif DiffusionGenerationConfig.carried_by(model):
        decoder = DiffusionGenerationConfig.from_model(model, **chosen)
    else:
        decoder = DiffusionGenerationConfig(**defaults | chosen)
    check_thresholds(decoder.unmasking, chosen)
    return decoder


def settings_from(like: str, **changes: Any) -> DiffusionGenerationConfig:
    """
    The decoding settings of the model that `--decoder_from` names.

    Raises:
        `ValueError`: If there is no such model, or it carries none.
    """
    path = model_path(like, "--decoder_from")
    if not os.path.exists(path) and not DiffusionGenerationConfig.carried_by(path):
        raise ValueError(
            f"`--decoder_from {like}`: there is no such folder, and no decoding settings were found on the Hub under "
            "this name."
        )
    return DiffusionGenerationConfig.from_pretrained(path, **changes)


def check_thresholds(unmasking: str, given: Iterable[str], is_fixed: bool = False) -> None:
    """
    Refuse thresholds that nothing reads: one would believe them to be at work.

    Args:
        unmasking (`str`):
            The rule in use.
        given (`Iterable[str]`):
            Names of the options that were given.
        is_fixed (`bool`, *optional*, defaults to `False`):
            Whether there can be no other rule.

    Raises:
        `ValueError`: With the rule that reads it, if it can be had.
    """
    for name in ("entropy_bound", "confidence_threshold"):  # each is of the rule of its name
        if name in given and unmasking != name:
            advice = "leave it out" if is_fixed else f"add `--unmasking {name}`"
            raise ValueError(f"`--{name}` has no effect under `unmasking={unmasking}`; {advice}.")


def said(args: Any) -> dict[str, Any]:
    """The options that were given."""
    return {f.name: value for f in fields(args) if (value := getattr(args, f.name)) is not None}


def ends_of(model: PreTrainedModel) -> tuple[int, ...]:
    """The ends of text that a model carries; nothing where the tokenizer is to be asked."""
    carries = DiffusionGenerationConfig.carried_by(model)
    return DiffusionGenerationConfig.from_model(model).eos_token_ids if carries else ()
