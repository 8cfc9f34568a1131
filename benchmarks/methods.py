# SPDX-License-Identifier: Apache-2.0
"""Every method on the embedded Sudoku model, with the same budget: accuracy, passes and wall time.

    python benchmarks/methods.py                          # all methods, three seeds; about an hour on two cores
    python benchmarks/methods.py --methods AGRPO DMPO --seeds 0
    python benchmarks/methods.py --time                   # the time of an update, in turn and in one run, 3 minutes
    python benchmarks/methods.py --table                  # print the table of what has been measured already

A method gets 60 updates of 256 completions (32 prompts, 8 each) from the same base model, at the same learning rate
and with the same unmasking rule in its rollouts. Nothing is tuned per method. What is measured is written to
`benchmarks/results/methods.json`, and a run that is there already is not repeated.
"""

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback

import trl_diffusion as td
from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation import evaluate, frontier_settings
from trl_diffusion.models import end_tokens
from trl_diffusion.rewards import sudoku_reward, with_speed_bonus
from trl_diffusion.tasks import sudoku


RESULTS = Path(__file__).parent / "results" / "methods.json"
SPEED = {"reward": with_speed_bonus(sudoku_reward, weight=0.5, max_nfe=sudoku.COMPLETION_LENGTH)}
JOINT = {"threshold_learning_rate": 3e-3, **SPEED}

# Name in the table: class, options.
METHODS = {
    "diffu-GRPO": ("DiffuGRPO", {}),
    "DiFFPO": ("DiFFPO", {}),
    "DiFFPO, no importance weights": ("DiFFPO", {"importance_sampling_correction": False}),
    "DiFFPO, model, speed reward": ("DiFFPO", SPEED),
    "DiFFPO, sampler, speed reward": ("DiFFPO", {"regime": "sampler", **JOINT}),
    "DiFFPO, joint, speed reward": ("DiFFPO", {"regime": "joint", **JOINT}),
    "DiFFPO, joint, continuous": ("DiFFPO", {"regime": "joint", "threshold_head": "continuous", **JOINT}),
    "AGRPO, k = 2": ("AGRPO", {"num_step_draws": 2, "views_per_forward": 2}),
    "AGRPO, k = 8": ("AGRPO", {"num_step_draws": 8, "views_per_forward": 8}),
    "DMPO": ("DMPO", {}),
    "DMPO, negative baseline": ("DMPO", {"weight_baseline": "negative"}),
    "DMPO, WDDO": ("DMPO", {"objective": "wddo"}),
    "coupled-GRPO": ("CoupledGRPO", {}),
    "wd1": ("WD1", {}),
    "SPG": ("SPG", {}),
    "ESPO": ("ESPO", {}),
    "GDPO": ("GDPO", {}),
    "d2": ("D2", {"views_per_forward": 8}),
    "TraceRL": ("TraceRL", {"steps_per_segment": 2, "views_per_forward": 8}),
    "UniGRPO": ("UniGRPO", {}),
    "JustGRPO": ("JustGRPO", {"unmasking": "left_to_right", "views_per_forward": 8}),
}


def decoder(**options):
    length = sudoku.COMPLETION_LENGTH
    return DiffusionGenerationConfig(max_new_tokens=length, block_length=length, entropy_bound=0.1, **options)


def held_out():
    return sudoku.make_dataset("test", 500, seed=1)


def measure(model, tokenizer, settings):
    result = evaluate(model, tokenizer, held_out(), sudoku_reward, settings)
    return {"accuracy": result.accuracy, "interval": result.interval, "nfe": result.nfe}


