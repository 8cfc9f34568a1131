# SPDX-License-Identifier: Apache-2.0
"""Whether answers that were kept have what a reward reads."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..evaluation import Generations
from ..evaluation.generate import RESERVED_COLUMNS


def check_columns(generations: Generations, path: str, reward: Callable[..., Any], option: str) -> None:
    """
    Args:
        generations ([`~trl_diffusion.evaluation.Generations`]):
            The answers.
        path (`str`):
            Their file, for messages.
        reward (`Callable`):
            Who judges them.
        option (`str`):
            The option that said so, for messages.

    Raises:
        `ValueError`: If they lack a column that the reward needs.
    """
    columns = generations.samples[0].columns
    parameters = inspect.signature(reward).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {p.name for p in parameters if p.kind in named and p.default is p.empty}
    if missing := sorted(needed - RESERVED_COLUMNS - columns.keys()):
        raise ValueError(
            f"{path} has the columns {_listed(columns)}, and `{option}` needs {_listed(missing)}: were these answers "
            "made for another task?"
        )


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
