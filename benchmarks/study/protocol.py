# SPDX-License-Identifier: Apache-2.0
"""The conditions that all variants share: task, budget, decoders, problems."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback

import trl_diffusion as td
from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation.fingerprints import content_fingerprint
from trl_diffusion.likelihood import MeanField
from trl_diffusion.rewards import countdown_reward, sudoku_reward, with_speed_bonus
from trl_diffusion.tasks import countdown, sudoku

from .variants import Variant


ROLLOUT_BOUND = 0.1
SPEED_BONUS = {"speed": 0.5, "haste": 2.0}  # what an answer in no time would earn on top, as a share
# Of the greedy frontier, in nats. Close together where accuracies are compared: a line between two is short there.
BOUNDS = (0.03, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0, 8.0)
TEST_SEED, VALIDATION_SEED = 1, 2


@dataclass(frozen=True)
class Task:
    """
    A task with an embedded model.

    Args:
        name (`str`):
            Of the embedded model.
        module (`module`):
            Where its problems come from.
        reward (`Callable`):
            1 for a right answer, else less.
        passes (`float`):
            Forward passes per answer at which accuracies are compared.
        kin (`Callable`):
            What related problems have in common, by row: they are not independent.
    """

    name: str
    module: Any
    reward: Callable[..., list[float]]
    passes: float
    kin: Callable[[dict[str, Any]], Any]

    @property
    def length(self) -> int:
        return self.module.COMPLETION_LENGTH


TASKS = {
    "sudoku": Task("sudoku", sudoku, sudoku_reward, 2.0, lambda row: row["solution"]),
    "countdown": Task("countdown", countdown, countdown_reward, 4.0, lambda row: tuple(sorted(row["numbers"]))),
}


@dataclass(frozen=True)
class Scale:
    """
    How much of everything.

    Args:
        updates (`int`):
            Optimiser steps.
        completions (`int`):
            Of one update.
        group (`int`):
            Completions per prompt.
        problems (`int`):
            Held out.
        few (`int`):
            Of these, for decoding with one token per pass, and during training.
        checkpoints (`tuple[int, ...]`):
            Updates after which the sampled accuracy is measured during training.
    """

    updates: int
    completions: int
    group: int
    problems: int
    few: int
    checkpoints: tuple[int, ...]


FULL = {
    "sudoku": Scale(60, completions=256, group=8, problems=1000, few=250, checkpoints=(5, 10, 20, 40)),
    "countdown": Scale(80, completions=256, group=8, problems=1000, few=250, checkpoints=(5, 10, 20, 40)),
}
SMOKE = dict.fromkeys(TASKS, Scale(2, completions=16, group=4, problems=20, few=10, checkpoints=(1,)))


@functools.cache
def test_set(task: Task, scale: Scale) -> Dataset:
    """The same held-out problems for all variants."""
    return task.module.make_dataset("test", scale.problems, seed=TEST_SEED)


@functools.cache
def clusters(task: Task, scale: Scale) -> list[int]:
    """A number for each held-out problem, the same for those that are related."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(task.kin(row), len(numbers)) for row in test_set(task, scale)]


@functools.cache
def training_set(task: Task, scale: Scale) -> Dataset:
    """As many as are asked for in the whole of training: no problem comes twice."""
    return task.module.make_dataset("train", scale.updates * scale.completions // scale.group)


@functools.cache
def validation_set(task: Task, scale: Scale) -> Dataset:
    """Problems to choose learning rates on: of the training split, and none that is trained on or held out."""
    seen = set(training_set(task, scale)["prompt"]) | set(test_set(task, scale)["prompt"])
    candidates = task.module.make_dataset("train", 2 * scale.problems, seed=VALIDATION_SEED)
    rows = (i for i, prompt in enumerate(candidates["prompt"]) if prompt not in seen)
    return candidates.select(list(islice(rows, scale.problems // 2)))


def decoder(task: Task, block_length: int | None = None, **options: Any) -> DiffusionGenerationConfig:
    """The decoder of the rollouts, but for `options`."""
    rollout = {"block_length": block_length or task.length, "entropy_bound": ROLLOUT_BOUND}
    return DiffusionGenerationConfig(max_new_tokens=task.length, **rollout | options)


def permuted(reward: Callable[..., list[float]], group: int, seed: int) -> Callable[..., list[float]]:
    """The rewards of each group, dealt out to its completions at random."""
    rng = random.Random(seed)

    def permuted_reward(*args: Any, **kwargs: Any) -> list[float]:
        rewards = reward(*args, **kwargs)
        return [value for i in range(0, len(rewards), group) for value in rng.sample(rewards[i : i + group], group)]

    return permuted_reward


class MeanFieldDiFFPOTrainer(td.DiFFPOTrainer):
    """DiFFPO with the mean field in place of its surrogate, all else equal."""

    def make_estimator(self, args: td.DiFFPOConfig) -> MeanField:
        return MeanField(p_mask_prompt=0.0)


def settings_of(variant: Variant, task: Task, scale: Scale, learning_rate: float) -> dict[str, Any]:
    """All on which a run depends, besides its seed and the library: runs with others are not mixed."""
    return {
        "trainer": variant.trainer,
        "options": dict(variant.options),
        "reward": variant.reward,
        "mean_field": variant.mean_field,
        "learning_rate": learning_rate,
        "scale": asdict(scale) | {"checkpoints": list(scale.checkpoints)},
        "rollout_bound": ROLLOUT_BOUND,
        "bounds": list(BOUNDS),
        "task": task.name,
        "problems": content_fingerprint(test_set(task, scale)["prompt"]),
    }


def make_trainer(variant: Variant, task: Task, scale: Scale, seed: int, output_dir: str, learning_rate: float) -> Any:
    """
    The trainer of a variant. The first logged reward is that of the task, whatever is trained for.

    Rollouts use the entropy bound, where the variant does not say otherwise.
    """
    rewards, weights = [task.reward], None
    if variant.reward != "task":
        trained_for = (
            permuted(task.reward, scale.group, seed)
            if variant.reward == "permuted"
            else with_speed_bonus(task.reward, weight=SPEED_BONUS[variant.reward], max_nfe=task.length)
        )
        rewards, weights = [task.reward, trained_for], [0.0, 1.0]
    arguments: dict[str, Any] = {
        "output_dir": output_dir,
        "seed": seed,
        "max_steps": scale.updates,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": scale.completions,
        "num_generations": scale.group,
        "num_iterations": 1,
        "reward_weights": weights,
        "max_completion_length": task.length,
        "block_length": task.length,
        "unmasking": "entropy_bound",
        "entropy_bound": ROLLOUT_BOUND,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    torch.manual_seed(seed)  # a threshold head starts at random
    trainer_class = MeanFieldDiFFPOTrainer if variant.mean_field else getattr(td, f"{variant.trainer}Trainer")
    trainer = trainer_class(
        model=embedded.path(task.name),
        reward_funcs=rewards,
        args=getattr(td, f"{variant.trainer}Config")(**arguments | variant.options),
        train_dataset=training_set(task, scale),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
