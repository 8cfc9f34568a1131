# SPDX-License-Identifier: Apache-2.0
"""Train the embedded base models from scratch on generated demonstrations.

    python -m trl_diffusion.embedded.build sudoku --output trl_diffusion/embedded/sudoku
    python -m trl_diffusion.embedded.build countdown --output trl_diffusion/embedded/countdown

The objective is masked diffusion's: draw a masking rate t, mask each completion token with probability t, and weigh
the cross-entropy of the masked tokens by 1/t (LLaDA, eq. 3; https://huggingface.co/papers/2502.09992). Prompts are
never masked. Sudoku takes two phases. First clean demonstrations of puzzles of any kind, until the model solves them.
Then a short phase on careless demonstrations of proper puzzles: a blank cell holds a random digit instead, rarely in
the first row and more and more often towards the last. The result is what a base model is to reinforcement learning:
it knows how, but samples it unreliably, and hesitates. Since its confidence in a cell that it has solved depends on
the row, no single threshold of an unmasking rule separates solved cells from open ones.

It takes a quarter of an hour (sudoku) or half an hour (countdown) on one CPU core. One thread, so that it repeats
exactly. The checkpoints are what the package ships.

A model of 27 million parameters, for a GPU, here on Countdown with four numbers up to 99 and division:

    python -m trl_diffusion.embedded.build countdown4 --size large --device cuda --num_workers 8 \\
        --steps 20000 --batch_size 512 --learning_rate 5e-4 --output countdown4-large

That one we have run for a few steps on a CPU only: its steps, batch size and learning rate are guesses to start from.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..generation import DiffusionGenerationConfig
from ..models.llada import LLaDAConfig, LLaDAModelLM
from ..tasks import countdown, sudoku
from .tokenizer import make_tokenizer


Example = tuple[str, str]  # prompt, completion

SIZES: dict[str, dict[str, Any]] = {
    "sudoku": {"d_model": 64, "n_layers": 4, "n_heads": 4, "mlp_hidden_size": 192},
    "countdown": {"d_model": 96, "n_layers": 6, "n_heads": 4, "mlp_hidden_size": 256},
    "countdown4": {"d_model": 96, "n_layers": 6, "n_heads": 4, "mlp_hidden_size": 256},
}
LARGE: dict[str, Any] = {"d_model": 512, "n_layers": 8, "n_heads": 8, "mlp_hidden_size": 1536}


def sudoku_example(rng: random.Random) -> Example:
    """A training puzzle with one or more solutions, and one of them."""
    puzzle, grid = sudoku.sample_puzzle(rng, "train", clues=(1, 10), unique=False)
    return sudoku.format_prompt(puzzle, "compact"), grid


def careless_sudoku_example(rng: random.Random, typos: tuple[float, float]) -> Example:
    """A proper training puzzle and its grid, blanks mistyped with a probability that rises from row to row."""
    puzzle, grid = sudoku.sample_puzzle(rng, "train")
    first, last = typos
    cells = list(grid)
    for i, clue in enumerate(puzzle):
        rate = first + (last - first) * (i // sudoku.SIDE) / (sudoku.SIDE - 1)
        if clue == sudoku.BLANK and rng.random() < rate:
            cells[i] = rng.choice("1234")
    return sudoku.format_prompt(puzzle, "compact"), "".join(cells)


def countdown_example(rng: random.Random, **problem: Any) -> Example:
    """A training problem and one expression that solves it."""
    numbers, target, expression = countdown.sample_problem(rng, "train", **problem)
    return countdown.format_prompt(numbers, target, "compact"), expression


class Batches(IterableDataset):
    """Batches of demonstrations without end: the same for a seed and a number of workers."""

    def __init__(self, draw: Callable[[random.Random], Example], batch_size: int, seed: int) -> None:
        self.draw, self.batch_size, self.seed = draw, batch_size, seed

    def __iter__(self) -> Iterator[list[Example]]:
        worker = get_worker_info()
        rng = random.Random(self.seed if worker is None else f"{self.seed} {worker.id}")
        while True:
            yield [self.draw(rng) for _ in range(self.batch_size)]


def train(
    model: LLaDAModelLM,
    tokenizer,
    draw: Callable[[random.Random], Example],
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    completion_length: int,
    seed: int,
    num_workers: int = 0,
) -> None:
    """Masked-diffusion supervised training, in place, with a linear warm-up and a cosine decay."""
    batches = iter(DataLoader(Batches(draw, batch_size, seed), batch_size=None, num_workers=num_workers))
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that masks are the same on any device
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=max(1, steps // 50)),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.05 * learning_rate),
        ],
        milestones=[max(1, steps // 50)],
    )
    model.train()
    started = time.perf_counter()
    for step in range(1, steps + 1):
        prompts, completions = zip(*next(batches), strict=True)
        prompt = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
        target = tokenizer(
            list(completions),
            padding="max_length",
            max_length=completion_length,
            padding_side="right",
            return_tensors="pt",
        ).input_ids
        rate = torch.rand(batch_size, 1, generator=generator).clamp(min=1e-2)
        masked = torch.rand(target.shape, generator=generator) < rate
        canvas = torch.cat([prompt.input_ids, target.masked_fill(masked, model.config.mask_token_id)], dim=1)
        attention_mask = torch.cat([prompt.attention_mask, torch.ones_like(target)], dim=1)
        scored = torch.cat([torch.zeros_like(prompt.input_ids, dtype=torch.bool), masked], dim=1)
        canvas, attention_mask, scored = (x.to(model.device) for x in (canvas, attention_mask, scored))
        logits = model(input_ids=canvas, attention_mask=attention_mask, logits_to_keep=scored).logits
        losses = torch.nn.functional.cross_entropy(logits, target[masked].to(model.device), reduction="none")
        loss = (losses / rate.expand_as(target)[masked].to(model.device)).sum() / target.numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}/{steps}  loss {loss.item():.4f}  {time.perf_counter() - started:.0f} s", flush=True)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(SIZES))
    parser.add_argument("--output", required=True, help="Folder to write the checkpoint and its tokenizer to.")
    parser.add_argument(
        "--size", choices=("embedded", "large"), default="embedded", help="As what ships, or 27 million parameters."
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num_workers", type=int, default=0, help="Processes that make demonstrations.")
    parser.add_argument("--steps", type=int, default=3000, help="Steps on clean demonstrations.")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument(
        "--typos",
        type=float,
        nargs=2,
        default=(0.05, 0.5),
        help="Probability that a blank is retyped at random, in the first and in the last row (sudoku only).",
    )
    parser.add_argument("--typo_steps", type=int, default=300, help="Steps on careless demonstrations (sudoku only).")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def make_model(task: str, size: str, tokenizer, device: str) -> LLaDAModelLM:
    """The untrained model."""
    config = LLaDAConfig(
        vocab_size=len(tokenizer),
        max_sequence_length=64,
        mask_token_id=tokenizer.mask_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **(LARGE if size == "large" else SIZES[task]),
    )
    # On CPU at this length, eager attention's backward is faster than SDPA's.
    model = LLaDAModelLM._from_config(config, attn_implementation="eager" if device == "cpu" else "sdpa")
    return model.to(device)


def main(argv: list[str] | None = None) -> None:
    args = make_parser().parse_args(argv)
    torch.set_num_threads(1)
    if args.device != "cpu":
        torch.set_float32_matmul_precision("high")
    torch.manual_seed(args.seed)
    tokenizer = make_tokenizer()
    model = make_model(args.task, args.size, tokenizer, args.device)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)

    common = {"batch_size": args.batch_size, "seed": args.seed, "num_workers": args.num_workers}
    if args.task == "sudoku":
        common["completion_length"] = sudoku.COMPLETION_LENGTH
        train(model, tokenizer, sudoku_example, steps=args.steps, learning_rate=args.learning_rate, **common)
        train(
            model,
            tokenizer,
            partial(careless_sudoku_example, typos=args.typos),
            steps=args.typo_steps,
            learning_rate=args.learning_rate / 2,
            **common | {"seed": args.seed + 1},
        )
    else:
        common["completion_length"] = countdown.COMPLETION_LENGTH
        draw = partial(countdown_example, **(countdown.FOUR_NUMBERS if args.task == "countdown4" else {}))
        train(model, tokenizer, draw, steps=args.steps, learning_rate=args.learning_rate, **common)
    length = common["completion_length"]
    decoder = DiffusionGenerationConfig(
        max_new_tokens=length, block_length=length, eos_token_ids=(tokenizer.eos_token_id,)
    )
    decoder.attach_to(model)
    model.save_pretrained(args.output)
    make_tokenizer().save_pretrained(args.output)  # a fresh one: the other remembers how it padded
    print(f"saved to {args.output}")


if __name__ == "__main__":
    main()
