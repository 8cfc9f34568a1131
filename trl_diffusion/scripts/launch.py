# SPDX-License-Identifier: Apache-2.0
"""Which engine to train under, and the command that does."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass

from .memory import ENGINES, Memory


@dataclass(frozen=True)
class Run:
    """
    A run to be launched.

    Args:
        model (`str`):
            A model's id on the Hub, or a folder.
        processes (`int`):
            Devices.
        batch_size (`int`):
            Completions in a micro-batch.
        completion_length (`int`):
            Their tokens.
        block_length (`int`):
            Tokens of a block of these.
        micro_batches (`int`, *optional*, defaults to `1`):
            Of an update.
        bits (`int`):
            Of frozen weights: 16, 8 or 4.
        lora_r (`int`, *optional*):
            Rank of the adapters; without it, all parameters are trained.
        sampler_batch_size (`int`, *optional*):
            Completions that are decoded at a time; all of them without it.
        beta (`float`, *optional*, defaults to `0.0`):
            Of the KL term.
    """

    model: str
    processes: int
    batch_size: int
    completion_length: int
    block_length: int
    bits: int = 16
    lora_r: int | None = None
    micro_batches: int = 1
    sampler_batch_size: int | None = None
    beta: float = 0.0


# Of a device's memory, what training may take by this count: buffers of the engine, the allocator's gaps and the
# driver's context come on top.
USABLE = 0.9


def engines_for(run: Run) -> list[str]:
    """Names of the engines that it may run under. DeepSpeed's and FSDP do not divide quantised weights."""
    if run.processes == 1 or run.bits != 16:
        return ["multi_gpu"]
    return list(ENGINES)


def fits(memory: Memory, device_memory: float) -> bool:
    """Whether a device has enough memory, in bytes, with a reserve."""
    return memory.total <= USABLE * device_memory


def fastest(memories: dict[str, Memory], device_memory: float) -> str | None:
    """The first engine that fits into the memory of a device, in bytes; `None` if none does."""
    return next((engine for engine, memory in memories.items() if fits(memory, device_memory)), None)


def command(run: Run, engine: str) -> str:
    """The command line that trains with DiFFPO, in lines, each option in one with its value."""
    options = ["--model_name_or_path", run.model, "--task", "<task>", "--output_dir", "<folder>"]
    options += ["--per_device_train_batch_size", str(run.batch_size)]
    if run.micro_batches > 1:
        options += ["--gradient_accumulation_steps", str(run.micro_batches)]
    completions = run.batch_size * run.processes * run.micro_batches
    if completions % 8:  # TRL's group
        options += ["--num_generations", str(completions)]
    options += ["--max_completion_length", str(run.completion_length), "--block_length", str(run.block_length)]
    if run.sampler_batch_size is not None:
        options += ["--sampler_batch_size", str(run.sampler_batch_size)]
    if run.beta:
        options += ["--beta", f"{run.beta:g}"]
    if run.lora_r is not None:
        options += ["--use_peft", "--lora_r", str(run.lora_r), "--dtype", "bfloat16"]
    if run.bits != 16:
        options += [f"--load_in_{run.bits}bit"]
    if run.processes > 1:
        options += ["--accelerate_config", engine, "--num_processes", str(run.processes)]
    parts = re.split(r" (?=--)", " ".join(["trl-diffusion train diffpo", *map(_quoted, options)]))
    whole = " ".join(part.replace(" ", "\0") for part in parts)
    folded = textwrap.wrap(whole, 100, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    return " \\\n".join(folded).replace("\0", " ")


def _quoted(option: str) -> str:
    return option if option.startswith("<") else shlex.quote(option)
