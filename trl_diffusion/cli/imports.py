# SPDX-License-Identifier: Apache-2.0
"""Functions of the user's own, by their names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any


def import_function(name: str, option: str) -> Callable[..., Any]:
    """
    Import a function.

    Args:
        name (`str`):
            `"module:function"`, where the module may lie in the current folder.
        option (`str`):
            The option that gave the name, for messages.

    Raises:
        `ValueError`: If there is no such function.
    """
    module, _, function = name.partition(":")
    if not function:
        raise ValueError(f"`{option}` must be 'module:function', got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`{option} {name}` was not found: {error}.") from error
    if not callable(found):
        raise ValueError(f"`{option} {name}` is a {type(found).__name__}, and no function.")
    return found
