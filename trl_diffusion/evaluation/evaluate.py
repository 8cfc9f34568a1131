# SPDX-License-Identifier: Apache-2.0
"""Accuracy and cost of a model on a task, decoded by the very sampler that training uses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase
from trl import is_conversational

from ..generation import DiffusionGenerationConfig, DiffusionSampler
from ..generation.noise import derive_seed
from ..models import DiffusionSpec, end_tokens


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """
    Wilson's score interval of a proportion.

    Args:
        successes (`int`):
            Number of successes.
        trials (`int`):
            Number of trials.
        z (`float`, *optional*, defaults to `1.959964`):
            Normal quantile; the default makes 95 % intervals.

    Returns:
        `tuple[float, float]`: lower and upper end.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"`successes` ({successes}) must lie between 0 and `trials` ({trials}), which must be positive."
        )
    p = successes / trials
    center = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class Evaluation:
    """
    One point of accuracy against cost.

    Args:
        accuracy (`float`):
            Share of prompts answered correctly.
        interval (`tuple[float, float]`):
            95 % Wilson interval of the accuracy.
        nfe (`float`):
            Forward passes per answer, on average.
        tokens_per_step (`float`):
            Tokens of text (up to and including its end) per forward pass, over all answers.
        prompts (`int`):
            Number of prompts.
        seconds (`float`):
            Wall time of decoding.
        decoder (`dict`):
            The decoding settings.
    """

    accuracy: float
    interval: tuple[float, float]
    nfe: float
    tokens_per_step: float
    prompts: int
    seconds: float
    decoder: dict[str, Any]


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[Any]) -> BatchEncoding:
    """Token ids and attention mask of plain or conversational prompts, padded on the left."""
    options = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if is_conversational({"prompt": prompts[0]}):
        texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
        return tokenizer(texts, add_special_tokens=False, **options)
    return tokenizer(prompts, **options)


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Any,
    reward: Callable[..., list[float]],
    config: DiffusionGenerationConfig,
    *,
    seed: int = 0,
    spec: DiffusionSpec | None = None,
) -> Evaluation:
    """
    Decode every prompt once and score the answers.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        dataset ([`~datasets.Dataset`]):
            A column `prompt`, and the columns that the reward needs.
        reward (`Callable`):
            A reward function as TRL takes them; an answer is correct if it returns `1` or more.
        config ([`~trl_diffusion.DiffusionGenerationConfig`]):
            Decoding settings. Without `eos_token_ids`, those of the model's generation configuration and of the
            tokenizer are used, as in training.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sampling. The noise belongs to the prompt: two models see the same.

    Returns:
        [`Evaluation`]
    """
    if not config.eos_token_ids:
        config = replace(config, eos_token_ids=end_tokens(model, tokenizer))
    prompts = list(dataset["prompt"])
    inputs = tokenize_prompts(tokenizer, prompts)
    seeds = torch.tensor([derive_seed(seed, "evaluate", i) for i in range(len(prompts))])
    started = time.perf_counter()
    trajectory = DiffusionSampler(model, config, spec).sample(
        inputs["input_ids"].to(model.device),
        inputs["attention_mask"].to(model.device),
        seeds=seeds.to(model.device),
    )
    seconds = time.perf_counter() - started
    ids = trajectory.texts(config.eos_token_ids)
    completions: list[Any] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    if is_conversational({"prompt": prompts[0]}):
        completions = [[{"role": "assistant", "content": text}] for text in completions]
    columns = {name: list(dataset[name]) for name in dataset.column_names if name != "prompt"}
    rewards = reward(prompts=prompts, completions=completions, **columns)
    correct = sum(r is not None and r >= 1 for r in rewards)
    passes = int(trajectory.nfe.sum())
    return Evaluation(
        accuracy=correct / len(prompts),
        interval=wilson_interval(correct, len(prompts)),
        nfe=passes / len(prompts),
        tokens_per_step=sum(map(len, ids)) / passes,
        prompts=len(prompts),
        seconds=seconds,
        decoder=config.describe(),
    )


def frontier_settings(
    config: DiffusionGenerationConfig,
    *,
    entropy_bounds: Iterable[float] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 8.0),
    confidence_thresholds: Iterable[float] = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3),
    tokens_per_step: Iterable[int] = (1, 2, 4),
) -> list[DiffusionGenerationConfig]:
    """The decoders that a frontier is searched over: adaptive rules and fixed schedules, all else as in `config`."""
    steps = [config.max_new_tokens // n for n in tokens_per_step]
    return [
        *(
            replace(config, unmasking="entropy_bound", entropy_bound=bound, max_denoising_steps=None)
            for bound in entropy_bounds
        ),
        *(
            replace(config, unmasking="confidence_threshold", confidence_threshold=tau, max_denoising_steps=None)
            for tau in confidence_thresholds
        ),
        *(
            replace(config, unmasking="low_confidence", max_denoising_steps=n)
            for n in steps
            if n % config.num_blocks == 0
        ),
    ]


def frontier(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The evaluations that no other beats in accuracy at the same or a lower cost, by rising cost."""
    best: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: (e.nfe, -e.accuracy)):
        if not best or evaluation.accuracy > best[-1].accuracy:
            best.append(evaluation)
    return best


def accuracy_at(points: list[Evaluation], nfe: float) -> float:
    """The best accuracy on a frontier at no more than `nfe` passes per answer; `0` if none is that cheap."""
    return max((point.accuracy for point in points if point.nfe <= nfe), default=0.0)
