# SPDX-License-Identifier: Apache-2.0
"""
Run by test_engines.py in several processes under one engine: every check that a method must pass there.

The first process writes down what each check found, and how long it took.
"""

import faulthandler
import json
import math
import os
import shutil
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers.trainer_utils import get_last_checkpoint

from trl_diffusion.generation import DiffusionSampler
from trl_diffusion.process_exit import let_gloo_finish_at_exit
from trl_diffusion.trainer.agreement import anyone_busy

from .distributed_worker import make_variant
from .engines_on_cpu import engine_of, prepare, units_of
from .trainers import PROMPTS, losses


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
    if trainer.ref_model is not None:
        assert units_of(trainer.ref_model) == units_of(trainer.model)
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
    in lockstep. Both train on, evaluate what cannot be shared evenly, and bear that one has nothing to write.
    """
    results, passes = [], []
    for gather in (True, False):
        trainer = make_variant(
            name,
            model_path,
            folder,
            max_steps=2,
            ds3_gather_for_generation=gather,
            num_iterations=1,
            block_length=8,
            eval_dataset=Dataset.from_dict({"prompt": PROMPTS[:3]}),  # twelve completions in batches of eight
            num_generations_eval=4,
        )
        rank, decoder = trainer.accelerator.process_index, trainer.decoder

        def uneven_decoder(mode, decoder=decoder, rank=rank):
            return replace(
                decoder(mode), unmasking="entropy_bound", entropy_bound=[1e9, 0.0][rank], max_denoising_steps=None
            )

        if not name.startswith("joint"):  # whose thresholds are its own: uneven by chance
            trainer.decoder = uneven_decoder
        made = []
        trainer.model.register_forward_hook(lambda module, args, output, made=made: made.append(not module.training))
        trainer.train()
        passes.append(gather_object([sum(made)]))
        results.append([*losses(trainer), trainer.evaluate()["eval_reward"]])
        write_in_one_process(trainer)
        assert all(map(torch.isfinite, map(torch.tensor, results[-1])))
    assert near(*results), results
    if not name.startswith("joint"):
        assert passes[0] == [2, 16], passes  # nobody waits where the parameters are there
        sharded = trainer.shards_parameters
        assert (passes[1][0] == passes[1][1]) == sharded, passes
    return {"passes": passes}


def in_bf16(name, model_path, folder):
    """
    Layers compute in half precision, whatever holds the weights; the policy that has just sampled is the one that is
    scored, to the last bit under most engines; a resumed run is exact.
    """
    made = []

    def watched(**options):
        trainer = make_variant(name, model_path, folder, bf16=True, **options)
        layer = next(module for key, module in trainer.model.named_modules() if key.endswith("down_proj"))
        layer.register_forward_hook(lambda module, args, output: made.append(output.dtype))
        return trainer

    few = SAVING | {"max_steps": 3}
    whole = watched(**few)
    whole.train()
    again = watched(**(few | {"save_strategy": "no"}))
    again.train(resume_from_checkpoint=str(folder / "checkpoint-1"))
    assert set(made) == {torch.bfloat16}, set(made)
    expected = losses(whole)
    assert len(expected) == 3 and all(map(math.isfinite, expected)), expected
    assert near(losses(again), expected) and near(whole_weights(again), whole_weights(whole))
    first = whole.state.log_history[0]
    if "kl" in first and not name.endswith("lora"):  # an adapter that starts at random has left the reference
        assert abs(first["kl"]) < 1e-3, first["kl"]
    return {"loss": expected, "kl": first.get("kl")}


def write_in_one_process(trainer):
    """The other one has an empty batch."""
    rows = 0 if trainer.accelerator.process_index else 2
    ids = torch.full((rows, 3), 5, device=trainer.accelerator.device)
    with trainer.model_for_generation() as model:
        trajectory = DiffusionSampler(model, trainer.decoder("eval"), trainer.spec).sample(
            ids,
            torch.ones_like(ids),
            seeds=torch.arange(rows),
            anyone_busy=partial(anyone_busy, trainer.accelerator) if trainer.needs_lockstep else bool,
        )
    assert len(trajectory) == rows and (trajectory.nfe > 0).all()


class Broken(Exception):
    pass


def fails(name, model_path, folder):
    """An error of one process or of both, in a reward function or a rollout, ends all of them with its message."""
    cases = (  # where, in which processes, with parameters gathered for rollouts
        ("reward", [1], True),
        ("reward", [0, 1], True),
        ("rollout", [0], True),
        ("rollout", [1], False),
    )

    def break_reward(trainer):
        def reward(completions, **kwargs):
            raise Broken("the reward is broken")

        trainer.reward_funcs[0] = trainer._reward_errors.wrap(reward, "reward")

    def break_rollout(trainer):
        trainer.model.config.max_position_embeddings = trainer.args.max_completion_length  # no room for prompts

    for where, broken, gather in cases:
        trainer = make_variant(name, model_path, folder, max_steps=2, ds3_gather_for_generation=gather)
        rank, message = trainer.accelerator.process_index, None
        if rank in broken:
            {"reward": break_reward, "rollout": break_rollout}[where](trainer)
        started = time.perf_counter()
        try:
            trainer.train()
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
        assert time.perf_counter() - started < 60
        own = {"reward": "Broken: the reward is broken", "rollout": "ValueError: A prompt has "}[where]
        if rank in broken:
            assert message and message.startswith(own), message
        else:
            assert message and message.startswith(f"PeerError: Process {broken[0]} of 2 failed: {own}"), message
    return {}


def trains_on(name, model_path, folder):
    """From the last checkpoint that there is: the run of `resumes`, which is killed now and then from outside."""
    last = get_last_checkpoint(folder) if folder.exists() else None
    trainer = make_variant(name, model_path, folder, save_total_limit=2, **SAVING)
    trainer.train(resume_from_checkpoint=last)
    return {"from": last and Path(last).name, "loss": losses(trainer), "weights": whole_weights(trainer)}


CHECKS = {check.__name__: check for check in (trains, resumes, uneven, fails, in_bf16, trains_on)}


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
