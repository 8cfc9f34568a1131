# SPDX-License-Identifier: Apache-2.0
"""Command lines that say in one line what is wrong with them."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn


class UsageError(ValueError):
    """The command line means nothing."""


class OneLine(argparse.ArgumentParser):
    """Says what is wrong in one line, and not all options first."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"(--\w+)/--[\w-]+", r"\1", message)  # one spelling is enough
        self.exit(2, f"error: {message} (`{self.prog} --help` describes the options)\n")


def options_of(parser: Any) -> list[str]:
    """All that begins with a dash, and that the help does not hide."""
    shown = [action for action in parser._actions if action.help is not argparse.SUPPRESS]
    return [option for action in shown for option in action.option_strings]


def unrecognised(words: Iterable[str], known: Iterable[str]) -> str:
    """What to say of words that mean nothing, with the nearest that do."""
    result = []
    for word in words:
        near = difflib.get_close_matches(word.split("=")[0], known, n=1)
        result.append(f"{word} (did you mean {near[0]}?)" if near else word)
    return f"unrecognised: {', '.join(result)}"
