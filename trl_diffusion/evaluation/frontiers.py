# SPDX-License-Identifier: Apache-2.0
"""The best accuracy at every cost: decoders at many thresholds, of one checkpoint or several."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..generation import DiffusionGenerationConfig
from ..generation.config import COMPUTATION
from ..models import resolve_spec
from .fingerprints import content_fingerprint
from .generate import generate, model_settings, prompt_ids_of
from .records import SWEEP_HEADER, check_fields, check_point, parse
from .scoring import Evaluation, score


FORMAT = "trl-diffusion sweep 1"


def frontier_settings(
    config: DiffusionGenerationConfig,
    *,
    entropy_bounds: Iterable[float] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 8.0),
    confidence_thresholds: Iterable[float] = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.4, 0.3),
    tokens_per_step: Iterable[int] = (1, 2, 4),
) -> list[DiffusionGenerationConfig]:
    """
    The decoders that a frontier is searched over.

    Args:
        config ([`~trl_diffusion.DiffusionGenerationConfig`]):
            Everything but rule, threshold and number of steps: canvas, temperature, caches. Thresholds are those of
            the grid, also of a model that has learned its own.
        entropy_bounds (`Iterable[float]`, *optional*):
            Bounds of the entropy-bound rule, in nats.
        confidence_thresholds (`Iterable[float]`, *optional*):
            Thresholds of the confidence rule.
        tokens_per_step (`Iterable[int]`, *optional*):
            Fixed schedules, `"low_confidence"`. Those that do not divide into steps per block are left out.

    Returns:
        `list[DiffusionGenerationConfig]`

    Raises:
        `ValueError`: If a value has no meaning.
    """
    tokens_per_step = list(tokens_per_step)
    if any(n < 1 for n in tokens_per_step):
        raise ValueError(f"`tokens_per_step` must be at least 1, got {min(tokens_per_step)}.")
    config = replace(config, learned_threshold="off")
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
            if n and n % config.num_blocks == 0
        ),
    ]


def frontier(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The evaluations that no other beats in accuracy at the same or a lower cost, by rising cost."""
    best: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: (e.nfe, -e.accuracy)):
        if not best or evaluation.accuracy > best[-1].accuracy:
            best.append(evaluation)
    return best


def names_and_conditions(sweeps: Mapping[str, Iterable[Evaluation]]) -> tuple[dict[str, str], str]:
    """
    What a picture or a table of frontiers has to say beside rules and thresholds: temperature, canvas, truncation,
    caches.

    Args:
        sweeps (`Mapping[str, Iterable[Evaluation]]`):
            Evaluations by the name of the checkpoint.

    Returns:
        `tuple[dict[str, str], str]`: names to show, by name, and what holds for all points. Where not all were decoded
        alike, the second is empty and each name says how its own were.
    """
    conditions = {name: sorted(set(map(_conditions, points))) for name, points in sweeps.items()}
    every = {condition for own in conditions.values() for condition in own}
    if len(every) <= 1:
        return {name: name for name in sweeps}, "".join(every)
    return {name: f"{name} ({'; '.join(own)})" for name, own in conditions.items()}, ""


_SWEPT = ("unmasking", "threshold", "steps")


def settings_of_the_rule(point: Evaluation) -> dict[str, Any]:
    """What tells a decoder from the others of its sweep: rule, and threshold or number of steps."""
    return {name: value for name, value in point.decoder.items() if name in _SWEPT}


def _conditions(point: Evaluation) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.decoder.items() if name not in _SWEPT)


def accuracy_at(points: list[Evaluation], nfe: float) -> float | None:
    """
    The best accuracy on a frontier at no more than `nfe` passes per answer; `None` if no point is that cheap, of which
    nothing is known: not that it would be `0`.
    """
    return max((point.accuracy for point in points if point.nfe <= nfe), default=None)


