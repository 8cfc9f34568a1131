# SPDX-License-Identifier: Apache-2.0
"""What training wrote to the same prompt at its beginning and at its end, for the page of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .report_samples import completion_text, messages


Row = Mapping[str, Any]
Pair = tuple[list[Row], list[Row]]


def first_and_last(rows: Iterable[Row]) -> list[Pair]:
    """
    Of each prompt that training had more than once, the completions of the first update and of the last.

    Args:
        rows (`Iterable[Mapping]`):
            Of the tables that `log_completions` writes: `step`, `prompt`, `completion`, and more.
    """
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row["prompt"]), {}).setdefault(row["step"], []).append(row)
    return [(updates[min(updates)], updates[max(updates)]) for updates in groups.values() if len(updates) > 1]


def rollouts_section(rows: Iterable[Row], rewards: Sequence[str], max_prompts: int) -> str:
    """
    The pairs as HTML, those that are furthest apart first, folded; nothing if there are none.

    Args:
        rows (`Iterable[Mapping]`):
            See [`first_and_last`].
        rewards (`Sequence[str]`):
            The columns that are rewards.
        max_prompts (`int`):
            How many are shown.
    """
    pairs = sorted(first_and_last(rows), key=lambda pair: pair[0][0]["step"] - pair[1][0]["step"])
    if not pairs:
        return ""
    shown = "".join(_pair(pair, rewards) for pair in pairs[:max_prompts])
    title = f"The same prompts early and late in training ({len(pairs[:max_prompts])} of {len(pairs)})"
    note = "The first completion of each; rewards and passes are means over all of the prompt in that update."
    return f"<details><summary>{title}</summary><p>{note}</p>{shown}</details>"


def _pair(pair: Pair, rewards: Sequence[str]) -> str:
    asked = "".join(
        ("" if role is None else f'<div class="role">{escape(role)}</div>') + f"<pre>{escape(text)}</pre>"
        for role, text in messages(pair[0][0]["prompt"])
    )
    answers = "".join(
        f'<div class="answer"><h3>{escape(_head(group, rewards))}</h3>'
        f"<pre>{escape(completion_text(group[0]['completion']))}</pre></div>"
        for group in pair
    )
    return f'<div class="message">{asked}</div><div class="answers">{answers}</div>'


def _head(group: Sequence[Row], rewards: Sequence[str]) -> str:
    said = [f"update {group[0]['step']}"]
    for name in [*rewards, "nfe"]:
        values = [row[name] for row in group if row.get(name) is not None and row[name] == row[name]]
        if values:
            mean = sum(values) / len(values)
            said.append(f"{mean:.1f} passes" if name == "nfe" else f"{name} {mean:.2f}")
    return " · ".join(said)
