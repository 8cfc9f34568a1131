# SPDX-License-Identifier: Apache-2.0
"""A model that answers, in a terminal or a pipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .. import DiffusionGenerationConfig, DiffusionSampler
from ..generation.noise import derive_seed
from ..models import end_tokens
from ..visualization import LiveCanvas
from ..visualization.canvas import printable


class Speaker:
    """
    Completes prompts before one's eyes.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        config ([`~trl_diffusion.DiffusionGenerationConfig`]):
            How to decode.
        plain (`bool`, *optional*, defaults to `False`):
            Whether to print the text alone.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        config: DiffusionGenerationConfig,
        plain: bool = False,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.console = Console()
        self.plain = plain or not self.console.is_terminal
        self.configure(config)

    def configure(self, config: DiffusionGenerationConfig) -> None:
        """Decode otherwise from now on."""
        if not config.eos_token_ids:
            config = replace(config, eos_token_ids=end_tokens(self.model, self.tokenizer))
        self.sampler = DiffusionSampler(self.model, config)

    def say(self, prompt: str | list[dict[str, str]], seed: int, count: int = 1) -> list[str]:
        """
        Complete a prompt, and print it.

        Args:
            prompt (`str` or `list[dict[str, str]]`):
                A text, or a conversation.
            seed (`int`):
                Seed of the sampling.
            count (`int`, *optional*, defaults to `1`):
                How many completions.

        Returns:
            `list[str]`: the texts.

        Raises:
            `ValueError`: If the prompt is empty, or prompt and canvas do not fit into the model.
        """
        ids = self._encode(prompt)
        if not ids:
            raise ValueError("The prompt has no tokens.")
        config = self.sampler.config
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and len(ids) + config.max_new_tokens > limit:
            raise ValueError(
                f"{len(ids)} tokens of the prompt and `max_new_tokens={config.max_new_tokens}` are more than the "
                f"{limit} positions of the model. Shorten one of them."
            )
        inputs = torch.tensor([ids] * count, device=self.model.device)
        seeds = torch.tensor([derive_seed(seed, "say", i) for i in range(count)])
        if self.plain:
            record = self.sampler.sample(inputs, seeds=seeds)
        else:
            with LiveCanvas(self.tokenizer, config, self.console) as canvas:
                record = self.sampler.sample(inputs, seeds=seeds, on_step=canvas)
        texts = self.tokenizer.batch_decode(record.texts(config.eos_token_ids), skip_special_tokens=True)
        if self.plain:
            # What another program reads is what the model wrote; a terminal would obey it.
            print(*(map(printable, texts) if self.console.is_terminal else texts), sep="\n", flush=True)
        return texts

    def _encode(self, prompt: str | list[dict[str, str]]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer(prompt)["input_ids"]
        text: Any = self.tokenizer.apply_chat_template(cast(Any, prompt), add_generation_prompt=True, tokenize=False)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
