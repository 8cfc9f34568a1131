# SPDX-License-Identifier: Apache-2.0
"""Command lines, with TRL's parser: dataclasses, a YAML file by `--config`, and options that win over it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml
from trl import TrlParser

from ..scripts.help import Formatter
from ..scripts.options import OneLine, UsageError, options_of, unrecognised
from .quiet import register_models


NUMBERS = (int, float, int | None, float | None)
PRESENT = (str, int, float, bool)  # no `None`


class Parser(OneLine, TrlParser):
    """TRL's parser, which says what is wrong with a file, and takes values from it as from the command line."""

    _rest: argparse._ArgumentGroup | None = None
    _brief: frozenset[str] = frozenset()
    # Of what has been parsed, the options on the command line, and those with the file's.
    typed: frozenset[str] | set[str] = frozenset()
    given: frozenset[str] | set[str] = frozenset()

    def _add_dataclass_arguments(self, dtype: Any) -> None:
        """transformers' own, which makes a group of a dataclass with `_argument_group_name`."""
        super()._add_dataclass_arguments(dtype)
        if hasattr(dtype, "_argument_group_name"):
            self._action_groups[-1].description = getattr(dtype, "_argument_group_description", None)

    def arrange(self, groups: Mapping[str, Iterable[str]], rest: str, brief: Collection[str]) -> None:
        """
        Sort options into groups.

        Args:
            groups (`Mapping[str, Iterable[str]]`):
                Titles, and names of options. Those that a group has already, or that there are not, are passed over.
            rest (`str`):
                What to call all others, which `--help_all` alone shows.
            brief (`Collection[str]`):
                Options of whose description the first sentence is enough, but for `--help_all`.
        """
        self.add_argument("--help_all", "--help-all", action=_HelpAll, help="Show all options, in full, and exit.")
        loose: dict[str, list[argparse.Action]] = {}
        for action in self._optionals._group_actions:
            loose.setdefault(action.dest, []).append(action)
        self._optionals._group_actions = [*loose.pop("help"), *loose.pop("help_all"), *loose.pop("--config")]
        for title, names in groups.items():
            self.add_argument_group(title)._group_actions += [a for name in names for a in loose.pop(name, [])]
        self._brief, self._rest = frozenset(brief), self.add_argument_group(rest)
        self._rest._group_actions += [action for actions in loose.values() for action in actions]
        hidden = sum(actions[0].help is not argparse.SUPPRESS for actions in loose.values())
        self.epilog = f"`{self.prog} --help_all` also shows {rest}, {hidden} options."

    def format_help(self, everything: bool = False) -> str:
        """See [`argparse.ArgumentParser.format_help`]; also of the options that [`arrange`] has put into the rest."""
        shown = vars(self).copy()
        if everything:
            self.epilog, self._brief = None, frozenset()
        else:
            self._action_groups = [group for group in self._action_groups if group is not self._rest]
        try:
            return super().format_help()
        finally:
            vars(self).update(shown)

    def _get_formatter(self) -> argparse.HelpFormatter:
        formatter = cast(Formatter, super()._get_formatter())
        formatter.brief = self._brief
        negations = (action for action in self._actions if isinstance(action, argparse._StoreFalseAction))
        formatter.negations = {action.dest: action.option_strings[0] for action in negations}
        return formatter

    def parse_args_and_config(self, args: Iterable[str] | None = None, *how: Any, **more: Any) -> tuple[Any, ...]:
        """
        See [`~trl.TrlParser`]; `--config=file` is a file, too.

        Raises:
            `ValueError`: If there is no file, or it is no YAML.
        """
        words = in_two_words(sys.argv[1:] if args is None else args, "--config")
        if words[-1:] == ["--config"]:
            raise UsageError("`--config` needs a value.")
        if "--config" in words and not Path(file := words[words.index("--config") + 1]).is_file():
            raise FileNotFoundError(f"`--config {file}` does not exist, or is no file.")
        typed = {word.split("=")[0] for word in words}
        self.typed = {action.dest for action in self._actions if typed.intersection(action.option_strings)}
        self.given = self.typed
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
        if value is None and hint in PRESENT:
            self.error(f"`{action.dest}` has no value in the file: give it one, or take the line out")
        if action.nargs == "+" and value is not None:  # a list, which one value may stand for
            return [self._one(action, item) for item in (value if isinstance(value, list) else [value])]
        if hint is str or hint == str | None:
            if not isinstance(value, str | None):
                self.error(f"`{action.dest}` must be text, and is {value!r} in the file: put it in quotes")
            return value if value is None else self._checked(action, value)
        return self._one(action, value) if hint in NUMBERS else value

    def _one(self, action: argparse.Action, value: Any) -> Any:
        if value is None or action.type is str:
            return value
        try:
            return self._get_value(action, str(value))
        except argparse.ArgumentError as error:
            self.error(str(error))

    def _checked(self, action: argparse.Action, value: Any) -> Any:
        try:
            self._check_value(action, value)
        except argparse.ArgumentError as error:
            self.error(str(error))
        return value


class _HelpAll(argparse.Action):
    """Like `--help`, of all options."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, *args: Any) -> None:
        print(parser.format_help(everything=True), end="")
        parser.exit()


def make_parser(prog: str, description: str, *kinds: Any) -> Parser:
    """A parser of the fields of these dataclasses."""
    parser = Parser(
        kinds,
        prog=f"trl-diffusion {prog}",
        description=description,
        formatter_class=Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", default=argparse.SUPPRESS, help="Show this, and exit.")
    # TRL's parser takes it away before it parses. No key of a file has its `dest`, which would make a setting of it.
    parser.add_argument(
        "--config",
        dest="--config",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="A YAML file of these options; those on the command line win.",
    )
    return parser


def parse(parser: TrlParser, words: Sequence[str]) -> tuple[Any, ...]:
    """
    The dataclasses.

    Raises:
        `SystemExit`: With the code 2, if there are words that mean nothing.
    """
    # Before what is missing, which may be what was misspelt.
    known = options_of(parser)
    misspelt = [word for word in words if word.startswith("--") and word != "--" and word.split("=")[0] not in known]
    if misspelt:
        parser.error(unrecognised(misspelt, known))
    *parsed, unknown = parser.parse_args_and_config(list(words), return_remaining_strings=True)
    if unknown:
        parser.error(unrecognised(unknown, known))
    register_models()
    return tuple(parsed)


def in_two_words(words: Iterable[str], option: str) -> list[str]:
    """`option=value` as `option value`, which is all that TRL's parser looks for."""
    result: list[str] = []
    for word in words:
        result += [option, word.removeprefix(f"{option}=")] if word.startswith(f"{option}=") else [word]
    return result
