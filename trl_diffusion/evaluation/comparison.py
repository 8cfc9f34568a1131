# SPDX-License-Identifier: Apache-2.0
"""Whether one checkpoint, or decoder, is better than another, on the same prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .fingerprints import content_fingerprint
from .generations import Generations
from .intervals import Z, mean_interval
from .scoring import correct_by_prompt, rewards_of


@dataclass(frozen=True)
class Comparison:
    """
    The second of two sets of samples, less the first.

    Args:
        difference (`float`):
            Of the accuracies.
        interval (`tuple[float, float]`):
            Its 95 % interval.
        p_value (`float`):
            Probability of a difference at least as large, either way, if it did not matter which is which.
        better, worse (`int`):
            Prompts on which the second is right more often, and less often.
        nfe_difference (`float`):
            Of the forward passes per answer.
        nfe_interval (`tuple[float, float]`):
            Its 95 % interval.
        prompts (`int`):
            Number of prompts.
        settings (`dict[str, tuple]`, *optional*):
            What else than the model the two differ in: both values, by the setting's name. See
            [`different_settings`]. Nothing, where only the checkpoint is compared.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    better: int
    worse: int
    nfe_difference: float
    nfe_interval: tuple[float, float]
    prompts: int
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def compare(
    first: Generations, second: Generations, reward: Callable[..., Any], *, allow_different_settings: bool = False
) -> Comparison:
    """
    Compare two sets of samples prompt by prompt, which tells smaller differences from chance than two intervals do.

    The test is exact, over all ways to exchange the two within prompts ([`sign_flip_p_value`]): McNemar's exact test
    where each has one sample per prompt. The interval is [`paired_interval`].

    Args:
        first, second ([`Generations`]):
            Samples of the same prompts, in any numbers.
        reward (`Callable`):
            A reward function as TRL takes them; an answer is correct if it returns `1` or more.
        allow_different_settings (`bool`, *optional*, defaults to `False`):
            Whether the two may have been decoded differently, see [`different_settings`]: to compare two decoders.
            The difference of two checkpoints would otherwise be one of their decoders, too.

    Returns:
        [`Comparison`]

    Raises:
        `ValueError`: If the prompts are not the same, or the settings not and `allow_different_settings` is not set.
    """
    check_prompts(first, second)
    settings = different_settings(first, second)
    if settings and not allow_different_settings:
        listed = ", ".join(f"{name} {one!r} and {two!r}" for name, (one, two) in settings.items())
        raise ValueError(
            f"`first` and `second` were decoded differently: {listed}. Decode both alike (`trl-diffusion eval "
            "--decoder_from` takes the settings of another model), or compare them all the same with "
            "`allow_different_settings=True` (`trl-diffusion score --allow_different_settings`)."
        )
    return compare_judged((first, second), (rewards_of(first, reward), rewards_of(second, reward)))


