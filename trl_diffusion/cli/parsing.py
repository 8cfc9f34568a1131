# SPDX-License-Identifier: Apache-2.0
"""Command lines, with TRL's parser: dataclasses, a YAML file by `--config`, and options that win over it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from trl import TrlParser

from ..scripts.options import OneLine, options_of, unrecognised
from .quiet import register_models


NUMBERS = (int, float, int | None, float | None)


class Parser(OneLine, TrlParser):
    """TRL's parser, which says what is wrong with a file, and takes values from it as from the command line."""

    given: frozenset[str] | set[str] = frozenset()  # the options on the command line and in the file, when parsed

    def parse_args_and_config(self, args: Iterable[str] | None = None, *how: Any, **more: Any) -> tuple[Any, ...]:
        """
        See [`~trl.TrlParser`]; `--config=file` is a file, too.

        Raises:
            `ValueError`: If there is no file, or it is no YAML.
        """
        words = in_two_words(sys.argv[1:] if args is None else args, "--config")
        if words[-1:] == ["--config"]:
            raise ValueError("`--config` needs a value.")
        if "--config" in words and not Path(file := words[words.index("--config") + 1]).is_file():
            raise FileNotFoundError(f"`--config {file}` does not exist, or is no file.")
        typed = {word.split("=")[0] for word in words}
        self.given = {action.dest for action in self._actions if typed.intersection(action.option_strings)}
        try:
            return super().parse_args_and_config(words, *how, **more)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            file = words[words.index("--config") + 1] if "--config" in words else "?"
            raise ValueError(f"`--config {file}` is no YAML file: {' '.join(str(error).split())}.") from error

    def set_defaults_with_config(self, **values: Any) -> list[str]:
        remaining = super().set_defaults_with_config(**values)
        self.given = {*self.given, *values}
        hints = {name: hint for kind in self.dataclass_types for name, hint in get_type_hints(kind).items()}
        for action in self._actions:
            if action.dest in values:
                action.default = self._from_file(action, hints.get(action.dest), values[action.dest])
        return remaining

    def _from_file(self, action: argparse.Action, hint: Any, value: Any) -> Any:
        """What the command line would make of a value, which YAML may have read in its own way."""
        if action.nargs == "+" and value is not None:  # a list, which one value may stand for
            return [self._one(action, item) for item in (value if isinstance(value, list) else [value])]
        if hint is str or hint == str | None:
            if (value is None and hint is str) or not isinstance(value, str | None):
                self.error(f"`{action.dest}` must be text, and is {value!r} in the file: put it in quotes")
            return value
        return self._one(action, value) if hint in NUMBERS else value

    def _one(self, action: argparse.Action, value: Any) -> Any:
        if value is None or action.type is str:
            return value
        try:
            return self._get_value(action, str(value))
        except argparse.ArgumentError as error:
            self.error(str(error))


def make_parser(prog: str, description: str, *kinds: Any, **more: Any) -> Parser:
    """A parser of the fields of these dataclasses, with more options of `argparse`'s."""
    parser = Parser(kinds, prog=f"trl-diffusion {prog}", description=description, allow_abbrev=False, **more)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    register_models()
    return tuple(parsed)


def in_two_words(words: Iterable[str], option: str) -> list[str]:
    """`option=value` as `option value`, which is all that TRL's parser looks for."""
    result: list[str] = []
    for word in words:
        result += [option, word.removeprefix(f"{option}=")] if word.startswith(f"{option}=") else [word]
    return result
