# SPDX-License-Identifier: Apache-2.0
"""Accuracy and cost of a model on a task, decoded by the very sampler that training uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..generation import DiffusionGenerationConfig
from ..models import DiffusionSpec
from .generate import generate
from .scoring import Evaluation, score


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    reward: Callable[..., Any],
    config: DiffusionGenerationConfig | None = None,
    *,
    batch_size: int = 64,
    seed: int = 0,
    spec: DiffusionSpec | None = None,
) -> Evaluation:
    """
    Decode every prompt once, and score the answers: [`generate`] and [`score`] in one.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        dataset ([`~datasets.Dataset`]):
            A column `prompt`, and the columns that the reward needs.
        reward (`Callable`):
            A reward function as TRL takes them; an answer is correct if it returns `1` or more.
        config ([`~trl_diffusion.DiffusionGenerationConfig`], *optional*):
            Decoding settings. Defaults to those that the model carries. Without `eos_token_ids`, those of the model's
            generation configuration and of the tokenizer are used, as in training.
        batch_size (`int`, *optional*, defaults to `64`):
            Prompts in one call of the sampler. More are faster where memory allows. `config.max_batch_size` bounds a
            forward pass; rows that end are then replaced by others of the same call.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sampling. The noise belongs to the prompt: two models see the same.
        spec ([`~trl_diffusion.models.DiffusionSpec`], *optional*):
            How to read the model. Found from the model's configuration by default.

    Returns:
        [`Evaluation`]
    """
    return score(generate(model, tokenizer, dataset, config, batch_size=batch_size, seed=seed, spec=spec), reward)
