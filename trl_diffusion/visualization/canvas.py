# SPDX-License-Identifier: Apache-2.0
"""A canvas in a terminal: masks, and tokens on the colour of the step that wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any
from unicodedata import category

from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.style import Style
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from ..generation import DiffusionGenerationConfig, Trajectory
from ..generation.unmasking import SCHEDULED_RULES
from .colours import StepScale, style_of


MASK = "░"
MARK = "\ufffd"  # of what cannot be shown
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MASK_STYLE = "bright_black"
TAIL_STYLE = "dim"


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], shown: Sequence[bool]) -> list[str]:
    """
    The text of each token, such as it is among its neighbours.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Their tokenizer.
        ids (`Sequence[int]`):
            The tokens, `(length,)`.
        shown (`Sequence[bool]`):
            Those that are there. The text of the others is empty.

    Returns:
        `list[str]`: as long as `ids`. A character of several tokens is the text of the last of them, and appears as
        replacement marks as long as some are missing; so do control characters, which would reach the terminal.
    """
    texts = [""] * len(ids)
    for _, end, text in token_groups(tokenizer, ids, shown):
        texts[end - 1] = text
    return texts


def token_groups(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], shown: Sequence[bool]
) -> Iterator[tuple[int, int, str]]:
    """The groups of tokens that have a text together: the first one, the one behind the last, and the text."""
    start, last = 0, ""
    while start < len(ids):
        # Some decoders trim the first token.
        before = list(ids[start - 1 : start]) if start and last and MARK not in last else []
        end = start
        while end < len(ids) and shown[end] and end < start + 4:  # UTF-8 has at most four bytes
            end += 1
            text = _decode(tokenizer, [*before, *ids[start:end]])[len(_decode(tokenizer, before)) :]
            if MARK not in text:
                break
        else:
            end = start + 1
            text = MARK if shown[start] else ""
        last = printable(text)
        yield start, end, last
        start = end


def _decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids)) if ids else ""


def printable(text: str) -> str:
    """
    Text that moves no cursor and turns no line around: control characters become replacement marks, but for tabs and
    ends of lines, and those that set the direction of writing.
    """
    return "".join(MARK if (category(c) == "Cc" and c not in "\t\n") or c in _DIRECTIONS else c for c in text)


def render_canvas(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    unmask_step: Sequence[int],
    *,
    end_tokens: Sequence[int] = (),
    scale: Callable[[int], float] | None = None,
    with_tail: bool = False,
) -> Text:
    """
    One row of a rollout.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        ids (`Sequence[int]`):
            The canvas, `(length,)`.
        unmask_step (`Sequence[int]`):
            The step that wrote each position, `-1` where nothing is written.
        end_tokens (`Sequence[int]`, *optional*):
            Tokens that end the text.
        scale (`Callable[[int], float]`, *optional*):
            The place of a step among the colours, from `0` to `1`, such as a [`StepScale`]. By default they run from
            the first step to the last that was made.
        with_tail (`bool`, *optional*, defaults to `False`):
            Whether to show the first token that ends the text and what stands behind it, dimmed and without colour,
            what is the same together. It is left out otherwise.

    Returns:
        [`rich.text.Text`]
    """
    scale = scale or StepScale(max([*unmask_step, 0]) + 1, even=True)
    length = next((i for i, token in enumerate(ids) if token in end_tokens and unmask_step[i] >= 0), len(ids))
    texts = token_texts(tokenizer, ids, [step >= 0 for step in unmask_step])
    text = Text()
    for piece, step in zip(texts[:length], unmask_step):
        text.append(piece if step >= 0 else MASK, style=style_of(scale(step)) if step >= 0 else MASK_STYLE)
    if with_tail and length < len(ids):
        tail = [MASK if step < 0 else piece for piece, step in zip(texts, unmask_step)][length:]
        for piece, alike in groupby(filter(None, tail)):
            count = len([*alike])
            text.append(f"{piece}×{count} " if count > 1 else piece, style=TAIL_STYLE)
    return text


class LiveCanvas:
    """
    Shows a canvas while it is filled in: to be called after each step of [`~trl_diffusion.DiffusionSampler`].

    A token keeps its colour: the scale spans all steps that there may be, and some of them are named below the canvas.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            The model's tokenizer.
        config ([`~trl_diffusion.DiffusionGenerationConfig`]):
            The sampler's: it says what ends the text, and how many steps there may be.
        console ([`rich.console.Console`], *optional*):
            Where to draw. Nothing is drawn if it is no terminal.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, config: DiffusionGenerationConfig, console: Console | None = None
    ) -> None:
        self.tokenizer, self.config = tokenizer, config
        self.scale = StepScale(config.steps_per_block * config.num_blocks, even=config.unmasking in SCHEDULED_RULES)
        self.console = console or Console()
        self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> LiveCanvas:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.stop()

    def __call__(self, record: Trajectory) -> None:
        """Draw what has been written."""
        if self.console.is_terminal:
            self._live.update(Group(*self._rows(record)), refresh=True)

    def _rows(self, record: Trajectory):
        columns = (record.completion_ids.tolist(), record.unmask_step.tolist(), record.nfe.tolist())
        for ids, steps, nfe in zip(*columns, strict=True):
            written = sum(step >= 0 for step in steps)
            yield render_canvas(self.tokenizer, ids, steps, end_tokens=self.config.eos_token_ids, scale=self.scale)
            passes = f"{nfe} pass" if nfe == 1 else f"{nfe} passes"
            title = Text.assemble(f"{written} tokens in {passes} · pass ", *self._legend())
            yield Rule(title, style=MASK_STYLE, align="left")

    def _legend(self) -> list[tuple[str, Style]]:
        return [(f" {mark} ", style_of(self.scale(mark - 1))) for mark in self.scale.marks()]
