# SPDX-License-Identifier: Apache-2.0
"""The table of completions that `log_completions=True` prints, before and after training, as a picture.

    python -m benchmarks.completions_picture     # a minute; writes docs/images/completions.svg

The same puzzles, sampled as in training: by the embedded Sudoku model, and by what sixty updates of DiFFPO make of it.
"""

import argparse
import re
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiFFPOConfig, DiFFPOTrainer, DiffusionSampler, embedded
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.tasks import sudoku
from trl_diffusion.visualization import print_completions


def train(model, updates: int, folder: str) -> DiFFPOTrainer:
    trainer = DiFFPOTrainer(
        model=model,
        reward_funcs=sudoku_reward,
        args=DiFFPOConfig(
            output_dir=folder,
            max_completion_length=20,
            block_length=20,
            entropy_bound=0.1,
            learning_rate=2e-4,
            max_steps=updates,
            per_device_train_batch_size=256,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=sudoku.make_dataset("train", 4000),
        processing_class=AutoTokenizer.from_pretrained(embedded.path("sudoku")),
    )
    trainer.train()
    return trainer


def show(trainer: DiFFPOTrainer, model, step: int, console: Console, group: int = 3) -> None:
    """Two puzzles, and a group of completions of each."""
    puzzles = sudoku.make_dataset("test", 2)
    prompts, solved = ([row for row in puzzles[name] for _ in range(group)] for name in ("prompt", "puzzle"))
    ids = trainer.processing_class(prompts, return_tensors="pt").input_ids
    sampler = DiffusionSampler(model, trainer.decoder("train"), trainer.spec)
    record = sampler.sample(ids, seeds=torch.arange(len(ids)))
    texts = trainer.processing_class.batch_decode(record.texts(trainer.eos_token_ids), skip_special_tokens=True)
    rewards = sudoku_reward(texts, solved)
    grouped = torch.tensor(rewards).view(-1, group)
    advantages = (grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)
    print_completions(
        trainer.processing_class,
        prompts,
        [*zip(record.completion_ids.tolist(), record.unmask_step.tolist())],
        {"sudoku_reward": rewards},
        advantages.flatten().tolist(),
        step,
        extra={"nfe": record.nfe.tolist()},
        end_tokens=trainer.eos_token_ids,
        console=console,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/images/completions.svg"))
    parser.add_argument("--updates", type=int, default=60)
    args = parser.parse_args()
    before = AutoModelForCausalLM.from_pretrained(embedded.path("sudoku")).eval()
    with tempfile.TemporaryDirectory() as folder:
        trainer = train(AutoModelForCausalLM.from_pretrained(embedded.path("sudoku")), args.updates, folder)
    console = Console(record=True, width=100, color_system="truecolor", force_terminal=True)
    show(trainer, before, 0, console)
    console.print(Text())
    show(trainer, trainer.accelerator.unwrap_model(trainer.model).eval(), args.updates, console)
    picture = console.export_svg(title="log_completions=True", theme=SVG_EXPORT_THEME)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # nothing is fetched
    args.output.write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    print(args.output)


if __name__ == "__main__":
    main()
