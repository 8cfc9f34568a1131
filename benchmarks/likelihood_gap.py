# SPDX-License-Identifier: Apache-2.0
"""How wrong each surrogate likelihood is, step by step: DiFFPO's figure 2.

    python benchmarks/likelihood_gap.py        # two minutes; writes docs/images/likelihood_gap.png
    python benchmarks/likelihood_gap.py --model GSAI-ML/LLaDA-8B-Instruct --generations llada.jsonl --output gap.png

The KL divergence from the distribution that each token was drawn from to the one that an estimator scores it with, by
the denoising step that wrote it. By default of the embedded Sudoku model: rollouts with the entropy bound 0.1 at
temperature 1, of held-out puzzles. Of another model, of the samples that `trl-diffusion eval` has kept.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.evaluation import generate, likelihood_gap, load_generations, rollout_batch
from trl_diffusion.evaluation.plots import plot_likelihood_gap
from trl_diffusion.likelihood import MeanField, MergedSteps, TwoTimesMeanField
from trl_diffusion.models import resolve_spec
from trl_diffusion.tasks import sudoku


ESTIMATORS = {
    "mean field (d1, no prompt mask)": MeanField(p_mask_prompt=0.0),
    "two-times mean-field (DiFFPO)": TwoTimesMeanField(),
    "four merged segments (d2)": MergedSteps(num_segments=4),
}


def parse_arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="Hub id or folder. Needs --generations.")
    parser.add_argument("--generations", type=Path, help="Samples of that model, at a temperature above 0.")
    parser.add_argument("--prompts", type=int, default=300, help="Puzzles for the embedded model.")
    parser.add_argument("--draws", type=int, default=20, help="Draws that random estimators are averaged over.")
    parser.add_argument("--batch_size", type=int, default=64, help="Rollouts that are scored at a time.")
    parser.add_argument("--output", type=Path, default=Path("docs/images/likelihood_gap.png"))
    args = parser.parse_args(argv)
    if (args.model is None) != (args.generations is None):
        parser.error("--model and --generations go together: the samples must be that model's.")
    return args


def main(argv=None):
    args = parse_arguments(argv)
    path = args.model or embedded.path("sudoku")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto", device_map=device).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    if args.generations:
        generations = load_generations(args.generations)
    else:
        length = sudoku.COMPLETION_LENGTH
        decoder = DiffusionGenerationConfig(max_new_tokens=length, block_length=length)
        generations = generate(model, tokenizer, sudoku.make_dataset("test", args.prompts, seed=1), decoder)
    gaps = {}
    for name, estimator in ESTIMATORS.items():
        draws = args.draws if isinstance(estimator, TwoTimesMeanField) else 1
        gaps[name] = likelihood_gap(
            model,
            resolve_spec(model, tokenizer),
            rollout_batch(generations, draws=draws, device=device),
            estimator,
            generations.config.temperature,
            batch_size=args.batch_size,
        )
        print(f"{name}: {', '.join(f'{mean:.3f}' for mean in gaps[name].mean)}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    plot_likelihood_gap(gaps, args.output)


if __name__ == "__main__":
    main()
