# SPDX-License-Identifier: Apache-2.0
"""Train a diffusion language model with DiFFPO in a few minutes, and see what it gained.

    make quickstart                                         # the embedded Sudoku model, on a CPU
    python -m trl_diffusion.scripts.quickstart --seed 1     # another seed
    python -m trl_diffusion.scripts.quickstart --task countdown
    python -m trl_diffusion.scripts.quickstart --model GSAI-ML/LLaDA-8B-Instruct --task countdown --use_peft

The embedded base model learned from careless demonstrations: it knows how to solve a Sudoku, but samples typos and
hesitates. DiFFPO makes it more accurate and faster at once. Both are measured against the base model's own frontier,
the best of both adaptive rules and of fixed schedules at any threshold, on held-out puzzles. Writes `quickstart.png`,
`results.json` and the trained model to `--output_dir`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from .. import DiFFPOConfig, DiFFPOTrainer, DiffusionGenerationConfig, embedded
from ..evaluation import Evaluation, accuracy_at, evaluate, frontier, frontier_settings
from ..tasks import get_task


MARGIN = 0.02  # greedy accuracies within two points count as the same

# What differs between the embedded models and a model from the Hub. All can be given on the command line.
EMBEDDED_DEFAULTS = {
    "sudoku": {"steps": 60, "learning_rate": 2e-4, "batch_size": 256, "entropy_bound": 0.1, "eval_prompts": 500},
    "countdown": {"steps": 150, "learning_rate": 1e-4, "batch_size": 256, "entropy_bound": 0.1, "eval_prompts": 500},
}
HUB_DEFAULTS = {"steps": 200, "learning_rate": 3e-6, "batch_size": 8, "entropy_bound": 0.1, "eval_prompts": 64}
HUB_CANVAS = {"max_new_tokens": 128, "block_length": 32, "max_batch_size": 16}
# Decoding with a large model takes minutes: fewer points on its frontier.
HUB_FRONTIER = {
    "entropy_bounds": (0.03, 0.1, 0.3, 1.0),
    "confidence_thresholds": (0.95, 0.9, 0.8),
    "tokens_per_step": (1, 2),
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(EMBEDDED_DEFAULTS), default="sudoku")
    parser.add_argument("--model", help="Hub id or folder. Default: the embedded model of the task.")
    parser.add_argument("--steps", type=int, help="Updates.")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--batch_size", type=int, help="Completions per update.")
    parser.add_argument("--num_generations", type=int, default=8, help="Completions per prompt.")
    parser.add_argument("--entropy_bound", type=float, help="Bound of the rollouts' unmasking rule.")
    parser.add_argument("--eval_prompts", type=int, help="Held-out prompts. Default: 500, of a hub model 64.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--use_peft", action="store_true", help="Train LoRA adapters instead of the whole model.")
    parser.add_argument("--output_dir", default="quickstart_output")
    args = parser.parse_args(argv)
    for name, value in (HUB_DEFAULTS if args.model else EMBEDDED_DEFAULTS[args.task]).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


class Progress(TrainerCallback):
    """One line that shows where training is."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, desc="DiFFPO", unit="update")

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "reward" in logs:
            self.bar.set_postfix(reward=f"{logs['reward']:.2f}", passes=f"{logs['sampler/nfe']:.1f}")

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


@dataclasses.dataclass
class Measurement:
    """All evaluations of one model: under many decoders, sampled and greedy, and at the two budgets of the table."""

    sampled: list[Evaluation]
    greedy: list[Evaluation]
    at_training_budget: Evaluation
    greedy_at_training_budget: Evaluation
    full_budget: Evaluation


def measure(
    model: Any, tokenizer: Any, dataset: Any, reward: Any, rollout: DiffusionGenerationConfig, when: str, **grid: Any
) -> Measurement:
    """Evaluate a model under the decoder of the rollouts, one token per step, and everything between."""
    greedy = dataclasses.replace(rollout, temperature=0.0)
    full = dataclasses.replace(greedy, unmasking="low_confidence", max_denoising_steps=rollout.max_new_tokens)
    sampled_settings = [rollout, *frontier_settings(rollout, **grid)]
    greedy_settings = [greedy, full, *frontier_settings(greedy, **grid)]
    results: dict[str, Evaluation] = {}
    for setting in tqdm([*sampled_settings, *greedy_settings], desc=f"Evaluating {when} training", leave=False):
        if repr(setting) not in results:
            results[repr(setting)] = evaluate(model, tokenizer, dataset, reward, setting, batch_size=len(dataset))
    return Measurement(
        sampled=[results[repr(setting)] for setting in sampled_settings],
        greedy=[results[repr(setting)] for setting in greedy_settings],
        at_training_budget=results[repr(rollout)],
        greedy_at_training_budget=results[repr(greedy)],
        full_budget=results[repr(full)],
    )


