# SPDX-License-Identifier: Apache-2.0
"""Files that are written when the work is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def prepare(path: str, option: str) -> None:
    """
    Make the folder of a file that will be written, while there is no work to lose.

    Args:
        path (`str`):
            The file.
        option (`str`):
            The option that names it.

    Raises:
        `OSError`: If it will not be possible to write it.
    """
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"`{option} {path}`: its folder cannot be made ({error}).") from error
    if file.is_dir():
        raise IsADirectoryError(f"`{option} {path}` is a folder. Name a file.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f"`{option} {path}` cannot be written: permission is denied.")


@contextmanager
def path_is(option: str) -> Iterator[None]:
    """Errors of the library that are about its argument `path` name the option that gave it."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        if "`path`" not in said:
            raise
        raise ValueError(said.replace("`path`", f"`{option}`")) from error


def check_kept(path: str, option: str, problems: int) -> None:
    """
    Args:
        path (`str`):
            A file of generations, if it exists.
        option (`str`):
            The option that names it.
        problems (`int`):
            How many problems there are to solve.

    Raises:
        `ValueError`: If it holds the answers to more, or to fewer.
    """
    try:
        with open(path, encoding="utf-8") as file:
            made_for = json.loads(file.readline())["prompts"]
    except (OSError, ValueError, KeyError, TypeError):  # what is wrong with it is told when it is read in full
        return
    if made_for != problems:
        raise ValueError(
            f"`{option} {path}` was made for {made_for} problems, here {problems} (`--size`): name another file, or "
            "delete this one."
        )
