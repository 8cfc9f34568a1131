# SPDX-License-Identifier: Apache-2.0
"""Rollouts and updates against plain implementations of the published algorithms, in turn and in one run.

    python benchmarks/speed.py --output speed.json --picture speed.png
    python benchmarks/speed.py rollout-head update-memory --pairs 1

Before anything is timed, both must have written the same tokens, or have the same gradient to 1e-5. A ratio is the
median over pairs. Memory is the process's high-water mark above what it held before, each in a process of its own.
Models have random weights: `head` has the vocabulary of LLaDA and a small trunk; in `trunk` the LM head has the share
of the arithmetic that it has in LLaDA-8B, 7 %; `8b` is LLaDA-8B, in bfloat16, and needs a GPU.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from transformers import AutoTokenizer, PrinterCallback

from trl_diffusion import (
    DiFFPOConfig,
    DiFFPOTrainer,
    DiffusionGenerationConfig,
    DiffusionSampler,
    Trajectory,
    embedded,
)
from trl_diffusion.likelihood import MeanField, RolloutBatch, TwoTimesMeanField, score_views
from trl_diffusion.models import LLaDAConfig, LLaDAModelLM, resolve_spec
from trl_diffusion.rewards import sudoku_reward
from trl_diffusion.tasks import sudoku


sys.path.insert(0, str(Path(__file__).parent))
import plain
from measure import compare, peak_memory, timed


MASK = 1
SIZES = {
    "head": {"vocab_size": 126464, "d_model": 256, "n_heads": 4, "n_layers": 4, "mlp_hidden_size": 768},
    "trunk": {"vocab_size": 2048, "d_model": 256, "n_heads": 4, "n_layers": 8, "mlp_hidden_size": 768},
    "8b": {"vocab_size": 126464, "d_model": 4096, "n_heads": 32, "n_layers": 32, "mlp_hidden_size": 12288},
}


def make_model(size, confident=False):
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if size == "8b" else ("cpu", torch.float32)
    config = LLaDAConfig(**SIZES[size], mask_token_id=MASK, init_std=0.1 if confident else 0.05)
    with torch.device(device):
        model = LLaDAModelLM(config).to(dtype).eval()
    if confident:  # sharper predictions: about as many tokens per step as LLaDA-8B writes
        model.lm_head.weight.data *= 4
    return model


def prompts(rows, length, group=1, device="cpu"):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, 500, (rows // group, length), generator=generator).repeat_interleave(group, 0).to(device)


def fixed_schedule(length, steps, **options):
    return DiffusionGenerationConfig(
        max_new_tokens=length, unmasking="low_confidence", max_denoising_steps=steps, temperature=0.0, **options
    )


def rollout(size, pairs):
    """8 rows, blocks of 32, two tokens per step, greedy: 64 + 64 tokens, and d1's 200 + 256 for 8B."""
    device, prompt_length, length = ("cuda", 200, 256) if size == "8b" else ("cpu", 64, 64)
    model, ids = make_model(size, confident=True), prompts(8, prompt_length, device=device)  # no near-ties
    sampler, last = DiffusionSampler(model, fixed_schedule(length, length // 2)), []

    def ours():
        last[:] = [sampler.sample(ids)]
        return last[0].completion_ids

    def equal(a, b):  # in bfloat16 neighbours in a batch change the rounding, and so now and then a token
        return bool((a == b).float().mean() > 0.5) if size == "8b" else torch.equal(a, b)

    result = compare(
        f"rollout-{size}",
        lambda: plain.generate(model, ids, MASK, length, 32, length // 2),
        ours,
        equal,
        pairs,
        device,
    )
    return result | work(last[0], result)


def work(trajectory, result):
    """What a rollout wrote, in how many passes, and how fast."""
    tokens = int((trajectory.unmask_step >= 0).sum())
    done = {
        "tokens": tokens,
        "plain_tokens_per_s": trajectory.completion_ids.numel() / result["plain_s"],
        "ours_tokens_per_s": tokens / result["ours_s"],
        "nfe": [int(trajectory.nfe.min()), int(trajectory.nfe.max())],
        "useful_row_forwards": int(trajectory.nfe.sum()),
        "row_forwards": trajectory.row_forwards.sum().item(),
    }
    print(
        f"  {done['plain_tokens_per_s']:.0f} and {done['ours_tokens_per_s']:.0f} tokens/s, {done['nfe'][0]} to "
        f"{done['nfe'][1]} passes, {done['row_forwards']:.0f} canvases of {done['useful_row_forwards']}",
        flush=True,
    )
    return done


def rollout_adaptive(pairs, length=128, rows=16):
    """A confidence threshold, 16 rows, texts of different lengths: in lock-step, and each row at its own pace."""
    model, ids = make_model("trunk", confident=True), prompts(rows, 64)
    ends = tuple(range(7, 2048, 50))
    decoder = DiffusionGenerationConfig(
        max_new_tokens=length, unmasking="confidence_threshold", confidence_threshold=0.7, temperature=0.0,
        eos_token_ids=ends,
    )  # fmt: skip
    trajectory = DiffusionSampler(model, decoder).sample(ids)
    text = trajectory.text_mask(ends)

    def equal(a, b):
        return torch.equal(a[text], b[text])

    passes = [0]
    hook = model.register_forward_hook(lambda *_: passes.__setitem__(0, passes[0] + 1))
    plain.generate_above(model, ids, MASK, length, 32, 0.7)
    hook.remove()
    result = compare(
        "rollout-adaptive",
        lambda: plain.generate_above(model, ids, MASK, length, 32, 0.7),
        lambda: DiffusionSampler(model, decoder).sample(ids).completion_ids,
        equal,
        pairs,
    )
    useful = int(trajectory.nfe.sum())
    result |= work(trajectory, result) | {
        "mean_text_length": text.sum(-1).float().mean().item(),
        "length": length,
        "plain_useful_share": useful / (passes[0] * rows),
        "ours_useful_share": useful / trajectory.row_forwards.sum().item(),
        "plain_nfe": passes[0],
    }
    print(
        f"  texts of {result['mean_text_length']:.0f} of {length} tokens in {result['nfe'][0]} to {result['nfe'][1]} "
        f"passes, the batch in {passes[0]}; useful row-forwards: {result['plain_useful_share']:.0%} and "
        f"{result['ours_useful_share']:.0%}",
        flush=True,
    )
    return result


def scaling():
    """The time of rollouts against the row-forwards that they need, whatever the batch and its finished rows."""
    model, points = make_model("trunk", confident=True), []
    for rows in (4, 8, 16):
        ids = prompts(rows, 64)
        for every in (10_000, 110, 40):  # from no end to early ends
            decoder = DiffusionGenerationConfig(
                max_new_tokens=64, unmasking="confidence_threshold", confidence_threshold=0.7, temperature=0.0,
                eos_token_ids=tuple(range(7, 2048, every)),
            )  # fmt: skip
            sample = partial(DiffusionSampler(model, decoder).sample, ids)
            seconds, trajectory = min((timed(sample) for _ in range(3)), key=lambda run: run[0])
            tokens = int(trajectory.text_mask(decoder.eos_token_ids).sum())
            points.append(
                {
                    "rows": rows,
                    "row_forwards": trajectory.row_forwards.sum().item(),
                    "seconds": seconds,
                    "tokens": tokens,
                    "batch_waits_for": int(trajectory.nfe.max()) * rows,
                }
            )
    x, y = (torch.tensor([point[name] for point in points]).double() for name in ("row_forwards", "seconds"))
    correlation = torch.corrcoef(torch.stack([x, y]))[0, 1].item()
    print(
        f"scaling: time and useful row-forwards, correlation {correlation:.3f} over {len(points)} rollouts", flush=True
    )
    return {"points": points, "correlation": correlation}


def lengths():
    """The time of a pass by the length of prompts, and what prompts of different lengths cost each other."""
    model, per_pass, mixed = make_model("trunk", confident=True), {}, {}
    decoder = fixed_schedule(32, 16)
    for length in (16, 64, 256):
        seconds = min(timed(lambda: DiffusionSampler(model, decoder).sample(prompts(8, length)))[0] for _ in range(3))  # noqa: B023
        per_pass[str(length)] = seconds / 16
        print(f"lengths: 8 prompts of {length} tokens, {seconds / 16 * 1e3:.0f} ms per pass", flush=True)
    ids = prompts(8, 256)
    mask = (torch.arange(256) >= torch.tensor([0, 0, 0, 0, 240, 240, 240, 240])[:, None]).long()
    for size in (8, 4):
        sampler = DiffusionSampler(model, fixed_schedule(32, 16, max_batch_size=size))
        runs = [timed(lambda: sampler.sample(ids, mask)) for _ in range(3)]  # noqa: B023
        mixed[size] = min(runs, key=lambda run: run[0])
    (together, first), (apart, second) = mixed[8], mixed[4]
    assert torch.equal(first.completion_ids, second.completion_ids)
    print(f"lengths: 4 prompts of 16 and 4 of 256, {together:.2f} s at once, {apart:.2f} s by fours", flush=True)
    return {"seconds_per_pass": per_pass, "mixed_at_once_s": together, "mixed_by_fours_s": apart}


def groups():
    """What completions of one prompt save by sharing canvases, in rollouts and in updates."""
    model, shares = make_model("trunk", confident=True), {}
    for temperature, size in itertools.product((0.2, 1.0), (2, 4, 8, 16)):
        decoder = DiffusionGenerationConfig(
            max_new_tokens=64, unmasking="confidence_threshold", confidence_threshold=0.7, temperature=temperature
        )
        trajectory = DiffusionSampler(model, decoder).sample(prompts(size, 64, size), seeds=torch.arange(size))
        share = (trajectory.row_forwards.sum() / trajectory.nfe.sum()).item()
        shares[f"{size} at {temperature}"] = share
        print(f"groups: at temperature {temperature} a group of {size} makes {share:.0%} of its passes", flush=True)
    seconds = {}
    for size in (2, 4, 8, 16):
        ours = updates("trunk", size, 64, size, MeanField(0.0))["ours"]
        seconds[str(size)] = min(timed(ours)[0] for _ in range(4))
        print(f"groups: the mean-field update of a group of {size}, {seconds[str(size)]:.3f} s", flush=True)
    return {"shares_of_passes": shares, "update_s": seconds}


def caches(pairs):
    """Approximate caches: their time on `trunk`, and their drift on the embedded Sudoku model, in four blocks."""
    model, ids, results = make_model("trunk", confident=True), prompts(8, 64), {}
    sudoku_model = LLaDAModelLM.from_pretrained(embedded.path("sudoku"))
    tokenizer = AutoTokenizer.from_pretrained(embedded.path("sudoku"))
    puzzles = tokenizer(sudoku.make_dataset("test", 128)["prompt"][:], return_tensors="pt")
    for kind in (None, "prefix", "dual"):
        decoder = DiffusionGenerationConfig(
            max_new_tokens=128, unmasking="confidence_threshold", confidence_threshold=0.7, temperature=0.0,
            approximate_cache=kind,
        )  # fmt: skip
        runs = [timed(lambda: DiffusionSampler(model, decoder).sample(ids)) for _ in range(pairs)]  # noqa: B023
        seconds, trajectory = min(runs, key=lambda run: run[0])
        results[str(kind)] = {"seconds": seconds, "canvases": trajectory.row_forwards.sum().item()}
        if kind is None:
            continue
        decoder = DiffusionGenerationConfig(
            max_new_tokens=20, block_length=5, approximate_cache=kind, drift_check_rate=1.0
        )
        drift = DiffusionSampler(sudoku_model, decoder).sample(puzzles.input_ids, seeds=torch.arange(128)).drift
        count, kl, weight, square = drift.sum(0).tolist()
        results[kind] |= {"drift_kl": kl / count, "drift_ess": weight**2 / (count * square)}
        print(
            f"caches: {kind}, {results['None']['seconds'] / seconds:.1f} times faster; on the embedded model KL "
            f"{kl / count:.1e}, effective sample size {results[kind]['drift_ess']:.1%}",
            flush=True,
        )
    return results


def completions_of(ids, length):
    """A rollout that was never made, of one token per step: what surrogates look at."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(2, 500, (len(ids), length), generator=generator)
    steps = torch.rand(len(ids), length, generator=generator).argsort(-1)
    zeros, rows = torch.zeros(len(ids), length), torch.zeros(len(ids))
    return Trajectory(tokens, steps, zeros, zeros, rows.long() + length, rows[:, None], rows, rows)


def updates(size, rows, length, group, estimator):
    """Functions that make the gradient of the mean log-probability: plainly, with us, and one without any logits."""
    model, ids = make_model(size).train(), prompts(rows, length, group)
    trajectory = completions_of(ids, length)
    scored = torch.ones_like(trajectory.completion_ids, dtype=torch.bool)
    batch = RolloutBatch(ids, torch.ones_like(ids), scored, trajectory, torch.arange(rows)[:, None])
    spec = resolve_spec(model)
    for parameter in (model.lm_head.weight, model.model.embed_tokens.weight):
        parameter.requires_grad_(False)  # as with adapters

    def gradient(log_probs):
        model.zero_grad()
        log_probs.mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def without_care():
        if isinstance(estimator, MeanField):
            return gradient(plain.mean_field_log_probs(model, ids, trajectory.completion_ids, MASK))
        tau = estimator.draw_tau(trajectory.nfe, batch.seeds[:, 0])
        return gradient(
            plain.two_times_log_probs(model, ids, trajectory.completion_ids, MASK, trajectory.unmask_step, tau)
        )

    def ours():
        (part,) = estimator.passes(batch, 0, MASK)
        return gradient(score_views(model, spec, part.views, batch, entropies="none").token_log_probs)

    def without_logits():
        canvas = torch.nn.functional.pad(ids, (0, length), value=MASK)
        places = (canvas == MASK).flatten().nonzero()[:, 0]
        return gradient(model.model(canvas, kept=places).last_hidden_state)

    return {"plain": without_care, "ours": ours, "without logits": without_logits}


def update(name, size, estimator, pairs):
    """A group of 8, 64 + 64 tokens, forward and backward."""

    def equal(a, b):
        return bool((a - b).norm() <= 1e-5 * a.norm())

    functions = updates(size, 8, 64, 8, estimator)
    return compare(f"update-{name}", functions["plain"], functions["ours"], equal, pairs)


def rollouts(size, rows, length):
    """Functions that decode greedily, one block per pass: plainly, with us, and a pass without any logits."""
    model, ids = make_model(size), prompts(rows, length)
    sampler = DiffusionSampler(model, fixed_schedule(length, length // 32))

    @torch.no_grad()
    def without_logits():
        return model.model(torch.nn.functional.pad(ids, (0, length), value=MASK)).last_hidden_state

    return {
        "plain": lambda: plain.generate(model, ids, MASK, length, 32, length // 32),
        "ours": lambda: sampler.sample(ids),
        "without logits": without_logits,
    }


PEAKS = {
    "update": lambda length: updates("head", 8, length, 1, MeanField(0.0)),
    "rollout": lambda length: rollouts("head", 8, length),
}


def memory(what, length):
    """Bytes above those of the same without logits, of 8 different prompts. Medians of three processes each."""
    peaks = {}
    for which in ("plain", "ours", "without logits"):
        command = [sys.executable, __file__, "--peak-of", what, which, "--length", str(length)]
        runs = [subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        peaks[which] = statistics.median(int(run.stdout) for run in runs)
    trunk = peaks.pop("without logits")
    slow, fast = peaks["plain"] - trunk, peaks["ours"] - trunk
    print(
        f"{what}-memory: 8 x ({length} + {length}) tokens, {slow / 2**30:.2f} GiB and {fast / 2**30:.2f} GiB of "
        f"logits: {fast / slow:.1%} (and {trunk / 2**30:.2f} GiB of the rest)",
        flush=True,
    )
    return {"plain_bytes": slow, "ours_bytes": fast, "rest_bytes": trunk, "share": fast / slow, "length": length}


def step():
    """Where the time of DiFFPO's updates goes, on the embedded Sudoku model: the trainer's own `time/*` metrics."""
    with tempfile.TemporaryDirectory() as folder:
        args = DiFFPOConfig(
            folder, max_completion_length=20, block_length=20, max_steps=12, per_device_train_batch_size=64,
            num_generations=8, gradient_accumulation_steps=2, beta=0.04, use_cpu=True, report_to="none",
            save_strategy="no", logging_steps=1, gradient_checkpointing=False, disable_tqdm=True,
        )  # fmt: skip
        dataset = sudoku.make_dataset("train", 500)
        trainer = DiFFPOTrainer(embedded.path("sudoku"), sudoku_reward, args, dataset)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    updates = [entry for entry in trainer.state.log_history if "time/rollout" in entry][2:]
    names = sorted(name for name in updates[0] if name.startswith("time/"))
    split = {name.removeprefix("time/"): sum(entry[name] for entry in updates) for name in names}
    total = sum(split.values())
    shared = sum(entry["sampler/shared"] for entry in updates) / len(updates)
    print(f"step: {1 - shared:.0%} of the rollouts' passes were left, the others shared", flush=True)
    print("step: " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in split.items()), flush=True)
    return {name: seconds / total for name, seconds in split.items()}


PARTS = {
    "rollout-head": lambda args: rollout("head", args.pairs),
    "rollout-trunk": lambda args: rollout("trunk", args.pairs),
    "rollout-8b": lambda args: rollout("8b", args.pairs),
    "rollout-adaptive": lambda args: rollout_adaptive(args.pairs),
    "scaling": lambda args: scaling(),
    "lengths": lambda args: lengths(),
    "groups": lambda args: groups(),
    "caches": lambda args: caches(args.pairs),
    "update-head": lambda args: update("head", "head", MeanField(0.0), args.pairs),
    "update-trunk": lambda args: update("trunk", "trunk", MeanField(0.0), args.pairs),
    "update-two-times": lambda args: update("two-times", "trunk", TwoTimesMeanField(), args.pairs),
    "rollout-memory": lambda args: memory("rollout", min(args.length, 128)),
    "update-memory": lambda args: memory("update", args.length),
    "step": lambda args: step(),
}


def machine():
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), "gpu": gpu}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"Of {', '.join(PARTS)}. All by default, 8b where there is a GPU.")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="More than idle cores make all of it much slower.")
    parser.add_argument(
        "--length",
        type=int,
        default=512,
        help="Of prompts and completions where memory is measured, 128 at most in rollouts.",
    )
    parser.add_argument("--output", type=Path, help="A JSON file.")
    parser.add_argument("--picture", type=Path, help="A picture of what was measured; all parts are needed.")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.length % 32:
        parser.error("--length must be a multiple of 32")
    if unknown := set(args.parts) - PARTS.keys():
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(args.threads)
    if args.peak_of:
        what, which = args.peak_of
        return print(peak_memory(PEAKS[what](args.length)[which]))
    everything = [name for name in PARTS if name != "rollout-8b" or torch.cuda.is_available()]
    results = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": machine()}
    results |= {name: PARTS[name](args) for name in args.parts or everything}
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n")
    if args.picture:
        from speed_plot import draw

        draw(results, args.picture)


if __name__ == "__main__":
    main()
