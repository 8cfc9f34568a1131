# SPDX-License-Identifier: Apache-2.0
"""A table of completions in a terminal, with the order in which their tokens were written."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from .canvas import MASK, MASK_STYLE, TAIL_STYLE, printable, render_canvas
from .colours import style_of


Canvas = tuple[Sequence[int], Sequence[int]]


def print_completions(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Any],
    canvases: Sequence[Canvas],
    rewards: Mapping[str, Sequence[float]],
    advantages: Sequence[float],
    step: int,
    *,
    extra: Mapping[str, Sequence[Any]] | None = None,
    end_tokens: Sequence[int] = (),
    num_samples: int | None = None,
    unique_prompts: bool = False,
    console: Console | None = None,
) -> None:
    """
    TRL's `print_prompt_completions_sample` for completions that were written in any order.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            The model's.
        prompts (`Sequence`):
            Texts, or lists of messages.
        canvases (`Sequence[tuple[Sequence[int], Sequence[int]]]`):
            Of each completion, its tokens and the steps that wrote them, `-1` where nothing was written.
        rewards (`Mapping[str, Sequence[float]]`):
            By the name of the reward function.
        advantages (`Sequence[float]`):
            Of the completions.
        step (`int`):
            The update, for the title.
        extra (`Mapping[str, Sequence]`, *optional*):
            Further columns. One without a value in any row that is shown is left out.
        end_tokens (`Sequence[int]`, *optional*):
            Tokens that end a text.
        num_samples (`int`, *optional*):
            How many completions are shown, chosen at random; all by default.
        unique_prompts (`bool`, *optional*, defaults to `False`):
            Whether one completion of each prompt is shown.
        console ([`rich.console.Console`], *optional*):
            Where to print.
    """
    chosen = choose([str(prompt) for prompt in prompts], num_samples, unique_prompts, seed=step)
    if not chosen:
        return
    extra = {name: [values[i] for i in chosen] for name, values in (extra or {}).items()}
    extra = {name: values for name, values in extra.items() if not all(map(_is_missing, values))}
    console = console or Console()
    legend = _legend() if console.color_system is not None else None
    table = Table(expand=True, show_lines=True, header_style="bold", caption=legend, caption_justify="left")
    table.add_column("Prompt", ratio=1, overflow="fold")
    table.add_column("Completion", ratio=2, overflow="fold")
    for name in (*rewards, "Advantage", *extra):
        table.add_column(name, justify="right")
    for place, i in enumerate(chosen):
        ids, unmask_step = canvases[i]
        table.add_row(
            _prompt(prompts[i]),
            render_canvas(tokenizer, ids, unmask_step, end_tokens=end_tokens, with_tail=True),
            *(f"{values[i]:.2f}" for values in (*rewards.values(), advantages)),
            *(_cell(values[place]) for values in extra.values()),
        )
    console.print(Panel(table, title=f"Step {step}"))


def choose(prompts: Sequence[str], num_samples: int | None, unique_prompts: bool, seed: int) -> list[int]:
    """The rows to show, in order. The global random state, which training draws from, is left alone."""
    rows: Iterable[int] = range(len(prompts))
    if unique_prompts:
        rows = sorted({prompt: i for i, prompt in reversed([*enumerate(prompts)])}.values())
    rows = list(rows)
    if num_samples is not None and num_samples < len(rows):
        rows = sorted(random.Random(seed).sample(rows, max(num_samples, 0)))
    return rows


def _legend() -> Text:
    """What the colours mean."""
    legend, words, width = Text(), " first ", 16
    words = words.ljust(width - len(" last ")) + " last "
    for place, character in enumerate(words):
        legend.append(character, style=style_of(place / (width - 1)))
    legend.append(" step that wrote it   ")
    legend.append(MASK, style=MASK_STYLE)
    legend.append(" never written   ")
    legend.append("behind the end", style=TAIL_STYLE)
    return legend


def _prompt(prompt: Any) -> Text:
    if not isinstance(prompt, list):
        return Text(printable(str(prompt)))
    text = Text()
    for message in prompt:
        text.append(f"{message.get('role', '')}\n", style="bold")
        text.append(printable(f"{message.get('content') or ''}\n"))
    text.rstrip()
    return text


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cell(value: Any) -> Text:
    return Text(f"{value:.2f}" if isinstance(value, float) else printable(str(value)))
