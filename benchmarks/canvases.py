# SPDX-License-Identifier: Apache-2.0
"""How a canvas fills under each unmasking rule, and what each estimator shows of it: two pictures for the docs.

    python benchmarks/canvases.py        # seconds; writes docs/images/unmasking.png and docs/images/views.png

Real rollouts and views of the embedded Sudoku model, untrained, on one held-out puzzle.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler, Trajectory, embedded
from trl_diffusion.likelihood import (
    CoupledMasking,
    ExactSteps,
    MeanField,
    MergedSteps,
    QuadratureMasking,
    RandomMasking,
    RolloutBatch,
    TwoTimesMeanField,
)
from trl_diffusion.models import end_tokens, resolve_spec
from trl_diffusion.tasks import sudoku
from trl_diffusion.visualization import colour_of


LENGTH = sudoku.COMPLETION_LENGTH
WRITTEN, MASKED, LINES = "#ffffff", "#d8dbe0", "#9aa1ab"

RULES = {
    "entropy_bound, 0.1 nats": {"unmasking": "entropy_bound"},
    "confidence_threshold, 0.9": {"unmasking": "confidence_threshold"},
    "low_confidence, 10 steps": {"unmasking": "low_confidence", "max_denoising_steps": 10},
    "random, 10 steps": {"unmasking": "random", "max_denoising_steps": 10},
    "left_to_right, 10 steps": {"unmasking": "left_to_right", "max_denoising_steps": 10},
    "entropy_bound, two blocks": {"unmasking": "entropy_bound", "block_length": LENGTH // 2},
}
ESTIMATORS = {
    "MeanField: diffu-GRPO, wd1": MeanField(p_mask_prompt=0.0),
    "TwoTimesMeanField: DiFFPO": TwoTimesMeanField(),
    "MergedSteps(num_segments=3): d2, TraceRL": MergedSteps(num_segments=3),
    "ExactSteps, of which AGRPO draws a few": ExactSteps(),
    "RandomMasking(2): DMPO, ESPO": RandomMasking(2),
    "CoupledMasking: coupled-GRPO": CoupledMasking(),
    "QuadratureMasking(3): GDPO": QuadratureMasking(3),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--puzzle", type=int, default=3, help="Which of the held-out puzzles.")
    parser.add_argument("--seed", type=int, default=7, help="Of what estimators draw.")
    parser.add_argument("--output_dir", type=Path, default=Path("docs/images"))
    args = parser.parse_args()

    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    prompt = sudoku.make_dataset("test", args.puzzle + 1, seed=1)["prompt"][args.puzzle]
    inputs = tokenizer([prompt], return_tensors="pt")
    ends, mask_token_id = end_tokens(model, tokenizer), resolve_spec(model).mask_token_id

    def rollout(**options) -> Trajectory:
        options = {"block_length": LENGTH, "temperature": 0.0} | options
        config = DiffusionGenerationConfig(max_new_tokens=LENGTH, eos_token_ids=ends, **options)
        return DiffusionSampler(model, config).sample(**inputs, seeds=torch.tensor([0]))

    def letters(ids: torch.Tensor) -> list[str]:
        return ["□" if i in ends else tokenizer.decode([i]) for i in ids.tolist()]

    args.output_dir.mkdir(parents=True, exist_ok=True)
    draw_rules(rollout, letters).savefig(args.output_dir / "unmasking.png", dpi=160)
    trajectory = rollout()
    scored = trajectory.text_mask(ends) & (trajectory.unmask_step >= 0)
    batch = RolloutBatch(inputs.input_ids, inputs.attention_mask, scored, trajectory, torch.tensor([[args.seed]]))
    draw_views(batch, letters, mask_token_id).savefig(args.output_dir / "views.png", dpi=160)


def draw_rules(rollout, letters) -> Figure:
    """A row per step: what is written then in the step's colour, what was written before in white."""
    figure = Figure(figsize=(8.8, 4.8), layout="constrained")
    for axes, (name, options) in zip(figure.subplots(2, 3).flat, RULES.items(), strict=True):
        trajectory = rollout(**options)
        steps, when = int(trajectory.nfe), trajectory.unmask_step[0].tolist()
        tokens = letters(trajectory.completion_ids[0])
        for step in range(steps):
            for i, written in enumerate(when):
                shown = 0 <= written <= step
                colour = colour_of(step / max(steps - 1, 1)) if written == step else WRITTEN if shown else MASKED
                draw_cell(axes, i, step, colour, tokens[i] if shown else "")
        blocks = LENGTH // options.get("block_length", LENGTH)
        for block in range(1, blocks):
            axes.plot([block * LENGTH / blocks] * 2, [0, steps], color="black", linewidth=1.5)
        frame(axes, f"{name}: {steps} passes", "steps", rows=10)
    return figure


def draw_views(batch: RolloutBatch, letters, mask_token_id: int) -> Figure:
    """A row per view: what is scored on it in the colour of the step that wrote it, what the model sees in white."""
    when = batch.trajectory.unmask_step[0]
    tokens = letters(batch.trajectory.completion_ids[0])
    figure = Figure(figsize=(8.8, 3.1), layout="constrained")
    panels = figure.subplot_mosaic([[3, 0, 1], [3, 2, 4], [3, 5, 6]])
    for panel, (name, estimator) in enumerate(ESTIMATORS.items()):
        axes = panels[panel]
        views = [view for part in estimator.passes(batch, 0, mask_token_id) for view in part.views]
        for row, view in enumerate(views):
            for i, (token, weight) in enumerate(zip(view.completion_ids[0].tolist(), view.weights[0].tolist())):
                share = int(when[i]) / max(int(batch.trajectory.nfe) - 1, 1)
                colour = colour_of(share) if weight else MASKED if token == mask_token_id else WRITTEN
                draw_cell(axes, i, row, colour, tokens[i] if weight or token != mask_token_id else "")
        frame(axes, name, "views", rows=int(batch.trajectory.nfe) if estimator.exact else 3)
    return figure


def draw_cell(axes: Axes, column: int, row: int, colour: str, text: str) -> None:
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=LINES, linewidth=0.4, clip_on=False))
    axes.text(column + 0.5, row + 0.54, text, ha="center", va="center", fontsize=6.5, color="black")


def frame(axes: Axes, title: str, label: str, rows: int) -> None:
    axes.set(xlim=(0, LENGTH), ylim=(rows, 0), xticks=[], yticks=[])
    axes.set_ylabel(f"← {label}", fontsize=8)
    axes.set_title(title, fontsize=8.5, loc="left")
    axes.spines[:].set_visible(False)


if __name__ == "__main__":
    main()
