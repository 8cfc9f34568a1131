# SPDX-License-Identifier: Apache-2.0
"""
Run by test_engines.py in several processes under one engine: every check that a method must pass there.

The first process writes down what each check found, and how long it took.
"""

import faulthandler
import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers.trainer_utils import get_last_checkpoint

from trl_diffusion.trainer.process_exit import let_gloo_finish_at_exit

from .distributed_worker import make_variant
from .engines_on_cpu import engine_of, prepare
from .trainers import losses


def whole_weights(trainer):
    """Of the first process; nothing in the others."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) or {}
    return {name: values.detach().double().sum().item() for name, values in sorted(state.items())}


def near(one, other, tolerance=1e-6):
    keys = one.keys() if isinstance(one, dict) else range(max(len(one), len(other)))
    return all(abs(one[key] - other[key]) <= tolerance * (1 + abs(one[key])) for key in keys)


def trains(name, model_path, folder):
    """Losses, gradients and weights, to compare with those of one process."""
    trainer = make_variant(name, model_path, folder)
    trainer.train()
    history = trainer.state.log_history
    return {
        "engine": engine_of(trainer),
        "weights": whole_weights(trainer),
        **{key: [entry[key] for entry in history if key in entry] for key in ("loss", "grad_norm", "reward", "kl")},
    }


SAVING = {"save_strategy": "steps", "save_steps": 1, "max_steps": 5}


def resumes(name, model_path, folder):
    """From the midst of a rollout buffer, as if nothing had happened."""
    whole = make_variant(name, model_path, folder, **SAVING)
    whole.train()
    expected, weights = losses(whole), whole_weights(whole)
    del whole
    for step in (1, 2):  # within a rollout, and at its end
        again = make_variant(name, model_path, folder, **(SAVING | {"save_strategy": "no"}))
        again.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
        assert len(expected) == 5 and near(losses(again), expected), (step, losses(again), expected)
        assert near(whole_weights(again), weights), step
    return {"loss": expected, "weights": weights}


def uneven(name, model_path, folder):
    """
    One process writes all in one pass, the other a token per pass: by gathering the parameters for a rollout, and
    in lockstep. Both train on.
    """
    results, passes = [], []
    for gather in (True, False):
        trainer = make_variant(
            name, model_path, folder, max_steps=2, ds3_gather_for_generation=gather, num_iterations=1, block_length=8
        )
        rank, decoder = trainer.accelerator.process_index, trainer.decoder

        def uneven_decoder(mode, decoder=decoder, rank=rank):
            return replace(
                decoder(mode), unmasking="entropy_bound", entropy_bound=[1e9, 0.0][rank], max_denoising_steps=None
            )

        if name != "joint":  # whose thresholds are its own: uneven by chance
            trainer.decoder = uneven_decoder
        made = []
        trainer.model.register_forward_hook(lambda module, args, output, made=made: made.append(not module.training))
        trainer.train()
        passes.append(gather_object([sum(made)]))
        results.append(losses(trainer))
        assert all(map(torch.isfinite, map(torch.tensor, results[-1])))
    assert near(*results), results
    if name != "joint":
        assert passes[0] == [2, 16], passes  # nobody waits where the parameters are there
        sharded = engine_of(trainer)[2] == 0
        assert (passes[1][0] == passes[1][1]) == sharded, passes
    return {"passes": passes}


class Broken(Exception):
    pass


def fails(name, model_path, folder):
    """An error of one process, in a reward function and in a rollout, ends all of them with its message."""
    messages = []

    def break_reward(trainer):
        def reward(completions, **kwargs):
            raise Broken("the reward is broken")

        trainer.reward_funcs[0] = trainer._reward_errors.wrap(reward, "reward")

    def break_rollout(trainer):
        def check(prompt_ids, where=""):
            raise ValueError("the prompts are broken")

        trainer._check_prompts = check

    for where, gather in ((break_reward, True), (break_rollout, True), (break_rollout, False)):
        trainer = make_variant(name, model_path, folder, max_steps=2, ds3_gather_for_generation=gather)
        if trainer.accelerator.process_index == 1:
            where(trainer)
        started = time.perf_counter()
        try:
            trainer.train()
        except Exception as error:
            messages.append(gather_object([f"{type(error).__name__}: {error}"]))
        assert time.perf_counter() - started < 60
    for (first, second), what in zip(messages, ("Broken: the reward", *["ValueError: the prompts"] * 2), strict=True):
        assert second == f"{what} {'is' if 'reward' in what else 'are'} broken", second
        assert first.startswith(f"PeerError: Process 1 of 2 failed: {second}"), first
    return {}


def trains_on(name, model_path, folder):
    """From the last checkpoint that there is: the run of `resumes`, which is killed now and then from outside."""
    last = get_last_checkpoint(folder) if folder.exists() else None
    trainer = make_variant(name, model_path, folder, save_total_limit=2, **SAVING)
    trainer.train(resume_from_checkpoint=last)
    return {"from": last and Path(last).name, "loss": losses(trainer), "weights": whole_weights(trainer)}


CHECKS = {check.__name__: check for check in (trains, resumes, uneven, fails, trains_on)}


def main(checks, methods, model_path, output_dir):
    record = {}
    for name in methods.split(","):
        for check in checks.split(","):
            folder = Path(output_dir, f"{name}-{check}")
            started = time.perf_counter()
            faulthandler.dump_traceback_later(200, exit=True)  # rather than hang
            found = CHECKS[check](name, model_path, folder)
            record.setdefault(name, {})[check] = found | {"seconds": round(time.perf_counter() - started, 2)}
            if os.environ["RANK"] == "0":
                Path(output_dir, "record.json").write_text(json.dumps(record))
                if check != "trains_on":
                    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    prepare()
    main(*sys.argv[1:])
    let_gloo_finish_at_exit()
    torch.distributed.destroy_process_group()
