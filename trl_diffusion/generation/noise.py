# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a sample, not to a batch."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any values, the same in every process, session and Python version."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def uniform(seeds: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """
    Uniform numbers in `[0, 1)`, each row from its own seed.

    A row's numbers do not depend on its batch mates, on the device or on the global random state, so that a rollout
    can be repeated alone, and re-drawn later from its seed instead of being stored.

    Args:
        seeds (`torch.Tensor` of shape `(rows,)`, int64):
            One seed per row.
        size (`tuple[int, ...]`):
            Shape of the numbers of one row.

    Returns:
        `torch.Tensor` of shape `(rows, *size)`, on the device of `seeds`; float64, or float32 where the device has no
        float64.
    """
    rows = [
        torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds.tolist()
    ]
    noise = torch.stack(rows) if rows else torch.empty((0, *size), dtype=torch.float64)
    return noise.to(seeds.device, widest_float(seeds.device))


def widest_float(device: torch.device) -> torch.dtype:
    """float64, or float32 where the device has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
