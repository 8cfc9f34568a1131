# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion env`."""

from __future__ import annotations

from collections.abc import Sequence

from ..scripts.options import UsageError
from ..version import __version__


DESCRIPTION = """usage: trl-diffusion env

Prints versions and devices. It takes no options."""


def run(words: Sequence[str]) -> int:
    if list(words) in (["-h"], ["--help"]):
        print(DESCRIPTION)
        return 0
    if words:
        raise UsageError(f"`env` takes no options, got {' '.join(words)}.")
    from trl.scripts.env import print_env

    print_env()
    print(f"- trl-diffusion version: {__version__}")
    return 0
