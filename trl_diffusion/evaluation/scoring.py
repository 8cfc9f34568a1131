# SPDX-License-Identifier: Apache-2.0
"""From samples to figures: nothing here needs a model."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from trl import is_conversational

from ..rewards.checks import check_rewards
from .generations import Generation, Generations
from .intervals import clustered_interval, mean_interval, wilson_interval


@dataclass(frozen=True)
class Evaluation:
    """
    One point of accuracy against cost.

    Args:
        accuracy (`float`):
            Share of prompts answered correctly; of samples, with several per prompt.
        interval (`tuple[float, float]`):
            95 % interval of the accuracy: Wilson's, or with several samples per prompt
            [`~trl_diffusion.evaluation.clustered_interval`]. Of prompts like these, not of these alone.
        nfe (`float`):
            Forward passes per answer, on average.
        tokens_per_step (`float`):
            Tokens of text (up to and including its end) per forward pass, over all answers.
        prompts (`int`):
            Number of prompts.
        seconds (`float`):
            Wall time of decoding, summed over the processes that took part.
        decoder (`dict`):
            The decoding settings.
        samples (`int`, *optional*, defaults to `1`):
            Samples per prompt.
        tokens (`float`):
            Tokens of text per answer: the effective ones, of all that were written.
        tokens_per_second (`float`):
            Tokens of text per second of decoding, of one process.
        truncated (`float`):
            Share of answers without an end, which the canvas has cut.
        empty (`float`):
            Share of answers without a visible character.
        unjudged (`float`):
            Share of answers that the reward had no opinion of. They count as wrong.
        pass_at (`dict[int, tuple[float, tuple[float, float]]]`):
            pass@k by k, with its interval: the probability that one of k samples is right. For k of 1, 2, 4, … and the
            number of samples.
        mean_reward (`float`):
            Mean reward of the prompts whose answers the reward has judged. It is what rewards for parts of an answer
            tell, such as [`~trl_diffusion.rewards.sudoku_cells_reward`].
        reward_interval (`tuple[float, float]`):
            Its 95 % interval, normal.
    """

    accuracy: float
    interval: tuple[float, float]
    nfe: float
    tokens_per_step: float
    prompts: int
    seconds: float
    decoder: dict[str, Any]
    samples: int = 1
    tokens: float = math.nan
    tokens_per_second: float = math.nan
    truncated: float = math.nan
    empty: float = math.nan
    unjudged: float = math.nan
    pass_at: dict[int, tuple[float, tuple[float, float]]] = field(default_factory=dict)
    mean_reward: float = math.nan
    reward_interval: tuple[float, float] = (math.nan, math.nan)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """
    The probability that `k` samples of a prompt, drawn from `samples` without replacement, hold a right one: the
    unbiased estimate of pass@k ([Codex](https://huggingface.co/papers/2107.03374), equation 1).

    Args:
        samples (`int`):
            Samples of the prompt.
        correct (`int`):
            How many of them are right.
        k (`int`):
            How many are drawn.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"`correct` ({correct}) and `k` ({k}) must be at most `samples` ({samples}), `k` at least 1.")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def rewards_of(generations: Generations, reward: Callable[..., Any]) -> list[float | None]:
    """
    What a reward function says of each sample.

    Args:
        generations ([`Generations`]):
            The samples.
        reward (`Callable`):
            A reward function as TRL takes them, possibly asynchronous. It receives `prompts`, `completions`,
            `completion_ids`, `nfe`, `threshold` and the dataset's columns, as from the trainers.

    Returns:
        `list[float | None]`: in the order of the samples.

    Raises:
        `TypeError`, `ValueError`: If it returns something else than a finite number or `None` for each, if it needs
            columns that the samples do not have, or if there are none.
    """
    samples = generations.samples
    if not samples:
        raise ValueError("There are no samples to score.")
    prompts, completions = [g.prompt for g in samples], [_completion(g) for g in samples]
    given = {
        "prompts": prompts,
        "completions": completions,
        "completion_ids": [g.trajectory.completion_ids[0, : g.tokens].tolist() for g in samples],
        "nfe": [g.nfe for g in samples],
        "threshold": [g.trajectory.threshold[0, 0].item() for g in samples],
    }
    columns = {name: [g.columns[name] for g in samples] for name in samples[0].columns}
    try:
        rewards = reward(**given, **columns)
    except TypeError as error:  # asked only now: what wraps a reward may add columns of its own
        missing = sorted(needed_by(reward) - given.keys() - columns.keys())
        if not missing:
            raise
        raise ValueError(
            f"The reward function `{getattr(reward, '__name__', reward)}` needs the columns {listed(missing)}, and "
            f"the samples have {listed(columns)}. Pass the reward of the task that they were made for."
        ) from error
    if inspect.iscoroutine(rewards):
        rewards = asyncio.run(rewards)
    try:
        return check_rewards(rewards, len(samples))
    except (TypeError, ValueError) as error:
        error.add_note(f"In the reward function `{getattr(reward, '__name__', reward)}`.")
        raise


def needed_by(reward: Callable[..., Any]) -> set[str]:
    """The arguments that a reward function names and has no default for; none if it does not tell."""
    try:
        parameters = inspect.signature(reward).parameters.values()
    except (TypeError, ValueError):
        return set()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in named and p.default is p.empty}


