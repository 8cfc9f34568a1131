# SPDX-License-Identifier: Apache-2.0
"""Rewards for giving the answer in the form that was asked for, right or wrong."""

from __future__ import annotations

import re
from typing import Any

from .extraction import UNKNOWN, last_boxed, visible_text


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_TAG = re.compile(r"<(/?)(reasoning|answer)>")


def answer_format_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """
    `1` for one `<answer>…</answer>` with something in it at the end of the text, else `0`.

    Args:
        completions (`list`):
            Completions, plain or conversational.

    Returns:
        `list[float]`: one reward per completion.
    """
    return [float(_tagged(visible_text(completion), ["answer"])) for completion in completions]


def reasoning_format_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """
    `1` for `<reasoning>…</reasoning><answer>…</answer>` with something in both and nothing around them, else `0`.

    Args:
        completions (`list`):
            Completions, plain or conversational.

    Returns:
        `list[float]`: one reward per completion.
    """
    texts = (visible_text(completion) for completion in completions)
    return [float(text.startswith("<reasoning>") and _tagged(text, ["reasoning", "answer"])) for text in texts]


def boxed_format_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    r"""
    `1` for one `\boxed{…}` that is closed and not empty, else `0`.

    Args:
        completions (`list`):
            Completions, plain or conversational.

    Returns:
        `list[float]`: one reward per completion.
    """
    return [float(_has_one_box(visible_text(completion))) for completion in completions]


def _has_one_box(text: str) -> bool:
    box = last_boxed(text)
    return (
        len(_BOX.findall(text)) == 1
        and _has_something(box or "")
        and re.search(re.escape(box or "") + r"\s*\}", text) is not None
    )


def _has_something(content: str) -> bool:
    return bool(content.replace(UNKNOWN, "").strip())


def _tagged(text: str, names: list[str]) -> bool:
    """Whether the text ends with these elements, one after the other, each with something in it, and has no others."""
    tags = [(name, bool(slash)) for slash, name in _TAG.findall(text)]
    if tags != [(name, slash) for name in names for slash in (False, True)]:
        return False
    match = re.search(r"\s*".join(rf"<{name}>(.*?)</{name}>" for name in names) + r"\Z", text, re.DOTALL)
    return match is not None and all(map(_has_something, match.groups()))