def compare_judged(
    samples: tuple[Generations, Generations], rewards: tuple[list[float | None], list[float | None]]
) -> Comparison:
    """[`compare`] for samples of the same prompts that have their rewards already, however they were decoded."""
    first, second = samples
    settings = different_settings(first, second)
    right = [correct_by_prompt(g, own) for g, own in zip(samples, rewards, strict=True)]
    a, b = (g.header["num_samples"] for g in (first, second))
    # Whole numbers, of which sums are exact: differences times the least common multiple of the numbers of samples.
    unit = math.lcm(a, b)
    differences = [sum(two) * (unit // b) - sum(one) * (unit // a) for one, two in zip(*right, strict=True)]
    passes = [two - one for one, two in zip(_passes(first), _passes(second), strict=True)]
    return Comparison(
        difference=sum(differences) / (unit * len(differences)),
        interval=paired_interval([d / unit for d in differences], samples=2 / (1 / a + 1 / b)),
        p_value=sign_flip_p_value(differences),
        better=sum(d > 0 for d in differences),
        worse=sum(d < 0 for d in differences),
        nfe_difference=sum(passes) / len(passes),
        nfe_interval=mean_interval(passes),
        prompts=len(differences),
        settings=settings,
    )


def different_settings(first: Generations, second: Generations) -> dict[str, tuple[Any, Any]]:
    """
    What two sets of samples differ in that belongs to the protocol, not to the model: the decoder's settings
    ([`~trl_diffusion.DiffusionGenerationConfig.effective`]), the precision, and the prompts' tokens, which a chat
    template decides. Seeds and numbers of samples may differ.

    Args:
        first, second ([`Generations`]):
            The samples.

    Returns:
        `dict[str, tuple]`: both values, by the setting's name; `None` for one that has no effect there. Of the
        prompts' tokens the first digits of digests.
    """
    one, two = map(_protocol, (first, second))
    names = dict.fromkeys([*one, *two])  # in their order
    return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}


def _protocol(generations: Generations) -> dict[str, Any]:
    settings = generations.header["settings"]
    digest = settings.get("prompt_ids")
    return generations.config.effective() | {
        "dtype": settings["model"].get("dtype"),
        "prompt_ids": digest and digest[:8],
    }


def sign_flip_p_value(differences: Sequence[int]) -> float:
    """
    Two-sided p-value of paired differences: the share of all ways to flip their signs in which their sum is at least
    as far from zero. Exact, by convolution; McNemar's exact test if they are all -1, 0 or 1.

    Args:
        differences (`Sequence[int]`):
            One whole number per pair.

    Raises:
        `ValueError`: If there are none.
    """
    _check_pairs(differences)
    sizes = [abs(d) for d in differences if d]
    total, observed = sum(sizes), abs(sum(differences))
    probability = np.ones(1)  # of each sum from -reach to reach
    for size in sorted(sizes):
        probability = (np.pad(probability, (2 * size, 0)) + np.pad(probability, (0, 2 * size))) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(probability[sums >= observed].sum()))


def paired_interval(differences: Sequence[float], *, samples: float = 1) -> tuple[float, float]:
    """
    95 % interval of a mean of paired differences of proportions, each from -1 to 1.

    The adjusted Wald interval of Bonett and Price (Journal of Educational and Behavioral Statistics 37, 2012): one
    pair of each sign is added, which keeps the coverage where hardly any pair differs. With several samples per prompt
    differences are smaller, and so are those of the added pairs, by the square root of their number: a choice of ours,
    by simulation.

    Args:
        differences (`Sequence[float]`):
            One per prompt.
        samples (`float`, *optional*, defaults to `1`):
            Samples per prompt; of two numbers, their harmonic mean.

    Returns:
        `tuple[float, float]`: lower and upper end.

    Raises:
        `ValueError`: If there are no differences.
    """
    _check_pairs(differences)
    count = len(differences) + 2
    mean = sum(differences) / count
    variance = (sum(d * d for d in differences) + 2 / samples) / count - mean**2
    half = Z * math.sqrt(variance / count)
    return max(-1.0, mean - half), min(1.0, mean + half)


def _passes(generations: Generations) -> list[float]:
    """Forward passes per answer, by prompt."""
    passes = np.array([g.nfe for g in generations.samples], dtype=float)
    return passes.reshape(-1, generations.header["num_samples"]).mean(-1).tolist()


def _check_pairs(differences: Sequence[float]) -> None:
    if not len(differences):
        raise ValueError("`differences` is empty: there is nothing to compare.")


def check_prompts(first: Generations, second: Generations, names: tuple[str, str] = ("first", "second")) -> None:
    """
    Args:
        first, second ([`Generations`]):
            The samples.
        names (`tuple[str, str]`, *optional*):
            What the caller's arguments are called, for messages.

    Raises:
        `ValueError`: If they are not of the same prompts.
    """
    a, b = (f"`{name}`" for name in names)
    one, two = (
        {g.prompt_index: content_fingerprint([g.prompt, g.columns]) for g in x.samples} for x in (first, second)
    )
    if one == two:
        return
    if len(one) != len(two):
        raise ValueError(f"{a} has {len(one)} prompts and {b} {len(two)}: generate both from one dataset.")
    row = next(i for i in one if one[i] != two.get(i))
    raise ValueError(f"{a} and {b} differ in prompt {row}: generate both from one dataset.")
