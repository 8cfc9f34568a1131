# SPDX-License-Identifier: Apache-2.0
"""Whether answers that were kept have what a reward reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..evaluation import Generations
from ..evaluation.generate import RESERVED_COLUMNS
from ..evaluation.scoring import listed, needed_by


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
    if missing := sorted(needed_by(reward) - RESERVED_COLUMNS - columns.keys()):
        raise ValueError(
            f"{path} has the columns {listed(columns)}, and `{option}` needs {listed(missing)}: were these answers "
            "made for another task?"
        )
