# SPDX-License-Identifier: Apache-2.0
"""Starting `trl-diffusion train` in several processes."""

from __future__ import annotations

import argparse
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..scripts.options import UsageError, options_of, unrecognised
from .parsing import in_two_words


def configurations() -> list[str]:
    """Names of the engines' configurations that come with the library."""
    folder = files("trl_diffusion") / "accelerate_configs"
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def launch(parser: Any, method: str, words: list[str], from_config: list[str], from_words: list[str]) -> int:
    """
    Start `trl-diffusion train` again, in many processes.

    Args:
        parser (`~trl_diffusion.cli.parsing.Parser`):
            Its parser.
        method (`str`):
            The method.
        words (`list[str]`):
            Its command line.
        from_config (`list[str]`):
            What the parser has left over of a file: the launcher's options.
        from_words (`list[str]`):
            What it has left over of `words`: more of them.

    Returns:
        `int`: the exit code.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    launcher = launch_command_parser()
    vars(launcher)["error"] = parser.error  # in one line, as for options of our own
    launch_words = with_config_file([*_switches(launcher, from_config), *from_words])
    # The launcher takes the rest of the line as the script's own, and a word that is no option's as the script.
    understood, unknown = launcher.parse_known_args([*launch_words, "script"])
    stray = [understood.training_script] if understood.training_script != "script" else []
    if unknown or stray:
        parser.error(unrecognised(unknown or stray, options_of(parser) + options_of(launcher)))
    own = _without(words, from_words)
    try:
        launch_command(launcher.parse_args([*launch_words, "--module", "trl_diffusion.cli", "train", method, *own]))
    except (subprocess.CalledProcessError, ChildFailedError):  # which has said why
        return 1
    return 0


def _switches(launcher: argparse.ArgumentParser, words: list[str]) -> list[str]:
    """
    What a file says of options without a value, `--quiet True`, as the command line has it.

    Raises:
        `UsageError`: If it is neither true nor false.
    """
    names = {name for action in launcher._actions if action.nargs == 0 for name in action.option_strings}
    rest: list[str] = []
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in names:
            rest += [name, value]
        elif value.lower() not in ("true", "false"):
            raise UsageError(f"`{name.removeprefix('--')}` must be true or false in the file, and is {value!r}.")
        elif value.lower() == "true":
            rest.append(name)
    return rest


def _without(words: list[str], taken: list[str]) -> list[str]:
    """What the parser has not left over: `taken` are some of the words, in their order."""
    rest, left_over = [], list(taken)
    for word in words:
        if left_over and word == left_over[0]:
            left_over.pop(0)
        else:
            rest.append(word)
    return rest


def with_config_file(words: list[str]) -> list[str]:
    """`--accelerate_config name` as the launcher takes it; of several, the last: a file's comes first."""
    rest, name = [], None
    left = iter(in_two_words(words, "--accelerate_config"))
    for word in left:
        if word != "--accelerate_config":
            rest.append(word)
        elif (name := next(left, None)) is None:
            raise UsageError("`--accelerate_config` needs a value.")
    if name is None:
        return rest
    path = (
        Path(name) if Path(name).is_file() else Path(str(files("trl_diffusion") / f"accelerate_configs/{name}.yaml"))
    )
    if not path.is_file():
        raise UsageError(f"`--accelerate_config {name}` is no file, and none of {', '.join(configurations())}.")
    return ["--config_file", str(path), *rest]
