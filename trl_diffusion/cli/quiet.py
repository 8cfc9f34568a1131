# SPDX-License-Identifier: Apache-2.0
"""What libraries say of their own accord, which is nobody's question here. What a run logs is left alone."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any


DEBUG = "TRL_DIFFUSION_DEBUG"


def silence() -> None:
    """Before anything is imported."""
    if os.environ.get(DEBUG):
        return
    # transformers' names for gradient checkpointing are changing, which is no business of the user's.
    warnings.simplefilter("ignore", FutureWarning)
    # Misses a package that makes 4-bit weights fast on a CPU, also where there are none.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    if shutil.which("nvidia-smi") is None:  # else it may be news that no GPU was found
        warnings.filterwarnings("ignore", message="'pin_memory' argument is set as true but no accelerator is found")
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") != "true":
            logging.getLogger("DeepSpeed").addFilter(_is_not_about_a_missing_gpu)


def _is_not_about_a_missing_gpu(record: logging.LogRecord) -> bool:
    """DeepSpeed looks for one where it is installed, also if nobody asked for it."""
    return not record.getMessage().startswith("Setting accelerator to CPU")


def register_models() -> None:
    """The models, before a command does anything; loading them shows a bar in a terminal, and if it takes long."""
    importlib.import_module("..models", __package__)
    if not os.environ.get(DEBUG):
        from transformers.utils.logging import set_tqdm_hook

        set_tqdm_hook(_patient)


def _patient(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return factory(*args, **{"delay": 2, "disable": None} | options)
