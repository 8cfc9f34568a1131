# SPDX-License-Identifier: Apache-2.0
"""Functions of the user's own, by their names."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any


class UserCodeError(Exception):
    """Code of the user's has raised the error that is this one's cause."""


def import_function(name: str, option: str) -> Callable[..., Any]:
    """
    Import a function.

    Args:
        name (`str`):
            `"module:function"`, where the module may lie in the current folder.
        option (`str`):
            The option that gave the name, for messages.

    Returns:
        `Callable`: the same, which raises [`UserCodeError`] when it fails.

    Raises:
        `ValueError`: If there is no such function.
        `UserCodeError`: If the module fails.
    """
    module, _, function = name.partition(":")
    if not function or not module or module.startswith("."):
        raise ValueError(f"`{option}` must be 'module:function', got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`{option} {name}` was not found: {error}.") from error
    except Exception as error:
        raise UserCodeError(f"`{option} {name}`: its module raised {_brief(error)}") from error
    if not callable(found):
        raise ValueError(f"`{option} {name}` is a {type(found).__name__}, and no function.")
    return _named(found, f"{option} {name}") if inspect.isfunction(found) else found


def _named(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    """The same function, whose errors say which one it was."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise UserCodeError(f"`{what}` raised {_brief(error)}") from error

    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except Exception as error:
            raise UserCodeError(f"`{what}` raised {_brief(error)}") from error

    return call_async if inspect.iscoroutinefunction(function) else call


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
