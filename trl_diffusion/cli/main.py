# SPDX-License-Identifier: Apache-2.0
"""
The command `trl-diffusion`.

A command is a module with `run(words)`, which returns the exit code, and is imported when it is called.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from ..scripts.help import overview
from ..scripts.options import UsageError, unrecognised
from .imports import UserCodeError
from .quiet import DEBUG, silence


# Name, module and what it does.
COMMANDS = {
    "train": ("train", "Train a model by a method, such as diffpo"),
    "eval": ("evaluate", "Decode a task's problems, keep the answers, score them"),
    "frontier": ("frontier", "Accuracy against forward passes, of one or several models"),
    "score": ("score", "Score answers that `eval` has kept, or compare two sets of them"),
    "report": ("report", "A run on one page: curves, frontiers, and samples with a slider over their steps"),
    "generate": ("generate", "Complete a prompt"),
    "chat": ("chat", "Talk to a model"),
    "inspect": ("inspect", "Whether a checkpoint can be trained here, and what it will take"),
    "env": ("env", "Versions and devices, for a bug report"),
    "completion": ("completion", "A script that completes these commands in bash or zsh"),
}


def usage() -> str:
    """What `--help` prints."""
    return overview(
        "trl-diffusion <command>",
        "Reinforcement learning for diffusion language models.",
        "commands",
        {name: what for name, (_, what) in COMMANDS.items()},
        "`trl-diffusion <command> --help` describes a command. Every option can also be set in a YAML file, by "
        f"`--config file.yaml`; those on the command line win. {DEBUG}=1 shows where an error comes from.",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        arguments (`Sequence[str]`, *optional*):
            The command line, without the program's name. That of this process by default.

    Returns:
        `int`: the exit code: 0, 1 if the command failed, 2 if it was not understood, 130 if it was interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from ..version import __version__

        print(__version__)
        return 0
    if words[0] not in COMMANDS:
        print(f"error: {unrecognised(words[:1], COMMANDS)}; commands are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    silence()
    try:
        module = importlib.import_module(f".{COMMANDS[words[0]][0]}", __package__)
        return module.run(words[1:])
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UserCodeError as error:
        if os.environ.get(DEBUG) or error.__cause__ is None:
            raise
        cause = error.__cause__  # its first frame is the one that called the user's code
        traceback.print_exception(type(cause), cause, cause.__traceback__ and cause.__traceback__.tb_next)
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError, TypeError, FloatingPointError, MemoryError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _words(error: Exception) -> str:
    """What an error says, with what was added to it on its way."""
    said = " ".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])])
    return " ".join(said.split())
