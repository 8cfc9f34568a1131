# SPDX-License-Identifier: Apache-2.0
"""The tiny base models that ship with the package. [`build`] is the script that made them."""

from __future__ import annotations

from pathlib import Path


EMBEDDED = "embedded/"
"""What their names begin with on command lines: `embedded/sudoku`."""


def path(task: str) -> str:
    """
    Folder of an embedded checkpoint, to pass as `model`.

    Args:
        task (`str`):
            `"sudoku"` or `"countdown"`.

    Raises:
        `ValueError`: If there is no such checkpoint.
    """
    folder = Path(__file__).parent / task
    if not (folder / "config.json").is_file():
        raise ValueError(f"There is no embedded model for {task!r}; there is one for 'sudoku' and for 'countdown'.")
    return str(folder)
