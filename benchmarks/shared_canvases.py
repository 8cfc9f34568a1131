# SPDX-License-Identifier: Apache-2.0
"""What scoring each distinct canvas once saves in an update: measured in turn, in one run.

    python benchmarks/shared_canvases.py

The completions of a group share their only canvas under the mean field, and their first one under two-times
mean-field. The same number of completions of as many different prompts shares nothing. Both are scored, forward and
backward, with all else alike; the ratio is taken pair by pair.
"""

import argparse
import statistics
import time

import torch

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.likelihood import MeanField, RolloutBatch, TwoTimesMeanField, score_views
from trl_diffusion.models import LLaDAConfig, LLaDAModelLM, resolve_spec


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--num_generations", type=int, default=8)
    parser.add_argument("--length", type=int, default=64, help="Prompt and completion tokens, each.")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()

    torch.manual_seed(0)
    config = LLaDAConfig(vocab_size=256, d_model=128, n_heads=4, n_layers=4, mask_token_id=1, init_std=0.1)
    model = LLaDAModelLM(config)
    spec = resolve_spec(model)
    decoder = DiffusionGenerationConfig(max_new_tokens=args.length, block_length=args.length, entropy_bound=40.0)
    rows = args.groups * args.num_generations
    grouped = torch.randint(2, 256, (args.groups, args.length)).repeat_interleave(args.num_generations, 0)
    batches = {}
    for name, prompts in (("grouped", grouped), ("ungrouped", torch.randint(2, 256, (rows, args.length)))):
        mask = torch.ones_like(prompts)
        batches[name] = prompts, mask, DiffusionSampler(model, decoder).sample(prompts, mask)

    def update(estimator, name):
        prompts, mask, trajectory = batches[name]
        group = torch.arange(rows) // args.num_generations
        seeds = group if estimator.seed_per_group else torch.arange(rows)
        batch = RolloutBatch(prompts, mask, trajectory.unmask_step >= 0, trajectory, seeds[:, None])
        (part,) = estimator.passes(batch, 0, spec.mask_token_id)
        started = time.perf_counter()
        scores = score_views(model, spec, part.views, batch)
        scores.token_log_probs.sum().backward()
        return time.perf_counter() - started, scores.canvases

    print(f"{rows} completions in {args.groups} groups, {args.length} + {args.length} tokens, {args.repeats} pairs")
    for estimator in (MeanField(), TwoTimesMeanField()):
        update(estimator, "grouped"), update(estimator, "ungrouped")  # warm up
        pairs = [(update(estimator, "ungrouped"), update(estimator, "grouped")) for _ in range(args.repeats)]
        without, with_sharing = (statistics.median(p[i][0] for p in pairs) for i in (0, 1))
        ratios = sorted(p[0][0] / p[1][0] for p in pairs)
        print(
            f"{type(estimator).__name__}: {pairs[0][0][1]} canvases {1000 * without:.0f} ms, shared "
            f"{pairs[0][1][1]} canvases {1000 * with_sharing:.0f} ms: {statistics.median(ratios):.2f} times faster "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
