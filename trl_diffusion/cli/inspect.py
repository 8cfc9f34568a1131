# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion inspect`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scripts.check import main
from .arguments import model_path


def run(words: Sequence[str]) -> int:
    return main([model_path(word) for word in words], prog="trl-diffusion inspect")
