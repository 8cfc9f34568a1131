# SPDX-License-Identifier: Apache-2.0
"""A run on one page: how it went, what it cost, and samples that one can watch being written. Opens from a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl import is_conversational

from ..evaluation import Evaluation, Generation, Generations, frontier
from ..evaluation.frontiers import names_and_conditions
from .canvas import token_groups
from .charts import chart
from .colours import colour_of, text_colour_of


# Charts of training, in this order: what they show, and the metrics, those that a run has logged.
_CHARTS = {
    "reward": ("reward",),
    "standard deviation of rewards": ("reward_std",),
    "forward passes per completion": ("sampler/nfe", "sampler/nfe_min", "sampler/nfe_max"),
    "tokens per pass": ("sampler/tokens_per_step",),
    "threshold": ("threshold/mean", "threshold/min", "threshold/max"),
    "loss": ("loss",),
    "norm of the gradient": ("grad_norm",),
    "KL divergence to the reference": ("kl",),
    "entropy of written tokens, nats": ("sampler/entropy",),
    "importance weight": ("sampling/importance_sampling_ratio/mean",),
    "share of ratios that are clipped": ("clip_ratio/region_mean",),
    "groups without signal": ("frac_reward_zero_std",),
    "length of completions": ("completions/mean_length",),
    "seconds per update": ("step_time",),
}
_SHARES = ("share of ratios that are clipped", "groups without signal")


def render_report(
    title: str,
    *,
    log_history: Iterable[Mapping[str, Any]] = (),
    sweeps: Mapping[str, Sequence[Evaluation]] | None = None,
    evaluations: Mapping[str, Evaluation] | None = None,
    samples: Mapping[str, Generations] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    rewards: Mapping[str, Sequence[float | None]] | None = None,
    max_samples: int = 12,
) -> str:
    """
    The page.

    Args:
        title (`str`):
            Name of the run.
        log_history (`Iterable[Mapping]`, *optional*):
            What the trainer has logged, as in `trainer_state.json`.
        sweeps (`Mapping[str, Sequence[Evaluation]]`, *optional*):
            Evaluations under many decoders, by the name of the model: drawn as frontiers.
        evaluations (`Mapping[str, Evaluation]`, *optional*):
            Single ones, by name: a table.
        samples (`Mapping[str, Generations]`, *optional*):
            Samples to watch, by name.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Theirs; needed for samples.
        rewards (`Mapping[str, Sequence[float | None]]`, *optional*):
            What a reward function says of the samples, by name and in their order: they are shown as right from 1 on,
            and the wrong ones can be looked at alone.
        max_samples (`int`, *optional*, defaults to `12`):
            How many of each are shown: the first ones.

    Returns:
        `str`: HTML, with all that it needs.

    Raises:
        `ValueError`: If there are samples and no tokenizer.
    """
    if samples and tokenizer is None:
        raise ValueError("`samples` need their `tokenizer`.")
    history = list(log_history)
    template = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    shown = {
        name: [_watchable(sample, tokenizer, generations.config.eos_token_ids) for sample in first]
        for name, generations in (samples or {}).items()
        if tokenizer is not None and (first := generations.samples[:max_samples])
    }
    for name, judged in (rewards or {}).items():
        for sample, reward in zip(shown.get(name, []), judged):
            sample["verdict"] = "not judged" if reward is None else "right" if reward >= 1 else "wrong"
    parts = {
        "title": escape(title),
        "training": _section("Training", _training_charts(history)),
        "evaluations": _section("Evaluation", _table(evaluations or {})),
        "frontiers": _section("Accuracy against forward passes", _frontier_chart(sweeps or {})),
        # Not to be left by a text that a model has written.
        "colours": json.dumps([(colour_of(i / 63), text_colour_of(i / 63)) for i in range(64)]),
        "legend": _legend(),
        "samples": json.dumps(shown).replace("<", "\\u003c"),
    }
    # All at once: what is put in may look like another place.
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], template)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _legend() -> str:
    """What the colours and signs of samples mean."""
    steps = "".join(f'<i style="background: {colour_of(i / 10)}"></i>' for i in range(11))
    return f'<p class="legend">first pass {steps} last pass, framed: the newest · ░ not written · ■ the end</p>'


def _training_charts(history: list[Mapping[str, Any]]) -> str:
    charts = []
    parts = sorted({name for entry in history for name in entry if re.fullmatch(r"rewards/.*/mean", name)})
    # A single function's is the reward.
    by_function = {"reward by function": tuple(parts)} if len(parts) > 1 else {}
    for title, metrics in {**_CHARTS, **by_function}.items():
        lines = {
            metric: [(float(entry["step"]), float(entry[metric])) for entry in history if metric in entry]
            for metric in metrics
        }
        lines = {metric: points for metric, points in lines.items() if points}
        if lines:
            charts.append(chart(title, lines, "update", limits=(0, 1) if title in _SHARES else None))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _frontier_chart(sweeps: Mapping[str, Sequence[Evaluation]]) -> str:
    names, conditions = names_and_conditions(sweeps)
    best = {names[name]: frontier(points) for name, points in sweeps.items()}
    lines = {name: [(e.nfe, 100 * e.accuracy) for e in points] for name, points in best.items()}
    intervals = {
        name: [(e.nfe, 100 * e.interval[0], 100 * e.interval[1]) for e in points] for name, points in best.items()
    }
    drawn = chart("accuracy, %, with 95 % intervals", lines, "forward passes per answer", intervals, (0, 100))
    return f'<div class="charts">{drawn}</div><p>{escape(conditions)}</p>' if drawn else ""


def _table(evaluations: Mapping[str, Evaluation]) -> str:
    if not evaluations:
        return ""
    heads = ("", "accuracy", "95 %", "problems", "passes", "tokens per pass", "decoder")
    rows = [f"<tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>"]
    for name, e in evaluations.items():
        decoder = ", ".join(f"{key} {value}" for key, value in e.decoder.items())
        low, high = e.interval
        cells = [f"{100 * e.accuracy:.1f} %", f"{100 * low:.1f} – {100 * high:.1f}", str(e.prompts), f"{e.nfe:.2f}"]
        cells += [f"{e.tokens_per_step:.2f}", decoder]
        rows.append(f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _watchable(sample: Generation, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> dict[str, Any]:
    """A sample for the page: its prompt, and its tokens with the steps that wrote them, `-1` for never."""
    prompt = sample.prompt
    if is_conversational({"prompt": prompt}):
        prompt = "\n".join(str(message["content"]) for message in prompt)
    record = sample.trajectory
    ids, steps = record.completion_ids[0].tolist(), record.unmask_step[0].tolist()
    return {
        "prompt": str(prompt),
        "passes": int(record.nfe[0]),
        "tokens": _tokens(tokenizer, ids, steps, ends),
    }


def _tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], steps: Sequence[int], ends: Sequence[int]
) -> list[tuple[str, int, int]]:
    """
    Of each token, its text, the step that wrote it, and the one that made its character whole: it may have several
    tokens, which are written in any order.
    """
    tokens = []
    words = [step >= 0 and token not in ends for token, step in zip(ids, steps, strict=True)]
    for start, end, text in token_groups(tokenizer, ids, words):
        whole = max(steps[start:end])
        texts = [""] * (end - start - 1) + ["■" if steps[start] >= 0 and ids[start] in ends else text]
        tokens += [(text, step, whole) for text, step in zip(texts, steps[start:end], strict=True)]
    return tokens
