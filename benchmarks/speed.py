# SPDX-License-Identifier: Apache-2.0
"""Rollouts and updates against plain implementations of the published algorithms, in turn and in one run.

    python benchmarks/speed.py
    python benchmarks/speed.py rollout-head update-memory --pairs 1

Before anything is timed, both must have written the same tokens, or have the same gradient to 1e-5. A ratio is the
median over pairs. Memory is the process's high-water mark above what it held before, each in a process of its own.
Models have random weights; `head` has the vocabulary of LLaDA and a small trunk, `trunk` the reverse.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler, Trajectory
from trl_diffusion.likelihood import MeanField, RolloutBatch, score_views
from trl_diffusion.models import LLaDAConfig, LLaDAModelLM, resolve_spec


sys.path.insert(0, str(Path(__file__).parent))
import plain


MASK = 1
SIZES = {
    "head": {"vocab_size": 126464, "d_model": 256, "n_heads": 4, "n_layers": 4, "mlp_hidden_size": 768},
    "trunk": {"vocab_size": 512, "d_model": 512, "n_heads": 8, "n_layers": 8, "mlp_hidden_size": 1536},
}


def make_model(size):
    torch.manual_seed(0)
    config = LLaDAConfig(**SIZES[size], mask_token_id=MASK, init_std=0.05)
    return LLaDAModelLM(config).eval()


def prompts(rows, length, group=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, 500, (rows // group, length), generator=generator).repeat_interleave(group, 0)


def timed(function):
    gc.collect()
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def compare(name, slow, fast, equal, pairs):
    """The ratio of two functions' times, over pairs in turn; the first pair shows that they do the same."""
    assert equal(slow(), fast()), f"{name}: not the same result"
    times = [(timed(slow)[0], timed(fast)[0]) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in times)
    result = {
        "plain_s": statistics.median(a for a, _ in times),
        "ours_s": statistics.median(b for _, b in times),
        "ratio": statistics.median(ratios),
        "ratios": [ratios[0], ratios[-1]],
    }
    print(
        f"{name}: {result['plain_s']:.2f} s and {result['ours_s']:.2f} s: {result['ratio']:.1f} times faster "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f})",
        flush=True,
    )
    return result


def rollout(size, pairs):
    """8 rows, 64 + 64 tokens, blocks of 32, 32 steps, greedy."""
    model, ids = make_model(size), prompts(8, 64)
    decoder = DiffusionGenerationConfig(
        max_new_tokens=64, block_length=32, unmasking="low_confidence", max_denoising_steps=32, temperature=0.0
    )
    sampler = DiffusionSampler(model, decoder)
    return compare(
        f"rollout-{size}",
        lambda: plain.generate(model, ids, MASK, 64, 32, 32),
        lambda: sampler.sample(ids).completion_ids,
        torch.equal,
        pairs,
    )


def completions_of(ids, length):
    """A rollout that was never made: only its tokens matter to the mean field."""
    tokens = torch.randint(2, 500, (len(ids), length), generator=torch.Generator().manual_seed(2))
    zeros = torch.zeros(len(ids), length)
    rows = torch.zeros(len(ids))
    return Trajectory(tokens, zeros.long(), zeros, zeros, rows.long(), rows[:, None], rows, rows)


def updates(size, rows, length, group):
    """Functions that make the gradient of the mean log-probability, plainly and with us, or one without any logits."""
    model, ids = make_model(size).train(), prompts(rows, length, group)
    trajectory = completions_of(ids, length)
    scored = torch.ones_like(trajectory.completion_ids, dtype=torch.bool)
    batch = RolloutBatch(ids, torch.ones_like(ids), scored, trajectory, torch.zeros(rows, 1, dtype=torch.long))
    spec = resolve_spec(model)
    for parameter in (model.lm_head.weight, model.model.embed_tokens.weight):
        parameter.requires_grad_(False)  # as with adapters

    def gradient(log_probs):
        model.zero_grad()
        log_probs.mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    def ours():
        (part,) = MeanField(p_mask_prompt=0.0).passes(batch, 0, MASK)
        return gradient(score_views(model, spec, part.views, batch, entropies="none").token_log_probs)

    def without_logits():
        hidden_states = model.model(torch.nn.functional.pad(ids, (0, length), value=MASK)).last_hidden_state
        return gradient(hidden_states)

    return {
        "plain": lambda: gradient(plain.mean_field_log_probs(model, ids, trajectory.completion_ids, MASK)),
        "ours": ours,
        "without logits": without_logits,
    }


def update(size, pairs):
    """A group of 8, 64 + 64 tokens, forward and backward: diffu-GRPO's current policy."""

    def equal(a, b):
        return bool((a - b).norm() <= 1e-5 * a.norm())

    functions = updates(size, 8, 64, 8)
    return compare(f"update-{size}", functions["plain"], functions["ours"], equal, pairs)


def memory(length):
    """Bytes above those of an update without logits, of 8 different prompts."""
    peaks = {}
    for which in ("plain", "ours", "without logits"):
        command = [sys.executable, __file__, "--peak-of", which, "--length", str(length)]
        peaks[which] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    trunk = peaks.pop("without logits")
    slow, fast = peaks["plain"] - trunk, peaks["ours"] - trunk
    print(
        f"update-memory: 8 x ({length} + {length}) tokens, {slow / 2**30:.2f} GiB and {fast / 2**30:.2f} GiB of "
        f"logits: {fast / slow:.1%} (and {trunk / 2**30:.2f} GiB of the rest)",
        flush=True,
    )
    return {"plain_bytes": slow, "ours_bytes": fast, "rest_bytes": trunk, "share": fast / slow, "length": length}


def peak_of(which, length):
    function = updates("head", 8, length, 1)[which]
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = held("VmRSS")
    function()
    print(held("VmHWM") - before)


def held(field):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024


PARTS = {
    "rollout-head": lambda args: rollout("head", args.pairs),
    "rollout-trunk": lambda args: rollout("trunk", args.pairs),
    "update-head": lambda args: update("head", args.pairs),
    "update-trunk": lambda args: update("trunk", args.pairs),
    "update-memory": lambda args: memory(args.length),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"Of {', '.join(PARTS)}. All by default.")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--length", type=int, default=512, help="Of prompts and completions in `update-memory`.")
    parser.add_argument("--output", type=Path, help="A JSON file.")
    parser.add_argument("--peak-of", choices=["plain", "ours", "without logits"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    if args.peak_of:
        return peak_of(args.peak_of, args.length)
    results = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    results |= {name: PARTS[name](args) for name in args.parts or PARTS}
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
