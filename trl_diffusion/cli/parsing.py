# SPDX-License-Identifier: Apache-2.0
"""Command lines, with TRL's parser: dataclasses, a YAML file by `--config`, and options that win over it."""

from __future__ import annotations

import difflib
import importlib
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from typing import Any

from trl import TrlParser


def make_parser(prog: str, description: str, *kinds: Any) -> TrlParser:
    """A parser of the fields of these dataclasses."""
    parser = TrlParser(kinds, prog=f"trl-diffusion {prog}", description=description, allow_abbrev=False)
    parser.formatter_class = RawDescriptionHelpFormatter
    return parser


def parse(parser: TrlParser, words: Sequence[str]) -> tuple[Any, ...]:
    """
    The dataclasses.

    Raises:
        `SystemExit`: With the code 2, if there are words that mean nothing.
    """
    *parsed, unknown = parser.parse_args_and_config(list(words), return_remaining_strings=True)
    if unknown:
        parser.error(unrecognised(unknown, options_of(parser)))
    importlib.import_module("..models", __package__)  # registered, before a command does anything
    return tuple(parsed)


def options_of(parser: Any) -> list[str]:
    """All that begins with a dash."""
    return [option for action in parser._actions for option in action.option_strings]


def unrecognised(words: Iterable[str], known: list[str]) -> str:
    """What to say of words that mean nothing, with the nearest that do."""
    result = []
    for word in words:
        near = difflib.get_close_matches(word.split("=")[0], known, n=1)
        result.append(f"{word} (did you mean {near[0]}?)" if near else word)
    return f"unrecognised: {', '.join(result)}"
