# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion inspect`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..scripts.check_options import make_parser, parse


PROG = "trl-diffusion inspect"


def make() -> argparse.ArgumentParser:
    return make_parser(PROG)


def run(words: Sequence[str]) -> int:
    args = parse(list(words), prog=PROG)

    from ..scripts import check  # loads PyTorch

    return check.run(args)
