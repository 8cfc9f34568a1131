# SPDX-License-Identifier: Apache-2.0
"""How `--help` looks: a short usage line; each option in one spelling, with its kind, its choices and its default."""

from __future__ import annotations

import argparse
import itertools
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any


# What a value is, by the name of the function that reads it; text, if by another one.
_KINDS = {"int": "INT", "float": "FLOAT", "string_to_bool": "BOOL", "dict": "JSON"}
_ROOM_FOR_CHOICES = 30  # beside an option, in characters; longer lists stand in its description


class Formatter(argparse.HelpFormatter):
    """For options as transformers' parser makes them, and others."""

    def __init__(self, prog: str, **layout: Any) -> None:
        super().__init__(prog, **{"max_help_position": 30} | layout)
        self.negations: dict[str, str] = {}  # by what they switch off
        self.brief: Collection[str] = ()  # options of whose description the first sentence is enough

    def add_argument(self, action: argparse.Action) -> None:
        if action.dest not in self.negations or not isinstance(action, argparse._StoreFalseAction):
            super().add_argument(action)  # what switches off is shown beside what it switches

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        required = [
            f"{self._format_action_invocation(action) if action.option_strings else action.metavar or action.dest}"
            for action in actions
            if action.required
        ]
        start = f"usage: {self._prog} "
        line = start + " ".join([*required, "[options]"])
        return textwrap.fill(line, self._width, subsequent_indent=" " * len(start), break_on_hyphens=False) + "\n\n"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are filled, and lines with an indentation, such as examples, stay as they are."""
        result = []
        for is_raw, lines in itertools.groupby(text.split("\n"), key=lambda line: not line or line.startswith(" ")):
            if is_raw:
                result += [f"{indent}{line}".rstrip() for line in lines]
            else:
                result.append(textwrap.fill(" ".join(lines), width, initial_indent=indent, subsequent_indent=indent))
        return "\n".join(result)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        # transformers' parser also takes `--max-steps` for `--max_steps`.
        names = [option for option in action.option_strings if "-" not in option.lstrip("-")]
        if action.dest in self.negations:
            names.append(self.negations[action.dest])
        shown = ", ".join(names)
        if action.nargs == 0 or (action.nargs == "?" and action.const is True):
            return shown
        return f"{shown} {self._format_args(action, self._get_default_metavar_for_optional(action))}"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return _KINDS.get(getattr(action.type, "__name__", ""), "TEXT")

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Callable[[int], tuple[str, ...]]:
        if action.metavar is None and _has_many_choices(action):
            return lambda size: ("NAME",) * size
        return super()._metavar_formatter(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.dest in self.brief:
            text = re.split(r"(?<=\.)\s", text)[0]
        if _has_many_choices(action):
            text = f"One of {', '.join(map(str, action.choices or ()))}. {text}"
        if action.option_strings and not action.required and action.default not in (None, argparse.SUPPRESS, []):
            text += " (default: %(default)s)"
        return text


def overview(prog: str, before: str, title: str, entries: Mapping[str, str], *after: str) -> str:
    """
    The help of a command that only has names of others.

    Args:
        prog (`str`):
            The command, with what stands for one of the names.
        before (`str`):
            What it does.
        title (`str`):
            What the names are.
        entries (`Mapping[str, str]`):
            Names, and what each stands for.
        after (`str`):
            Texts that come last.

    Returns:
        `str`: the text.
    """
    formatter = Formatter(prog, max_help_position=18)
    formatter.add_usage(None, [], [])
    formatter.add_text(before)
    formatter.start_section(title)
    formatter.add_arguments([argparse.Action([], name, metavar=name, help=what) for name, what in entries.items()])
    formatter.end_section()
    for text in after:
        formatter.add_text(text)
    return formatter.format_help().rstrip()


def _has_many_choices(action: argparse.Action) -> bool:
    return action.choices is not None and len(",".join(map(str, action.choices))) > _ROOM_FOR_CHOICES
