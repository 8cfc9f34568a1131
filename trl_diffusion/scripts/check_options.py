# SPDX-License-Identifier: Apache-2.0
"""Options of `trl-diffusion inspect`, which can be described without PyTorch."""

from __future__ import annotations

import argparse
import math
from typing import Any

from .help import Formatter
from .options import OneLine, options_of, unrecognised


DESCRIPTION = """Whether a checkpoint can be trained here, and what it will take. Says what training takes under every
engine, and the command for the fastest that fits.

examples:
    {prog} embedded/sudoku
    {prog} GSAI-ML/LLaDA-8B-Instruct --load_in_4bit
    {prog} GSAI-ML/LLaDA-8B-Instruct --full --num_processes 8

Nothing is downloaded but the configuration, that of the generation, and the tokenizer; no weights are allocated."""


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _gib(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:  # also refuses NaN
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text}")
    return value


def _coefficient(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number that is not below 0, got {text}")
    return value


def make_parser(prog: str = "python -m trl_diffusion.scripts.check") -> argparse.ArgumentParser:
    """The command line's."""
    parser = OneLine(
        prog=prog,
        description=DESCRIPTION.format(prog=prog),
        formatter_class=Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="Show this, and exit.")
    parser.add_argument("--json", action="store_true", help="Print one line of JSON, for programs.")
    _add_checkpoint(parser.add_argument_group("checkpoint"))
    _add_training(parser.add_argument_group("training"))
    return parser


def _add_checkpoint(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("model", metavar="MODEL", help="A model's id on the Hub, a folder, or an embedded model: 'embedded/sudoku'.")
    add("--revision", help="Branch, tag or commit on the Hub. By default its main branch.")
    add("--mask_token_id", type=int, help="The mask token, if neither the model nor the tokenizer names it.")


def _add_training(group: argparse._ArgumentGroup) -> None:
    weights = group.add_mutually_exclusive_group()
    weights.add_argument("--load_in_4bit", action="store_true", help="Train LoRA on a base model in 4 bits (QLoRA).")
    weights.add_argument("--load_in_8bit", action="store_true", help="The same in 8 bits.")
    weights.add_argument("--full", action="store_true", help="Train all parameters instead of LoRA.")
    add = group.add_argument
    count: dict[str, Any] = {"type": _count, "metavar": "INT"}
    add("--lora_r", **count, default=16, help="Rank of LoRA.")
    add("--batch_size", **count, default=8, help="Completions in a micro-batch.")
    add("--gradient_accumulation_steps", **count, default=1, help="Micro-batches of an update.")
    add("--sampler_batch_size", **count, help="Completions decoded at a time. By default all of them.")
    add("--prompt_length", **count, help="Tokens of a prompt. By default 256, or what fits.")
    add("--completion_length", **count, help="Tokens of a completion. By default the checkpoint's own, or 256.")
    kl = "Coefficient of the KL term, for which --full keeps a reference model."
    add("--beta", type=_coefficient, metavar="FLOAT", default=0.0, help=kl)
    add("--num_processes", **count, default=1, help="Devices.")
    add("--device_memory", type=_gib, metavar="GIB", default=80.0, help="Memory of each device.")


def parse(arguments: list[str] | None = None, **prog: str) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(**prog)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(unrecognised(unknown, options_of(parser)))
    return args
