# SPDX-License-Identifier: Apache-2.0
"""The two splits of a generated task."""

from __future__ import annotations

from typing import Literal, get_args


Split = Literal["train", "test"]


def check_split(split: str) -> None:
    """
    Refuse any other name: taken for `"train"`, it would leak training data into an evaluation.

    Raises:
        `ValueError`: If the split does not exist.
    """
    if split not in get_args(Split):
        raise ValueError(f"`split` must be one of {', '.join(map(repr, get_args(Split)))}, got {split!r}.")
