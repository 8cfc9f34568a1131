# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion inspect`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scripts.check import main


def run(words: Sequence[str]) -> int:
    return main(list(words), prog="trl-diffusion inspect")
