# SPDX-License-Identifier: Apache-2.0
"""What identifies a model, a dataset and the machine that a number was measured with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import accelerate
import datasets
import torch
import transformers

from ..version import __version__


_CHUNK = 2**22
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ODD = -7046029254386353131  # 2^64 over the golden ratio, as a signed number


def weights_fingerprint(model: torch.nn.Module) -> str:
    """
    A digest of a model's weights and persistent buffers: their names, shapes, types and bits.

    The bits are summed up on the device they are on, each with an odd factor of its own, modulo 2^64: exact, the same
    on every device, and different if a single number is. A sum, not a cryptographic hash of the weights, which would
    have to travel to the host.

    Args:
        model (`torch.nn.Module`):
            The model, possibly wrapped by PEFT.

    Returns:
        `str`: 32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            name = name.removeprefix("_orig_mod.")  # of `torch.compile`
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} {_checksum(tensor)}\n".encode())
    return digest.hexdigest()


def _checksum(tensor: torch.Tensor) -> int:
    bits = tensor.detach().contiguous().flatten().view(_BITS[tensor.element_size()])
    total = 0
    for start in range(0, len(bits), _CHUNK):
        part = bits[start : start + _CHUNK].long()
        factors = (torch.arange(start, start + len(part), device=part.device) * 2 + 1) * _ODD
        total += int((part * factors).sum())
    return total % 2**64


def content_fingerprint(values: Iterable[Any]) -> str:
    """A digest of plain values, 32 hexadecimal digits. What JSON does not know counts by its `repr`."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=repr).encode() + b"\n")
    return digest.hexdigest()


def model_name(model: Any) -> dict[str, Any]:
    """Where a model came from: its id or folder, the commit on the Hub, and the adapter's, if it has one."""
    config = model.config
    name = {"name": getattr(config, "_name_or_path", None), "commit": getattr(config, "_commit_hash", None)}
    adapters = getattr(model, "peft_config", None)
    if adapters:
        name["adapters"] = {key: value.to_dict().get("peft_type") for key, value in sorted(adapters.items())}
    return name


def environment(model: Any) -> dict[str, Any]:
    """Versions, device and kernels, on which the last digits of a probability depend."""
    device = model.device
    return {
        "trl_diffusion": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "accelerate": accelerate.__version__,
        "datasets": datasets.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "attn_implementation": getattr(model.config, "_attn_implementation", None),
    }
