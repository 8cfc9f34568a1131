# SPDX-License-Identifier: Apache-2.0
"""How wrong each surrogate likelihood is, step by step: DiFFPO's figure 2, on the embedded Sudoku model.

    python benchmarks/likelihood_gap.py        # two minutes; writes docs/images/likelihood_gap.png

The KL divergence from the distribution that each token was drawn from to the one that an estimator scores it with, by
the denoising step that wrote it. Rollouts with the entropy bound 0.1 at temperature 1, of held-out puzzles.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler, embedded
from trl_diffusion.evaluation import likelihood_gap
from trl_diffusion.evaluation.generate import tokenize_prompts
from trl_diffusion.likelihood import MeanField, MergedSteps, RolloutBatch, TwoTimesMeanField
from trl_diffusion.models import end_tokens, resolve_spec
from trl_diffusion.tasks import sudoku


ESTIMATORS = {
    "mean field (d1, no prompt mask)": MeanField(p_mask_prompt=0.0),
    "two-times mean-field (DiFFPO)": TwoTimesMeanField(),
    "four merged segments (d2)": MergedSteps(num_segments=4),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--draws", type=int, default=20, help="Draws that random estimators are averaged over.")
    parser.add_argument("--output", type=Path, default=Path("docs/images/likelihood_gap.png"))
    args = parser.parse_args()

    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    inputs = tokenize_prompts(tokenizer, list(sudoku.make_dataset("test", args.prompts, seed=1)["prompt"]))
    ends = end_tokens(model, tokenizer)
    length = sudoku.COMPLETION_LENGTH
    decoder = DiffusionGenerationConfig(max_new_tokens=length, block_length=length, eos_token_ids=ends)
    trajectory = DiffusionSampler(model, decoder).sample(
        inputs.input_ids, inputs.attention_mask, seeds=torch.arange(args.prompts)
    )
    scored = trajectory.text_mask(ends) & (trajectory.unmask_step >= 0)
    seeds = torch.arange(args.prompts * args.draws).view(args.prompts, args.draws)
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, estimator in ESTIMATORS.items():
        random = isinstance(estimator, TwoTimesMeanField)
        batch = RolloutBatch(
            inputs.input_ids, inputs.attention_mask, scored, trajectory, seeds if random else seeds[:, :1]
        )
        gap = likelihood_gap(model, resolve_spec(model), batch, estimator)
        print(f"{name}: {', '.join(f'{mean:.3f}' for mean in gap.mean)}")
        steps = range(1, len(gap.mean) + 1)
        low, high = ([m + s * e for m, e in zip(gap.mean, gap.standard_error)] for s in (-1.96, 1.96))
        (line,) = axes.plot(steps, gap.mean, marker="o", markersize=3, label=name)
        axes.fill_between(steps, low, high, alpha=0.15, color=line.get_color())
    axes.set(xlabel="denoising step", ylabel="KL divergence per token, nats", ylim=(0, None))
    axes.legend(frameon=False)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=120)


if __name__ == "__main__":
    main()
