# SPDX-License-Identifier: Apache-2.0
"""
What a run depends on, kept in its folder, so that another run does not continue it by mistake.

`training_args.bin` knows some of it, but is a pickle, and says nothing of method, model, task and rewards.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any


# The Trainer uploads nothing that begins with an underscore: paths of this machine are nobody else's business.
FILE = "_run.json"
# Options that may change from start to start: where things are written, how far it goes, and what computes it.
_FREE_PREFIXES = (
    *(
        "accelerator_",
        "activation_checkpointing",
        "dataloader_",
        "ddp_",
        "do_",
        "ds3_",
        "eval_",
        "fsdp",
        "gradient_checkpointing",
    ),
    *("hub_", "log_", "logging_", "push_to_", "save_", "torch_compile", "torch_empty", "trackio_", "vllm_"),
)
_FREE = {
    *("output_dir", "max_steps", "num_train_epochs", "resume_from_checkpoint", "report_to", "run_name", "project"),
    *("attn_implementation", "average_tokens_across_devices", "debug", "deepspeed", "disable_tqdm", "local_rank"),
    *("enable_jit_checkpoint", "include_num_input_tokens_seen", "model_init_kwargs", "num_completions_to_print"),
    *("parallelism_config", "per_device_eval_batch_size", "prediction_loss_only", "sampler_batch_size"),
    *("skip_memory_metrics", "trust_remote_code", "use_cpu", "num_generations_eval", "full_determinism", "tf32"),
}
# They go with the number of processes, which the trainer may find changed.
_PER_PROCESS = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "generation_batch_size"),
)


def describe(method: str, *parsed: Any, processes: int) -> dict[str, Any]:
    """
    All that the result of a run depends on.

    Args:
        method (`str`):
            The method's name.
        parsed:
            The dataclasses of its options.
        processes (`int`):
            How many processes there are.

    Returns:
        `dict[str, Any]`: as it is read from a file, too.
    """
    settings: dict[str, Any] = {"method": method, "processes": processes}
    for options in parsed:
        for f in fields(options):
            if f.init and f.name not in _FREE and not f.name.startswith(_FREE_PREFIXES):
                settings[f.name] = getattr(options, f.name)
    if isinstance(settings.get("task_options"), str):  # from the command line it is JSON, from a file a mapping
        settings["task_options"] = _from_json(settings["task_options"])
    if isinstance(settings.get("model_name_or_path"), str):
        settings["model_name_or_path"] = settings["model_name_or_path"].rstrip("/")
    return json.loads(json.dumps(settings, default=_plain))


def defaults(method: str) -> dict[str, Any]:
    """
    What [`describe`] says of a run for which nothing was chosen.

    Raises:
        `KeyError`: If there is no such method.
    """
    from trl import ModelConfig

    from .train_options import TrainArguments, methods

    config = methods()[method][0]
    return describe(
        method, TrainArguments(), config(output_dir="unused", report_to="none"), ModelConfig(), processes=1
    )


def check_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """
    Args:
        folder (`Path`):
            The folder of a run.
        settings (`Mapping[str, Any]`):
            Those of this start, as [`describe`] has them.

    Raises:
        `ValueError`: If the run in the folder is another one, with all that differs.
    """
    there = read(folder)
    if there is None:
        return
    earlier = there["settings"]
    left_out = {"processes", *(_PER_PROCESS if earlier.get("processes") != settings["processes"] else ())}
    names = [name for name in settings if name in earlier and name not in left_out]
    differing = [name for name in names if earlier[name] != settings[name]]
    if differing:
        listed = ", ".join(f"{name} {earlier[name]!r}, here {settings[name]!r}" for name in differing)
        raise ValueError(
            f"`--output_dir {folder}` holds a run with {listed}: take another `--output_dir`, or delete it to start "
            "anew."
        )


def check_length(folder: Path, max_steps: int, done: int) -> None:
    """
    Raises:
        `ValueError`: If fewer updates are asked for than there are.
    """
    if 0 < max_steps < done:
        raise ValueError(
            f"`--max_steps {max_steps}`: the run in `--output_dir {folder}` has made {done} updates already. Ask for "
            "as many, or take another `--output_dir`."
        )


def read(folder: Path) -> dict[str, Any] | None:
    """What was written there; nothing, if the run is from before there were records."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        print(f"{folder / FILE} is damaged: whether this is the same run is not known.", file=sys.stderr)
        return None
    return record


def write(folder: Path, settings: Mapping[str, Any], saved: int | None = None) -> None:
    """
    Write it at once, for other processes may be reading. Versions of packages and the device go with it: they may
    change from start to start.

    Args:
        folder (`Path`):
            The folder of the run.
        settings (`Mapping[str, Any]`):
            As [`describe`] has them.
        saved (`int`, *optional*):
            After how many updates the model in the folder was saved.
    """
    unfinished = folder / f"{FILE}.part"
    record = {"settings": settings, "saved": saved, "versions": _versions()}
    unfinished.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / FILE)


def _versions() -> dict[str, str]:
    import torch

    from ..trainer.model_card import versions

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return versions() | {"python": platform.python_version(), "device": device}


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the task will refuse it


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return sorted(map(str, value)) if isinstance(value, set) else str(value)
