# SPDX-License-Identifier: Apache-2.0
"""Time, memory and arithmetic, side by side."""

import gc
import statistics
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode


def synchronize(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def timed(function, device="cpu"):
    gc.collect()
    synchronize(device)
    started = time.perf_counter()
    result = function()
    synchronize(device)
    return time.perf_counter() - started, result


def counted(function):
    """What a function returns, and its floating-point operations in matrix products."""
    with FlopCounterMode(display=False) as counter:
        result = function()
    return result, counter.get_total_flops()


def ceiling(device="cpu", dtype=torch.float32, size=2048):
    """FLOP/s of a large matrix product: the best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return max(2 * size**3 / timed(lambda: a @ b, device)[0] for _ in range(5))


def compare(name, slow, fast, equal, pairs, device="cpu"):
    """
    The ratio of two functions' times, over pairs in turn; before that, they must be shown to do the same.

    The limit is the ratio that would remain if both spent their time on matrix products alone, at the same speed.
    """
    (expected, slow_flops), (found, fast_flops) = counted(slow), counted(fast)
    assert equal(expected, found), f"{name}: not the same result"
    peak = ceiling(device, torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32)
    times = [(timed(slow, device)[0], timed(fast, device)[0]) for _ in range(pairs)]
    ratios = sorted(a / b for a, b in times)
    result = {
        "plain_s": statistics.median(a for a, _ in times),
        "ours_s": statistics.median(b for _, b in times),
        "ratio": statistics.median(ratios),
        "ratios": [ratios[0], ratios[-1]],
        "flops_ratio": slow_flops / fast_flops,
        "ceiling_flops_per_s": peak,
        "plain_utilisation": slow_flops / peak / statistics.median(a for a, _ in times),
        "ours_utilisation": fast_flops / peak / statistics.median(b for _, b in times),
    }
    print(
        f"{name}: {result['plain_s']:.2f} s and {result['ours_s']:.2f} s: {result['ratio']:.1f} times faster "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f}); {result['flops_ratio']:.2f} times fewer FLOPs, at "
        f"{result['plain_utilisation']:.0%} and {result['ours_utilisation']:.0%} of a matrix product's speed",
        flush=True,
    )
    return result


def peak_memory(function):
    """Bytes of the process's high-water mark above what it held before (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _held("VmRSS")
    function()
    return _held("VmHWM") - before


def _held(field):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) * 1024
