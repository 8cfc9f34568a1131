# SPDX-License-Identifier: Apache-2.0
"""A canvas in a terminal: masks, and tokens in the colour of the step that wrote them."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from ..generation import Trajectory


MASK = "░"
MASK_STYLE = "bright_black"


def colour_of(share: float) -> str:
    """
    The colour of a step, `#rrggbb`: from blue for the first to red for the last, of about the same lightness.

    Args:
        share (`float`):
            When the step was made, from `0` to `1`.
    """
    hue = (1 - min(max(share, 0.0), 1.0)) * 0.62
    red, green, blue = (round(255 * value) for value in colorsys.hls_to_rgb(hue, 0.62, 0.85))
    return f"#{red:02x}{green:02x}{blue:02x}"


def render_canvas(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    unmask_step: Sequence[int],
    *,
    end_tokens: Sequence[int] = (),
    steps: int | None = None,
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
            Tokens that end the text: what stands behind the first of them is left out.
        steps (`int`, *optional*):
            Steps that the colours span. By default those that were made.

    Returns:
        [`rich.text.Text`]
    """
    text, last = Text(), max([*unmask_step, 0]) if steps is None else steps - 1
    for token, step in zip(ids, unmask_step, strict=True):
        if step < 0:
            text.append(MASK, style=MASK_STYLE)
        elif token in end_tokens:
            break
        else:
            # One by one, since masks stand between them: characters of several tokens appear as replacement marks.
            text.append(str(tokenizer.decode([token])), style=colour_of(step / max(last, 1)))
    return text


class LiveCanvas:
    """
    Shows a canvas while it is filled in: to be called after each step of [`~trl_diffusion.DiffusionSampler`].

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            The model's tokenizer.
        end_tokens (`Sequence[int]`):
            Tokens that end the text.
        console ([`rich.console.Console`], *optional*):
            Where to draw. Nothing is drawn if it is no terminal.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[int], console: Console | None = None
    ) -> None:
        self.tokenizer, self.end_tokens = tokenizer, end_tokens
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
            yield render_canvas(self.tokenizer, ids, steps, end_tokens=self.end_tokens)
            yield Rule(f"{written} tokens in {nfe} passes", style=MASK_STYLE, align="left")
