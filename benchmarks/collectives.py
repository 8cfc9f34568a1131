# SPDX-License-Identifier: Apache-2.0
"""What processes send each other: counted where PyTorch dispatches collectives, and at the sockets."""

import os
import socket
import struct
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode


# Name of the operator: its kind, and the argument that has the whole payload: what an all-gather leaves with each
# process, what a reduce-scatter takes from each.
_IN_PLACE = {
    "allreduce_": ("all-reduce", 0),
    "allreduce_coalesced_": ("all-reduce", 0),
    "_allgather_base_": ("all-gather", 0),
    "allgather_": ("all-gather", 0),
    "allgather_coalesced_": ("all-gather", 0),
    "allgather_into_tensor_coalesced_": ("all-gather", 0),
    "_reduce_scatter_base_": ("reduce-scatter", 1),
    "reduce_scatter_": ("reduce-scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce-scatter", 1),
    "broadcast_": ("broadcast", 0),
    "reduce_": ("reduce", 0),
    "barrier": ("barrier", None),
}
# Of functional operators the argument is what a process gives.
_FUNCTIONAL = {
    "all_reduce": "all-reduce",
    "all_reduce_": "all-reduce",
    "all_reduce_coalesced": "all-reduce",
    "all_reduce_coalesced_": "all-reduce",
    "all_gather_into_tensor": "all-gather",
    "all_gather_into_tensor_coalesced": "all-gather",
    "reduce_scatter_tensor": "reduce-scatter",
    "reduce_scatter_tensor_coalesced": "reduce-scatter",
    "broadcast": "broadcast",
    "broadcast_": "broadcast",
}
_SILENT = ("wait_tensor", "check_for_nan", "_wrap_tensor_autograd")


class CollectiveCounter(TorchDispatchMode):
    """
    Adds up calls, elements and bytes of each kind of collective in each phase. Also of those that C++ issues (DDP's
    reducer), and of those of backward hooks, which run in the thread that asks for the backward pass on a CPU.

    Args:
        phase (`Callable`):
            Names what is going on.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        super().__init__()
        self.phase = phase
        self.counts: dict[str, dict[str, list[int]]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(issubclass(kind, torch.distributed.tensor.DTensor) for kind in types):
            return NotImplemented  # it takes itself apart, and comes back with what it asks of the others
        namespace, _, name = func.name().partition("::")
        if namespace in ("c10d", "_c10d_functional", "_c10d_functional_autograd"):
            self._count(namespace, name.partition(".")[0], args)
        return func(*args, **(kwargs or {}))

    def _count(self, namespace: str, name: str, args: tuple) -> None:
        if name in _SILENT:
            return
        if namespace == "c10d" and name in _IN_PLACE:
            kind, place = _IN_PLACE[name]
            tensors, times = ([] if place is None else _tensors(args[place])), 1
        elif namespace != "c10d" and name in _FUNCTIONAL:
            kind, tensors, times = _FUNCTIONAL[name], _tensors(args[0]), 1
            if kind == "all-gather":
                times = args[1]
        else:
            raise NotImplementedError(f"{namespace}::{name} is not counted yet.")
        entry = self.counts.setdefault(self.phase(), {}).setdefault(kind, [0, 0, 0])
        entry[0] += 1
        entry[1] += times * sum(tensor.numel() for tensor in tensors)
        entry[2] += times * sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def take(self) -> dict[str, dict[str, list[int]]]:
        """`{phase: {kind: [calls, elements, bytes]}}` since this was last asked."""
        counts, self.counts = self.counts, {}
        return counts


def _tensors(values) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    return [tensor for value in values for tensor in _tensors(value)]


def bytes_sent() -> int:
    """
    Bytes that the open TCP connections of this process have sent so far, by the kernel's count (Linux), each once: on
    a busy machine the kernel sends some again, while it waits for the other side to say that they have come.
    """
    total = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(descriptor))) as copy:
                if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
                    continue
                info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:  # closed meanwhile
            continue
        sent, again = struct.unpack_from("=QQ", info, 200)  # tcpi_bytes_sent, tcpi_bytes_retrans
        total += sent - again
    return total