def train(args: argparse.Namespace, model: Any, tokenizer: Any, dataset: Any, reward: Any, rollout: Any) -> Any:
    """Run DiFFPO. Returns the trainer."""
    on_cpu = not torch.cuda.is_available()
    peft_config = None
    if args.use_peft:
        from peft import LoraConfig

        peft_config = LoraConfig(r=64, lora_alpha=64)
    config = DiFFPOConfig(
        output_dir=args.output_dir,
        seed=args.seed,
        max_steps=args.steps,
        learning_rate=args.learning_rate,
        lr_scheduler_type="linear",
        per_device_train_batch_size=args.batch_size,
        num_generations=args.num_generations,
        max_completion_length=rollout.max_new_tokens,
        block_length=rollout.block_length,
        entropy_bound=rollout.entropy_bound,
        sampler_batch_size=rollout.max_batch_size,
        use_cpu=on_cpu,
        bf16=not on_cpu,
        gradient_checkpointing=bool(args.model),
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
    )
    trainer = DiFFPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[Progress()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return trainer


def cheapest(evaluations: list[Evaluation], accuracy: float) -> Evaluation | None:
    """The evaluation with the fewest passes that reaches an accuracy."""
    return min((e for e in evaluations if e.accuracy >= accuracy), key=lambda e: e.nfe, default=None)


def gain(trained: Evaluation, before: list[Evaluation]) -> float | None:
    """Accuracy over the best that the untrained model reaches in as many passes, if it can be that fast."""
    base = accuracy_at(frontier(before), trained.nfe)
    return None if base is None else trained.accuracy - base


@dataclasses.dataclass
class Summary:
    """
    The two gains, against the untrained model's own frontier.

    Args:
        sampled_gain (`float`, *optional*):
            Accuracy of the trained model's sampling, less the best that the untrained model reaches in as many passes;
            `None` if no decoder of the untrained model needs so few.
        sampled_gain_over_best (`float`):
            The same, less the best that it reaches at all.
        greedy_gain (`float`, *optional*):
            Greedy accuracy of the trained model with the rollouts' rule and bound, less the best greedy accuracy that
            the untrained model reaches in as many passes; `None` if no decoder of the untrained model needs so few.
        greedy_target (`float`):
            The untrained model's best greedy accuracy, less two points.
        greedy_passes_before (`float`):
            Passes that the untrained model's cheapest greedy decoder needs to reach the target.
        greedy_passes_after (`float`, *optional*):
            The same of the trained model; `None` if it does not reach the target.
    """

    sampled_gain: float | None
    sampled_gain_over_best: float
    greedy_gain: float | None
    greedy_target: float
    greedy_passes_before: float
    greedy_passes_after: float | None


def summarize(before: Measurement, after: Measurement) -> Summary:
    """Compare two measurements."""
    best = max(e.accuracy for e in before.greedy)
    base, trained = (cheapest(m.greedy, best - MARGIN) for m in (before, after))
    sampled, greedy = after.at_training_budget, after.greedy_at_training_budget
    assert base is not None
    return Summary(
        sampled_gain=gain(sampled, before.sampled),
        sampled_gain_over_best=sampled.accuracy - max(e.accuracy for e in before.sampled),
        greedy_gain=gain(greedy, before.greedy),
        greedy_target=best - MARGIN,
        greedy_passes_before=base.nfe,
        greedy_passes_after=trained.nfe if trained else None,
    )


def print_table(before: Measurement, after: Measurement, summary: Summary) -> None:
    console = Console(width=100)
    table = Table(title=f"{before.full_budget.prompts} held-out prompts")
    for column in ("decoding", "model", "accuracy", "95 % interval", "passes", "tokens/pass", "seconds"):
        table.add_column(column, justify="left" if column in ("decoding", "model") else "right", no_wrap=True)
    rows = (
        ("sampled, as in training", "at_training_budget"),
        ("greedy, same rule and bound", "greedy_at_training_budget"),
        ("greedy, one token per pass", "full_budget"),
    )
    for label, name in rows:
        for when, measurement in (("before", before), ("after", after)):
            e = getattr(measurement, name)
            table.add_row(
                label if when == "before" else "",
                when,
                f"{100 * e.accuracy:.1f} %",
                f"{100 * e.interval[0]:.1f} … {100 * e.interval[1]:.1f}",
                f"{e.nfe:.2f}",
                f"{e.tokens_per_step:.2f}",
                f"{e.seconds:.1f}",
                end_section=when == "after",
            )
    console.print(table)
    sampled, unreached = after.at_training_budget, "not reached: no untrained decoder is that fast"
    console.print(
        f"Sampling, against the best untrained decoder at temperature 1 of at most {sampled.nfe:.1f} passes: "
        f"[bold]{unreached if summary.sampled_gain is None else f'{100 * summary.sampled_gain:+.0f} points'}[/bold] "
        f"({100 * summary.sampled_gain_over_best:+.0f} against the best of any cost)."
    )
    console.print(
        f"Greedy decoding, against the best untrained greedy decoder of as many passes: "
        f"[bold]{unreached if summary.greedy_gain is None else f'{100 * summary.greedy_gain:+.1f} points'}[/bold]."
    )
    passes = summary.greedy_passes_after
    if passes is None:
        console.print(f"Greedy decoding no longer reaches {100 * summary.greedy_target:.1f} %.")
        return
    console.print(
        f"Greedy decoding, {100 * summary.greedy_target:.1f} % or better (the base's best less two points): "
        f"[bold]{passes:.2f} passes instead of {summary.greedy_passes_before:.2f}[/bold] "
        f"({100 * passes / summary.greedy_passes_before:.0f} %)."
    )


def write_results(
    args: argparse.Namespace, summary: Summary, before: Measurement, after: Measurement, log_history: list[dict]
) -> None:
    """Everything that was measured, as JSON."""
    results = {
        "arguments": vars(args),
        "summary": dataclasses.asdict(summary),
        "before": dataclasses.asdict(before),
        "after": dataclasses.asdict(after),
        "log_history": log_history,
    }
    (Path(args.output_dir) / "results.json").write_text(json.dumps(results, indent=1))


def draw(args: argparse.Namespace, before: Measurement, after: Measurement, log_history: list[dict]) -> None:
    """The picture, if matplotlib is there."""
    try:
        from ..evaluation.plots import plot_run
    except ImportError:
        print("No picture: matplotlib is not installed (pip install 'trl-diffusion[plots]').")
        return
    picture = Path(args.output_dir) / "quickstart.png"
    curves = [{"sampled": m.sampled, "greedy": m.greedy} for m in (before, after)]
    title = f"DiFFPO on {args.task}, seed {args.seed}"
    plot_run(log_history, curves[0], curves[1], picture, title=title, problems=f"{args.task}, test split")
    print(f"Picture: {picture}")


def main(argv: list[str] | None = None) -> Summary:
    started = time.perf_counter()
    args = parse_arguments(argv)
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(args.seed)
    if not args.model and "OMP_NUM_THREADS" not in os.environ:
        # The embedded models are so small that threads wait for each other longer than they work, most of all on a
        # busy machine.
        torch.set_num_threads(1)

    task = get_task(args.task)
    path, style = (args.model, "instruct") if args.model else (embedded.path(args.task), "compact")
    # Under LoRA the frozen weights may be bfloat16; trained ones must not, since small updates would round away.
    dtype = torch.bfloat16 if args.use_peft and torch.cuda.is_available() else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, device_map=device)
    decoder: dict[str, Any] = {"entropy_bound": args.entropy_bound, "temperature": 1.0}
    if args.model:
        rollout = DiffusionGenerationConfig(**HUB_CANVAS | decoder)
    else:  # it carries the length of its canvas
        rollout = DiffusionGenerationConfig.from_model(model, **decoder)
    held_out = task.load("test", args.eval_prompts, style=style)
    train_set = task.load("train", max(500, args.steps * args.batch_size // args.num_generations), style=style)

    grid: dict[str, Any] = HUB_FRONTIER if args.model else {}
    before = measure(model, tokenizer, held_out, task.reward, rollout, "before", **grid)
    began = time.perf_counter()
    trainer = train(args, model, tokenizer, train_set, task.reward, rollout)
    training_seconds = time.perf_counter() - began
    after = measure(trainer.model, tokenizer, held_out, task.reward, rollout, "after", **grid)

    trainer.save_model(str(Path(args.output_dir) / "model"))
    summary = summarize(before, after)
    write_results(args, summary, before, after, trainer.state.log_history)
    print_table(before, after, summary)
    draw(args, before, after, trainer.state.log_history)
    print(
        f"Trained in {training_seconds:.0f} s, {time.perf_counter() - started:.0f} s in all. All in {args.output_dir}/"
    )
    return summary


if __name__ == "__main__":
    main()