def listed(names: Iterable[str]) -> str:
    """Names in quotes."""
    return ", ".join(f"'{name}'" for name in names) or "none"


def _completion(sample: Generation) -> Any:
    if is_conversational({"prompt": sample.prompt}):
        return [{"role": "assistant", "content": sample.text}]
    return sample.text


def score(generations: Generations, reward: Callable[..., Any]) -> Evaluation:
    """
    Accuracy and cost of samples, which may come from a file.

    Args:
        generations ([`Generations`]):
            The samples.
        reward (`Callable`):
            A reward function as TRL takes them, see [`rewards_of`]; an answer is correct if it returns `1` or more.

    Returns:
        [`Evaluation`]
    """
    return summarize(generations, rewards_of(generations, reward))


def summarize(generations: Generations, rewards: list[float | None]) -> Evaluation:
    """[`score`] of samples that have their rewards already, see [`rewards_of`]."""
    samples = generations.samples
    right, judged = correct_by_prompt(generations, rewards), _mean_by_prompt(generations, rewards)
    count, per_prompt = len(samples), generations.header["num_samples"]
    correct = sum(map(sum, right))
    passes, tokens = sum(g.nfe for g in samples), sum(g.tokens for g in samples)
    seconds = sum(g.seconds for g in samples)
    ks = sorted({2**i for i in range(per_prompt.bit_length())} | {per_prompt})
    pass_at = {k: _pass_at(right, k) for k in ks}
    return Evaluation(
        accuracy=correct / count,
        interval=pass_at[1][1],
        nfe=passes / count,
        tokens_per_step=tokens / passes,
        prompts=len(right),
        seconds=seconds,
        decoder=generations.header["decoder"],
        samples=per_prompt,
        tokens=tokens / count,
        tokens_per_second=tokens / seconds if seconds else math.nan,  # a clock may be coarse
        truncated=sum(not g.ended for g in samples) / count,
        empty=sum(not g.text.strip() for g in samples) / count,
        unjudged=rewards.count(None) / count,
        pass_at=pass_at,
        mean_reward=sum(judged) / len(judged) if judged else math.nan,
        reward_interval=mean_interval(judged) if judged else (math.nan, math.nan),
    )


def correct_by_prompt(generations: Generations, rewards: list[float | None]) -> list[list[bool]]:
    """Which samples of each prompt are right."""
    return [[r is not None and r >= 1 for r in own] for own in _by_prompt(generations, rewards)]


def _by_prompt(generations: Generations, rewards: list[float | None]) -> list[list[float | None]]:
    judged = zip(generations.samples, rewards, strict=True)
    return [[r for _, r in group] for _, group in groupby(judged, key=lambda pair: pair[0].prompt_index)]


def _mean_by_prompt(generations: Generations, rewards: list[float | None]) -> list[float]:
    judged = ([r for r in own if r is not None] for own in _by_prompt(generations, rewards))
    return [sum(own) / len(own) for own in judged if own]


def _pass_at(right: list[list[bool]], k: int) -> tuple[float, tuple[float, float]]:
    values = [pass_at_k(len(own), sum(own), k) for own in right]
    mean, samples = sum(values) / len(values), len(right[0])
    if samples == 1:
        return mean, wilson_interval(sum(map(sum, right)), len(right))
    # The samples of a prompt make `samples / k` independent groups of k.
    return mean, clustered_interval(values, samples=len(right) * samples / k)
