# SPDX-License-Identifier: Apache-2.0
"""What was run, for its page: method, model, data, software, and the settings that are not the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


_AMONG_THE_FACTS = {
    *("method", "processes", "seed", "reward", "model_name_or_path", "model_revision"),
    *("task", "style", "train_size", "dataset_name", "dataset_train_split"),
}


def run_facts(record: Mapping[str, Any] | None, history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """
    What there is to know of a run, by name, in the order to read it in.

    Args:
        record (`Mapping`, *optional*):
            What `trl-diffusion train` keeps in the run's folder.
        history (`Sequence[Mapping]`):
            What the trainer has logged.
    """
    facts: dict[str, str | None] = {}
    settings = (record or {}).get("settings", {})
    if settings:
        facts["method"] = _said(settings.get("method"))
        facts["base model"] = _model(settings)
        facts["data"] = _data(settings)
        facts["rewards"] = _listed(settings.get("reward"))
        facts["seed"] = _said(settings.get("seed"))
    if history:
        facts["updates"] = _said(max(entry.get("step", 0) for entry in history))
        facts["time in updates"] = _duration(history)
    if settings:
        facts["processes"] = _said(settings.get("processes"))
    versions = (record or {}).get("versions") or {}
    facts["software"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return {name: fact for name, fact in facts.items() if fact}


def run_section(
    record: Mapping[str, Any] | None,
    history: Sequence[Mapping[str, Any]],
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """
    The facts of a run as HTML, and its settings, folded.

    Args:
        record, history:
            See [`run_facts`].
        defaults (`Mapping[str, Any]`, *optional*):
            The method's own settings, by name: those of the run that differ are shown first.
    """
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in run_facts(record, history).items()
    )
    if not facts:
        return ""
    settings = (record or {}).get("settings", {})
    known = {name: value for name, value in (defaults or {}).items() if name not in _AMONG_THE_FACTS}
    differing = {name: value for name, value in settings.items() if name in known and known[name] != value}
    return "".join(
        (
            f'<dl class="facts">{facts}</dl>',
            _settings("Settings that are not the method's defaults", differing, defaults),
            _settings("All settings that the result depends on", settings),
        )
    )


def _settings(title: str, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    if not settings:
        return ""
    heads = ("setting", "value", "default")[: 2 if defaults is None else 3]
    rows = [
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(_plain(x))}</td>" for x in (value, *(() if defaults is None else (defaults[name],))))
        + "</tr>"
        for name, value in settings.items()
    ]
    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return (
        f"<details><summary>{escape(title)} ({len(settings)})</summary>"
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "</details>"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def _said(value: Any) -> str | None:
    return None if value is None else str(value)


def _listed(values: Any) -> str | None:
    return ", ".join(map(str, values)) if isinstance(values, list) else _said(values)


def _model(settings: Mapping[str, Any]) -> str | None:
    name, revision = settings.get("model_name_or_path"), settings.get("model_revision")
    parts = [_said(name)] + ([f"revision {revision}"] if revision not in (None, "main") else [])
    if settings.get("use_peft"):
        parts.append(f"LoRA of rank {settings.get('lora_r')}")
    return ", ".join(part for part in parts if part)


def _data(settings: Mapping[str, Any]) -> str:
    task, style, size = (settings.get(name) for name in ("task", "style", "train_size"))
    if task is None:
        return f"{settings.get('dataset_name')}, split {settings.get('dataset_train_split')}"
    parts = [f"task {task}, split train"]
    parts += [f"{size} problems"] if size is not None else []
    parts += [f"style {style}"] if style is not None else []
    return ", ".join(parts)


def _duration(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Seconds per update, times the updates since the last log."""
    seconds, before = 0.0, 0
    for entry in history:
        if "step_time" in entry:
            seconds += entry["step_time"] * (entry["step"] - before)
            before = entry["step"]
    if not before:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