def make_trainer(name, seed, output_dir, max_steps=60):
    torch.set_num_threads(1)
    cls, options = METHODS[name]
    options = dict(options)
    reward = options.pop("reward", sudoku_reward)
    arguments = {
        "output_dir": output_dir,
        "seed": seed,
        "max_steps": max_steps,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "linear",
        "per_device_train_batch_size": 256,
        "num_generations": 8,
        "num_iterations": 1,
        "max_completion_length": sudoku.COMPLETION_LENGTH,
        "block_length": sudoku.COMPLETION_LENGTH,
        "unmasking": "entropy_bound",
        "entropy_bound": 0.1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
    }
    trainer = getattr(td, f"{cls}Trainer")(
        model=embedded.path("sudoku"),
        reward_funcs=reward,
        args=getattr(td, f"{cls}Config")(**arguments | options),
        train_dataset=sudoku.make_dataset("train", 1920),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def run(name, seed):
    """Train and evaluate one method."""
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(name, seed, output_dir)
        trainer.train()
    model, tokenizer = trainer.model, AutoTokenizer.from_pretrained(embedded.path("sudoku"))
    learned = METHODS[name][1].get("regime", "model") != "model"
    sampled, greedy = ({"learned_threshold": how} if learned else {} for how in ("sample", "greedy"))
    return {
        "sampled": measure(model, tokenizer, decoder(**sampled)),
        "greedy": measure(model, tokenizer, decoder(temperature=0.0, **greedy)),
        "full": measure(model, tokenizer, decoder(temperature=0.0, unmasking="low_confidence")),
    }


def seconds_per_update(name):
    """Wall time of an update from the untrained model, the median of five after a first one."""

    class Clock(TrainerCallback):
        def __init__(self):
            self.times = []

        def on_step_end(self, *args, **kwargs):
            self.times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(name, 0, output_dir, max_steps=6)
        trainer.args.learning_rate = 1e-9  # rollouts stay as long as they are
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    return statistics.median(after - before for before, after in pairwise(clock.times))


def base_frontier():
    """The untrained model's greedy frontier, for comparison at equal cost."""
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    greedy = dataclasses.replace(decoder(temperature=0.0), eos_token_ids=end_tokens(model, tokenizer))
    results = [evaluate(model, tokenizer, held_out(), sudoku_reward, s) for s in [greedy, *frontier_settings(greedy)]]
    return [{"accuracy": e.accuracy, "interval": e.interval, "nfe": e.nfe} for e in results]


def table(results):
    """Means over seeds, with the smallest and the largest accuracy."""
    seeds = sorted({seed for runs in results["runs"].values() for seed in runs}, key=int)
    yield f"| method ({len(seeds)} seeds) | sampled | passes | greedy | passes | over base | one per pass | time |"
    yield "|---|---|---|---|---|---|---|---|"
    before = results["base"]
    for name, runs in results["runs"].items():
        if name not in METHODS or not runs:
            continue
        cells = [name]
        for kind in ("sampled", "greedy"):
            accuracies = [100 * r[kind]["accuracy"] for r in runs.values()]
            cells.append(f"{statistics.mean(accuracies):.1f} ({min(accuracies):.1f} – {max(accuracies):.1f})")
            cells.append(f"{statistics.mean(r[kind]['nfe'] for r in runs.values()):.2f}")
        gains = [
            100
            * (
                r["greedy"]["accuracy"]
                - max((p["accuracy"] for p in before if p["nfe"] <= r["greedy"]["nfe"]), default=0)
            )
            for r in runs.values()
        ]
        cells.append(f"{statistics.mean(gains):+.1f}")
        cells.append(f"{100 * statistics.mean(r['full']['accuracy'] for r in runs.values()):.1f}")
        times = results.get("seconds_per_update", {})
        cells.append(f"{times[name] / times['diffu-GRPO']:.2f}" if name in times else "")
        yield f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="Print the table and run nothing.")
    parser.add_argument("--time", action="store_true", help="Measure the time of an update, one method at a time.")
    args = parser.parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else {"base": None, "runs": {}}
    if args.time:
        results["seconds_per_update"] = {name: seconds_per_update(name) for name in METHODS}
        args.results.write_text(json.dumps(results, indent=1))
    elif not args.table:
        args.results.parent.mkdir(exist_ok=True)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
            base = None if results["base"] else pool.submit(base_frontier)
            futures = {
                (name, seed): pool.submit(run, name, seed)
                for seed in args.seeds
                for name in args.methods
                if str(seed) not in results["runs"].get(name, {})
            }
            if base is not None:
                results["base"] = base.result()
            for (name, seed), future in futures.items():
                results["runs"].setdefault(name, {})[str(seed)] = future.result()
                args.results.write_text(json.dumps(results, indent=1))
                greedy = results["runs"][name][str(seed)]["greedy"]
                print(f"{name}, seed {seed}: {100 * greedy['accuracy']:.1f} % at {greedy['nfe']:.2f}", flush=True)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
