# SPDX-License-Identifier: Apache-2.0
"""Train and measure. A run that is there is not made again; one that was killed leaves nothing."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation import generate, rewards_of
from trl_diffusion.evaluation.fingerprints import environment
from trl_diffusion.evaluation.scoring import correct_by_prompt

from .protocol import (
    BOUNDS,
    TASKS,
    Scale,
    Task,
    decoder,
    make_trainer,
    settings_of,
    test_set,
    validation_set,
)
from .records import FOLDER, Answers, Record, load, path_of, save
from .variants import UNTRAINED, VARIANTS, Variant


def choosing_name(variant: str, rate: float) -> str:
    """Of the record of a run that a learning rate is chosen by."""
    return f"{variant}.choosing@{rate:g}"


@dataclass(frozen=True)
class Run:
    """
    One run to make.

    Args:
        variant, task (`str`):
            Their keys.
        seed (`int`):
            Of the training; 0 for the untrained model.
        scale ([`Scale`]):
            How much of everything.
        learning_rate (`float`):
            The model's.
        folder (`Path`):
            For the records.
        choosing (`bool`):
            Whether it is there to choose a learning rate: it then sees the validation problems and no others.
    """

    variant: str
    task: str
    seed: int
    scale: Scale
    learning_rate: float
    folder: Path = FOLDER
    choosing: bool = False

    @property
    def name(self) -> str:
        """Of the record."""
        return choosing_name(self.variant, self.learning_rate) if self.choosing else self.variant

    @property
    def path(self) -> Path:
        return path_of(self.folder, self.task, self.name, self.seed)

    @property
    def settings(self) -> dict[str, Any]:
        return settings_of(VARIANTS[self.variant], TASKS[self.task], self.scale, self.learning_rate)

    def is_done(self) -> bool:
        """
        Raises:
            `ValueError`: If it is there, made under other settings.
        """
        if not self.path.exists():
            return False
        if load(self.path).settings != json.loads(json.dumps(self.settings)):
            raise ValueError(f"{self.path} was made under other settings. Delete it to make it anew.")
        return True


def answers(model: Any, tokenizer: Any, task: Task, problems: Dataset, config: DiffusionGenerationConfig) -> Answers:
    """Decode every problem once; the noise of a problem is its own, and the same for all models."""
    generations = generate(model, tokenizer, problems, config, batch_size=len(problems))
    right = correct_by_prompt(generations, rewards_of(generations, task.reward))
    passes = sum(g.nfe for g in generations.samples) / len(generations)
    return Answers.pack([own[0] for own in right], passes)


class Curve(TrainerCallback):
    """Measures the model in passing. Training goes on as if nothing had happened."""

    def __init__(self, task: Task, scale: Scale, tokenizer: Any, config: DiffusionGenerationConfig) -> None:
        self.task, self.scale, self.tokenizer, self.config = task, scale, tokenizer, config
        self.problems = test_set(task, scale).select(range(scale.few))
        self.points: dict[int, Answers] = {}
        self.seconds = 0.0

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step not in self.scale.checkpoints:
            return
        began = time.process_time()
        was_training, randomness = model.training, torch.get_rng_state()
        model.eval()
        self.points[state.global_step] = answers(model, self.tokenizer, self.task, self.problems, self.config)
        model.train(was_training)
        torch.set_rng_state(randomness)
        self.seconds += time.process_time() - began


def measure(
    model: Any, tokenizer: Any, task: Task, scale: Scale, variant: Variant, problems: Dataset
) -> dict[str, Answers]:
    """A model under all decoders."""
    base = decoder(task, variant.options.get("block_length"))
    greedy = replace(base, temperature=0.0)
    decoders = {"sampled": base}
    decoders |= {f"bound {bound:g}": replace(greedy, entropy_bound=bound) for bound in BOUNDS}
    if variant.learns_threshold:
        decoders["learned sampled"] = replace(base, learned_threshold="sample")
        decoders["learned"] = replace(greedy, learned_threshold="greedy")
    found = {name: answers(model, tokenizer, task, problems, config) for name, config in decoders.items()}
    few = problems.select(range(scale.few))
    found["one per pass"] = answers(model, tokenizer, task, few, replace(greedy, unmasking="low_confidence"))
    return found


def make(run: Run) -> Record:
    """Train and measure one variant, and save the record."""
    torch.set_num_threads(1)
    _be_quiet()
    task, variant, scale = TASKS[run.task], VARIANTS[run.variant], run.scale
    tokenizer = AutoTokenizer.from_pretrained(embedded.path(task.name))
    problems = validation_set(task, scale) if run.choosing else test_set(task, scale)
    rollouts: dict[str, list[float]] = {"accuracy": [], "passes": []}
    points: dict[int, Answers] = {}
    seconds = 0.0
    if run.variant == UNTRAINED:
        model = AutoModelForCausalLM.from_pretrained(embedded.path(task.name))
        few = test_set(task, scale).select(range(scale.few))
        points[0] = answers(model, tokenizer, task, few, decoder(task))
    else:
        with tempfile.TemporaryDirectory() as output_dir:
            trainer = make_trainer(variant, task, scale, run.seed, output_dir, run.learning_rate)
            if run.choosing:
                began = time.process_time()
                trainer.train()
                seconds = time.process_time() - began
            else:
                curve = Curve(task, scale, tokenizer, decoder(task, variant.options.get("block_length")))
                trainer.add_callback(curve)
                began = time.process_time()
                trainer.train()
                seconds, points = time.process_time() - began - curve.seconds, curve.points
        model = trainer.model
        logs = [entry for entry in trainer.state.log_history if "reward" in entry]
        rollouts["accuracy"] = [round(e[f"rewards/{task.reward.__name__}/mean"], 6) for e in logs]
        rollouts["passes"] = [round(e["sampler/nfe"], 4) for e in logs]
    record = Record(
        variant=run.name,
        task=run.task,
        seed=run.seed,
        settings=run.settings,
        answers=measure(model, tokenizer, task, scale, variant, problems),
        curve=points,
        rollouts=rollouts,
        seconds=round(seconds, 2),
        made_by=environment(model),
    )
    save(run.folder, record)
    return record


def make_all(runs: Iterable[Run], jobs: int) -> int:
    """
    Make those that are missing, several at a time.

    Returns:
        `int`: how many failed.
    """
    missing = [run for run in runs if not run.is_done()]
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(make, run): run for run in missing}
        for count, future in enumerate(as_completed(futures), start=1):
            run = futures[future]
            where = f"[{count}/{len(missing)}] {run.task}, {run.name}, seed {run.seed}:"
            if error := future.exception():
                failed += 1
                print(f"{where} {type(error).__name__}: {error}", flush=True)
                continue
            record = future.result()
            sampled, greedy = record.answers["sampled"], record.answers["bound 0.1"]
            print(
                f"{where} sampled {sampled.bits.mean():.1%}, greedy {greedy.bits.mean():.1%} in {greedy.passes:.2f} "
                f"passes, {record.seconds:.0f} s",
                flush=True,
            )
    return failed


def _be_quiet() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
