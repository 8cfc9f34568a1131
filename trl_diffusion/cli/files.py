# SPDX-License-Identifier: Apache-2.0
"""Files that are written when the work is done."""

from __future__ import annotations

import os
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
