# SPDX-License-Identifier: Apache-2.0
"""Whether a learned threshold is bold where it may be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .comparison import check_prompts
from .generations import Generation, Generations
from .intervals import clustered_interval
from .scoring import correct_by_prompt, rewards_of


@dataclass(frozen=True)
class ThresholdUse:
    """
    What became of the answers for which a threshold was drawn.

    Args:
        threshold (`float`):
            The threshold, as the head's grid has it; of a continuous one, the mean of those in this bin.
        share (`float`):
            How often it was drawn.
        greedy_share (`float`, *optional*):
            How often it is the most likely one, if samples of that kind were given.
        accuracy (`float`):
            Of the answers for which it was drawn; NaN if there are none.
        interval (`tuple[float, float]`):
            95 % interval of the accuracy.
        nfe (`float`):
            Forward passes of these answers.
        accuracy_if_always (`float`, *optional*):
            Estimate of the accuracy if it were drawn for every prompt: each answer is weighted by the inverse of the
            probability of its draw. Less than `accuracy` where the head draws it for the right prompts. `None` if the
            thresholds are continuous or several per answer.
        interval_if_always (`tuple[float, float]`, *optional*):
            95 % interval of that.
        nfe_if_always (`float`, *optional*):
            The same estimate of the forward passes.
    """

    threshold: float
    share: float
    greedy_share: float | None
    accuracy: float
    interval: tuple[float, float]
    nfe: float
    accuracy_if_always: float | None = None
    interval_if_always: tuple[float, float] | None = None
    nfe_if_always: float | None = None


@dataclass(frozen=True)
class _Draw:
    sample: Generation
    right: bool
    threshold: float
    probability: float


def threshold_calibration(
    sampled: Generations, reward: Callable[..., Any], greedy: Generations | None = None, *, bins: int = 8
) -> list[ThresholdUse]:
    """
    Accuracy and cost by the threshold that a model's head has drawn.

    Of a head that draws a threshold for each block, every draw counts, with the accuracy and the passes of the whole
    answer.

    Args:
        sampled ([`Generations`]):
            Samples that were decoded with `learned_threshold="sample"`.
        reward (`Callable`):
            A reward function as TRL takes them; an answer is correct if it returns `1` or more.
        greedy ([`Generations`], *optional*):
            The same model's on the same prompts, decoded with `learned_threshold="greedy"`.
        bins (`int`, *optional*, defaults to `8`):
            Continuous thresholds are put into this many bins of equally many draws; into fewer, where there are fewer
            different ones.

    Returns:
        `list[ThresholdUse]`: by rising threshold.

    Raises:
        `ValueError`: If the samples were decoded in another way, `greedy` is of another model or other prompts, or
            `bins` has no meaning.
    """
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"`bins` must be a whole number of at least 1, got {bins!r}.")
    _check(sampled, "sampled", "sample")
    head = sampled.header["settings"]["model"]["threshold_head"]
    draws = _draws(sampled, reward, head)
    chosen: list[float] | None = None
    if greedy is not None:
        _check(greedy, "greedy", "greedy")
        _check_belongs(greedy, sampled)
        chosen = [threshold for sample in greedy.samples for threshold, _ in _thresholds(sample, head)]
    continuous = head["kind"] == "continuous"
    if continuous:
        edges = _quantiles(sorted(draw.threshold for draw in draws), bins)
    else:
        edges = sorted({draw.threshold for draw in draws} | set(chosen or ()))
    places = defaultdict(list)
    for draw in draws:
        places[_place(edges, draw.threshold)].append(draw)
    one_of_a_grid = not continuous and not head["per_block"]
    uses = []
    for place, edge in enumerate(edges):
        here = places[place]
        hits = None if chosen is None else sum(_place(edges, threshold) == place for threshold in chosen)
        accuracy, interval, nfe = _weighted(here, [1.0] * len(here))
        always = _weighted(here, [1 / draw.probability for draw in here]) if one_of_a_grid else (None,) * 3
        uses.append(
            ThresholdUse(
                threshold=sum(draw.threshold for draw in here) / len(here) if continuous and here else edge,
                share=len(here) / len(draws),
                greedy_share=None if hits is None or not chosen else hits / len(chosen),
                accuracy=accuracy,
                interval=interval,
                nfe=nfe,
                accuracy_if_always=always[0],
                interval_if_always=always[1],
                nfe_if_always=always[2],
            )
        )
    return uses


def _draws(generations: Generations, reward: Callable[..., Any], head: dict[str, Any]) -> list[_Draw]:
    right = [r for own in correct_by_prompt(generations, rewards_of(generations, reward)) for r in own]
    return [
        _Draw(sample, correct, threshold, probability)
        for sample, correct in zip(generations.samples, right, strict=True)
        for threshold, probability in _thresholds(sample, head)
    ]


def _thresholds(sample: Generation, head: dict[str, Any]) -> Iterable[tuple[float, float]]:
    """The thresholds that were drawn, with their probabilities or densities."""
    record = sample.trajectory
    assert record.threshold_actions is not None and record.threshold_log_probs is not None
    drawn = ~record.threshold_actions[0].isnan()
    if head["kind"] == "grid":  # the record has them in float32, where 0.1 is another number
        thresholds = [head["grid"][int(action)] for action in record.threshold_actions[0][drawn].tolist()]
    else:
        thresholds = record.threshold[0][drawn].tolist()
    return zip(thresholds, record.threshold_log_probs[0][drawn].exp().tolist(), strict=True)


def _quantiles(ordered: Sequence[float], bins: int) -> list[float]:
    """The upper edges of bins of equally many values."""
    return sorted({ordered[math.ceil(len(ordered) * (i + 1) / bins) - 1] for i in range(bins)})


def _place(edges: Sequence[float], threshold: float) -> int:
    """The first edge that is not below the threshold, or the last one."""
    return next((i for i, edge in enumerate(edges) if threshold <= edge), len(edges) - 1)


def _weighted(draws: list[_Draw], weights: list[float]) -> tuple[float, tuple[float, float], float]:
    """Weighted accuracy, its interval, weighted passes."""
    if not draws:
        return math.nan, (0.0, 1.0), math.nan
    total = sum(weights)
    by_prompt: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for draw, weight in zip(draws, weights, strict=True):
        by_prompt[draw.sample.prompt_index].append((weight, draw.right))
    sums = [sum(w for w, _ in own) for own in by_prompt.values()]
    means = [sum(w * r for w, r in own) / s for own, s in zip(by_prompt.values(), sums, strict=True)]
    interval = clustered_interval(means, sums, samples=total**2 / sum(w * w for w in weights))
    accuracy = sum(w * d.right for w, d in zip(weights, draws, strict=True)) / total
    return accuracy, interval, sum(w * d.sample.nfe for w, d in zip(weights, draws, strict=True)) / total


def _check(generations: Generations, name: str, kind: str) -> None:
    found = generations.header["settings"]["decoder"]["learned_threshold"]
    if found != kind:
        raise ValueError(f"`{name}` must be decoded with `learned_threshold={kind!r}`, and was with {found!r}.")
    if not generations.header["settings"]["model"].get("threshold_head"):
        raise ValueError(f"The header of `{name}` tells of no `threshold_head`: it is damaged. Decode again.")


def _check_belongs(greedy: Generations, sampled: Generations) -> None:
    one, two = (generations.header["settings"]["model"] for generations in (greedy, sampled))
    if names := [name for name in sorted(one.keys() | two.keys()) if one.get(name) != two.get(name)]:
        raise ValueError(
            f"`greedy` and `sampled` are of different models: {', '.join(f'`{name}`' for name in names)} differ. "
            "Decode both with the same checkpoint."
        )
    check_prompts(greedy, sampled, ("greedy", "sampled"))
