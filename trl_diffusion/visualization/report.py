# SPDX-License-Identifier: Apache-2.0
"""
A run on one page: whether it worked, what was run, how it went, what it cost, and samples that one can watch being
written. Opens from a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..evaluation import Comparison, Evaluation, Generations, frontier
from ..evaluation.frontiers import names_and_conditions, settings_of_the_rule
from .charts import Point, chart
from .colours import colour_of, text_colour_of
from .report_rollouts import rollouts_section
from .report_run import run_section
from .report_samples import watchable_sets
from .report_summary import evaluation_summary, training_summary


# Charts of training, in this order: what they show, and the metrics, those that a run has logged.
_CHARTS = {
    "reward": ("reward",),
    "forward passes per completion": ("sampler/nfe", "sampler/nfe_min", "sampler/nfe_max"),
    "tokens per pass": ("sampler/tokens_per_step",),
    "length of completions": ("completions/mean_length",),
    "threshold": ("threshold/mean", "threshold/min", "threshold/max"),
    "groups without signal": ("frac_reward_zero_std",),
}
# Those that one looks at if something is wrong: folded.
_MORE_CHARTS = {
    "standard deviation of rewards": ("reward_std",),
    "completions without an end": ("completions/clipped_ratio",),
    "loss": ("loss",),
    "norm of the gradient": ("grad_norm",),
    "KL divergence to the reference": ("kl",),
    "entropy of written tokens, nats": ("sampler/entropy",),
    "importance weight": ("sampling/importance_sampling_ratio/mean",),
    "share of ratios that are clipped": ("clip_ratio/region_mean",),
    "seconds per update": ("step_time",),
}
_SHARES = ("share of ratios that are clipped", "groups without signal", "completions without an end")


def render_report(
    title: str,
    *,
    log_history: Iterable[Mapping[str, Any]] = (),
    completions: Iterable[Mapping[str, Any]] = (),
    record: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    sweeps: Mapping[str, Sequence[Evaluation]] | None = None,
    evaluations: Mapping[str, Evaluation] | None = None,
    comparison: Comparison | None = None,
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
        completions (`Iterable[Mapping]`, *optional*):
            Rows of the tables that `log_completions` writes: prompts that training had early and late are shown.
        record (`Mapping`, *optional*):
            What `trl-diffusion train` keeps in `_run.json`: `settings`, and `versions` of packages.
        defaults (`Mapping`, *optional*):
            The method's default settings, by name: those that the run has changed are shown first.
        sweeps (`Mapping[str, Sequence[Evaluation]]`, *optional*):
            Evaluations under many decoders, by the name of the model: drawn as frontiers.
        evaluations (`Mapping[str, Evaluation]`, *optional*):
            Single ones, by name: a table.
        comparison ([`~trl_diffusion.evaluation.Comparison`], *optional*):
            Of the first and the last of these: it stands at the top of the page.
        samples (`Mapping[str, Generations]`, *optional*):
            Samples to watch, by name. Those of the same prompts, as before and after training, are shown side by side.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Theirs; needed for samples.
        rewards (`Mapping[str, Sequence[float | None]]`, *optional*):
            What a reward function says of the samples, by name and in their order: they are shown as right from 1 on.
            Those that are wrong, or that were lost or gained from the first to the last, can be looked at alone.
        max_samples (`int`, *optional*, defaults to `12`):
            How many are shown: the first ones, and as many of the others that are wrong, lost or gained.

    Returns:
        `str`: HTML, with all that it needs.

    Raises:
        `ValueError`: If there are samples and no tokenizer.
    """
    if samples and tokenizer is None:
        raise ValueError("`samples` need their `tokenizer`.")
    # TRL logs nothing but `None` of what was not there: a threshold that nobody drew, ratios of groups without signal.
    history = [{name: value for name, value in entry.items() if value is not None} for entry in log_history]
    template = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    shown = watchable_sets(samples, tokenizer, rewards or {}, max_samples) if samples and tokenizer is not None else {}
    in_short = evaluation_summary(evaluations or {}, comparison) + training_summary(history)
    parts = {
        "title": escape(title),
        "summary": _section("In short", in_short and f'<div class="short">{in_short}</div>'),
        "run": _section("Run", run_section(record, history, defaults)),
        "training": _section("Training", _training(history, completions, max_samples)),
        "evaluations": _section("Evaluation", _table(evaluations or {})),
        "frontiers": _section("Accuracy against forward passes", _frontiers(sweeps or {})),
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


def _training(history: Sequence[Mapping[str, Any]], completions: Iterable[Mapping[str, Any]], max_prompts: int) -> str:
    parts = sorted({name for entry in history for name in entry if re.fullmatch(r"rewards/.*/mean", name)})
    functions = [name.removeprefix("rewards/").removesuffix("/mean") for name in parts]
    return _training_charts(history, parts) + rollouts_section(completions, functions, max_prompts)


def _training_charts(history: Sequence[Mapping[str, Any]], parts: Sequence[str]) -> str:
    # A single function's is the reward.
    by_function = {"reward by function": parts} if len(parts) > 1 else {}
    more = _charts(history, _MORE_CHARTS)
    return _charts(history, by_function | _CHARTS) + (
        more and f"<details><summary>More curves</summary>{more}</details>"
    )


def _charts(history: Sequence[Mapping[str, Any]], wanted: Mapping[str, Sequence[str]]) -> str:
    charts = []
    for title, metrics in wanted.items():
        lines = {
            metric: [(float(entry["step"]), float(entry[metric])) for entry in history if metric in entry]
            for metric in metrics
        }
        lines = {metric: points for metric, points in lines.items() if points}
        if lines:
            charts.append(chart(title, lines, "update", limits=(0, 1) if title in _SHARES else None))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _frontiers(sweeps: Mapping[str, Sequence[Evaluation]]) -> str:
    """A chart of all points, those that others beat fainter, and a table of the best."""
    names, conditions = names_and_conditions(sweeps)
    best = {names[name]: frontier(points) for name, points in sweeps.items()}
    beside = {
        names[name]: [_point(e) for e in points if not any(e is other for other in best[names[name]])]
        for name, points in sweeps.items()
    }
    lines = {name: [_point(e) for e in points] for name, points in best.items()}
    intervals = {
        name: [(e.nfe, 100 * e.interval[0], 100 * e.interval[1]) for e in points] for name, points in best.items()
    }
    title = "accuracy, %, with 95 % intervals"
    drawn = chart(title, lines, "forward passes per answer", intervals, (0, 100), beside, logarithmic=True)
    if not drawn:
        return ""
    asked = sorted({e.prompts for points in sweeps.values() for e in points})
    problems = f"{asked[0]} problems" if len(asked) == 1 else f"{asked[0]} to {asked[-1]} problems"
    faint = " Faint: decoders that another one beats." if any(beside.values()) else ""
    note = escape(f"{problems}{'; ' if conditions else ''}{conditions}.{faint}")
    return f'<div class="charts one">{drawn}</div><p>{note}</p>{_best_points(best)}'


def _point(evaluation: Evaluation) -> Point:
    return evaluation.nfe, 100 * evaluation.accuracy


def _best_points(best: Mapping[str, Sequence[Evaluation]]) -> str:
    rows = [
        [name, f"{e.nfe:.2f}", f"{100 * e.accuracy:.1f} %", _within(e), _decoder(settings_of_the_rule(e))]
        for name, points in best.items()
        for e in points
    ]
    table = _rows(("model", "passes", "accuracy", "95 %", "decoder"), rows)
    return f"<details><summary>The decoders that no other beats</summary>{table}</details>"


def _table(evaluations: Mapping[str, Evaluation]) -> str:
    if not evaluations:
        return ""
    decoders = {name: _decoder(e.decoder) for name, e in evaluations.items()}
    same = len(set(decoders.values())) == 1
    heads = ("", "accuracy", "95 %", "problems", "passes", "tokens per pass", *(() if same else ("decoder",)))
    rows = [
        [name, f"{100 * e.accuracy:.1f} %", _within(e), str(e.prompts), f"{e.nfe:.2f}", f"{e.tokens_per_step:.2f}"]
        + ([] if same else [decoders[name]])
        for name, e in evaluations.items()
    ]
    return _rows(heads, rows) + (f"<p>Decoder: {escape(decoders[next(iter(decoders))])}.</p>" if same else "")


def _decoder(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _within(evaluation: Evaluation) -> str:
    low, high = evaluation.interval
    return f"{100 * low:.1f} – {100 * high:.1f}"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
