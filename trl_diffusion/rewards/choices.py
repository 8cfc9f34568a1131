# SPDX-License-Identifier: Apache-2.0
r"""The letters of multiple choice before what they stand for: `\textbf{(C)}\ 12`, `C) 12`."""

from __future__ import annotations

import re

from .numbers import denies


_LABEL = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm)\s*\{\s*(?:\(([A-J])\)|([A-J])[.):])\s*[.:]?\s*\}\s*(?=[-\w.¤\\(\[⟦])"
    r"|(?:\(([A-J])\)|([A-J])\))[.:]?\s+(?=[0-9.¤(\[⟦]|\\(?:frac|sqrt|text)(?![a-zA-Z]))"
)
_OTHERS = re.compile(
    r"(?<![a-zA-Z\\])[A-J](?![a-zA-Z])|(?<![a-zA-Z])(?:and|or|to)(?![a-zA-Z])|\\(?:in|cdot|times|cup|cap|pm|to)(?![a-zA-Z])"
)


def split_choice(text: str) -> tuple[str, str]:
    r"""
    Take a letter and its choice apart.

    Args:
        text (`str`):
            A tidy answer.

    Returns:
        `tuple[str, str]`: the letter in brackets and the choice; an empty letter and the whole text where one of them
        is missing, where there are several letters, or something that takes the choice back.
    """
    label = _LABEL.match(text)
    if label is None:
        return "", text
    choice = text[label.end() :].strip()
    if _OTHERS.search(choice) or denies(choice):
        return "", text
    return f"({''.join(filter(None, label.groups()))})", choice
