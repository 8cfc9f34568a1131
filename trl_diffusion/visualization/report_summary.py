# SPDX-License-Identifier: Apache-2.0
"""A run in short, for its page: what was better, cheaper or worse at the end than in the beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from ..evaluation import Comparison, Evaluation


CHANGE = ' class="change"'


class Row(NamedTuple):
    """A figure, twice, and what has become of it."""

    name: str
    first: str
    last: str
    change: str


# Of training: what is shown, the metric, and how.
_TRAINING = (
    ("reward", "reward", "number"),
    ("passes per completion", "sampler/nfe", "cost"),
    ("tokens per completion", "completions/mean_length", "cost"),
    ("no end within the canvas", "completions/clipped_ratio", "share"),
    ("empty", "completions/empty", "share"),
    ("groups without signal", "frac_reward_zero_std", "share"),
)


def training_summary(history: Sequence[Mapping[str, Any]]) -> str:
    """The first tenth of the logs against the last, as HTML; nothing if there are not two."""
    logs = [entry for entry in history if "reward" in entry]
    few = max(1, len(logs) // 10)
    if len(logs) < 2:
        return ""
    rows = []
    for name, metric, kind in _TRAINING:
        ends = [[entry[metric] for entry in part if metric in entry] for part in (logs[:few], logs[-few:])]
        if all(ends):
            first, last = (sum(values) / len(values) for values in ends)
            rows.append(_row(name, first, last, kind))
    heads = ("first log", "last log") if few == 1 else (f"first {few} logs", f"last {few} logs")
    return _table("Rollouts in training", heads, rows)


def evaluation_summary(evaluations: Mapping[str, Evaluation], comparison: Comparison | None) -> str:
    """
    The first evaluation against the last, as HTML.

    Args:
        evaluations (`Mapping[str, Evaluation]`):
            Evaluations of the same problems, by name.
        comparison ([`~trl_diffusion.evaluation.Comparison`], *optional*):
            The last, less the first. Without one there is nothing to say.
    """
    if comparison is None:
        return ""
    (one, first), *_, (two, last) = evaluations.items()
    low, high = (100 * end for end in comparison.interval)
    rows = [
        _row("accuracy", first.accuracy, last.accuracy, "share"),
        Row("… 95 % interval", "", "", f"{low:+z.1f} to {high:+z.1f}, p = {comparison.p_value:.2g}"),
        Row("problems", "", "", f"{comparison.better} gained, {comparison.worse} lost"),
        _row("passes per answer", first.nfe, last.nfe, "cost"),
        _row("tokens per answer", first.tokens, last.tokens, "cost"),
        _row("no end within the canvas", first.truncated, last.truncated, "share"),
        _row("empty", first.empty, last.empty, "share"),
    ]
    note = "; ".join(f"{name} {a!r}, then {b!r}" for name, (a, b) in comparison.settings.items())
    note = f"<p>Not decoded alike: {escape(note)}. The changes are the decoder's, too.</p>" if note else ""
    return _table(f"The same {comparison.prompts} problems", (one, two), rows) + note


def _row(name: str, first: float, last: float, kind: str) -> Row:
    if kind == "share":
        shown = Row(name, _percent(first), _percent(last), f"{100 * (last - first):+z.1f} points")
    else:
        change = f"{100 * (last / first - 1):+z.0f} %" if kind == "cost" and first else f"{last - first:+z.2f}"
        shown = Row(name, f"{first:.2f}", f"{last:.2f}", change)
    return shown._replace(change="none") if shown.first == shown.last else shown


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _table(title: str, heads: tuple[str, str], rows: Sequence[Row]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("", *heads, "change"))
    body = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{escape(row.first)}</td><td>{escape(row.last)}</td>'
        f"<td{'' if row.change == 'none' else CHANGE}>{escape(row.change)}</td></tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