def sweep(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    reward: Callable[..., Any],
    settings: Iterable[DiffusionGenerationConfig],
    path: str | os.PathLike,
    *,
    name: str = "model",
    generations_dir: str | os.PathLike | None = None,
    num_samples: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    accelerator: Accelerator | PartialState | None = None,
) -> list[Evaluation]:
    """
    Evaluate a checkpoint under many decoders, and keep the figures in a file, which may hold those of others.

    A point that is in the file is not measured again: a sweep that was killed goes on, and one with more settings adds
    to it. Call it again with another model and another `name` to compare checkpoints on one picture. `model`,
    `tokenizer`, `dataset`, `num_samples`, `batch_size`, `seed` and `accelerator` are those of [`generate`].

    Args:
        reward (`Callable`):
            A reward function as TRL takes them. Its name and not its code is compared with that in the file.
        settings (`Iterable[DiffusionGenerationConfig]`):
            The decoders, such as those of [`frontier_settings`].
        path (`str` or `os.PathLike`):
            The file, see [`load_sweep`].
        name (`str`, *optional*, defaults to `"model"`):
            Name of the checkpoint, for people.
        generations_dir (`str` or `os.PathLike`, *optional*):
            Folder for the samples themselves, a file per point. A sweep that is killed then loses no more than a
            batch. By default only the figures are kept.

    Returns:
        `list[Evaluation]`: of these settings, in their order.

    Raises:
        `ValueError`: If the file holds points of another dataset, seed or reward, or another model of this name, or
            one that was given the problems in other tokens.
    """
    file = Path(path)
    asked: dict[str, Any] = {
        "model": model_settings(model, resolve_spec(model)),
        "prompt_ids": content_fingerprint(prompt_ids_of(tokenizer, dataset)),
    }
    header = {
        "format": FORMAT,
        "dataset": content_fingerprint(dict(row) for row in dataset),
        "reward": getattr(reward, "__name__", type(reward).__name__),
        "num_samples": num_samples,
        "seed": seed,
    }
    points = _read(file, header)
    for point in points:
        if point["name"] == name:
            _check_same(file, name, point, asked)
    known = {content_fingerprint([p["settings"]]): p["evaluation"] for p in points if p["name"] == name}
    is_main = accelerator is None or accelerator.is_main_process
    results = []
    bar = tqdm(list(settings), desc=f"{file.name}: {name}", unit="decoder", disable=None if is_main else True)
    for config in bar:
        plain = {key: value for key, value in asdict(config).items() if key not in COMPUTATION}
        key = content_fingerprint([plain])
        if key not in known:
            samples = f"{asked['model']['weights'][:12]}-{key[:12]}.jsonl"
            generations = generate(
                model,
                tokenizer,
                dataset,
                config,
                None if generations_dir is None else Path(generations_dir, samples),
                num_samples=num_samples,
                batch_size=batch_size,
                seed=seed,
                accelerator=accelerator,
            )
            known[key] = asdict(score(generations, reward))
            points.append({"name": name, **asked, "settings": plain, "evaluation": known[key]})
            if is_main:
                _write(file, header, points)
        results.append(_evaluation(known[key]))
    return results


def _check_same(file: Path, name: str, point: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """
    Raises:
        `ValueError`: If a point of this name was measured with another model, or with other tokens for the prompts.
    """
    differs = [key for key, value in asked["model"].items() if point["model"].get(key) != value]
    if differs:
        raise ValueError(
            f"`name`: {file} holds points of another model called {name!r} (its {', '.join(differs)}). Give this one "
            "another name."
        )
    if point["prompt_ids"] != asked["prompt_ids"]:
        raise ValueError(
            f"`name`: {file} holds points called {name!r} of the same problems as other tokens: the tokenizer or its "
            "chat template has changed. Give this one another name."
        )


def load_sweep(path: str | os.PathLike) -> dict[str, list[Evaluation]]:
    """
    The evaluations that [`sweep`] has written, by the name of the checkpoint.

    Raises:
        `FileNotFoundError`: If the file is not there.
        `ValueError`: If it is no such file, or damaged.
    """
    sweeps: dict[str, list[Evaluation]] = {}
    for point in _read(Path(path), None):
        sweeps.setdefault(point["name"], []).append(_evaluation(point["evaluation"]))
    return sweeps


def _read(path: Path, expected: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The points in a file, which must have this header; of a file that does not exist, none."""
    if expected is not None and not path.exists():
        return []
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. `sweep`, or `trl-diffusion frontier`, writes such a file.")
    if path.is_dir():
        raise ValueError(f"`path`: {path} is a folder, and no file of a sweep. Name the file in it.")
    first, *lines = path.read_bytes().splitlines() or [b""]
    try:
        header = parse(first)
    except ValueError:
        header = {}
    if header.get("format") != FORMAT:
        raise ValueError(f"`path`: {path} is no file of a sweep. Choose another one.")
    try:
        check_fields(header, SWEEP_HEADER)
    except ValueError as error:
        raise ValueError(
            f"`path`: the header of {path} is damaged: {error}. Delete the file, and sweep again."
        ) from error
    points = []
    for number, line in enumerate(lines, start=2):
        try:
            points.append(parse(line))
            check_point(points[-1])
        except ValueError as error:
            raise ValueError(
                f"`path`: line {number} of {path} is damaged ({error}). Delete the line, and sweep again with the "
                "same arguments: only that point is measured."
            ) from error
    for key, value in (expected or {}).items():
        if header[key] != value:
            raise ValueError(
                f"`path`: {path} holds points with another `{key}`, {header[key]!r} instead of {value!r}. Choose "
                "another `path`."
            )
    return points


def _write(path: Path, header: dict[str, Any], points: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f"{path.name}.whole")
    whole.write_text("".join(f"{json.dumps(line)}\n" for line in [header, *points]), encoding="utf-8")
    whole.replace(path)


def _evaluation(plain: dict[str, Any]) -> Evaluation:
    """As it was before JSON made lists of tuples and strings of keys."""
    pass_at = {int(k): (value, tuple(ends)) for k, (value, ends) in plain["pass_at"].items()}
    pairs = {name: tuple(plain[name]) for name in ("interval", "reward_interval")}
    return Evaluation(**plain | pairs | {"pass_at": pass_at})
