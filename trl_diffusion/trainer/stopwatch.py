# SPDX-License-Identifier: Apache-2.0
"""Where a training step's time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """
    Adds up the time that is spent in named sections. A section inside another one is not counted in the outer.

    On a GPU, marks are left in its stream and read when the sums are asked for: nothing waits for anything.

    Args:
        device (`torch.device`):
            Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._open: list[str] = []
        self._laps: list[tuple[str, float | torch.cuda.Event, float | torch.cuda.Event]] = []
        self._mark: float | torch.cuda.Event = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is inside under this name."""
        self._start(name)
        try:
            yield
        finally:
            self._stop()

    @contextmanager
    def around(self, module: torch.nn.Module, name: str) -> Iterator[None]:
        """Time the forward passes of a module, while this lasts, under this name."""
        hooks = [
            module.register_forward_pre_hook(lambda *_: self._start(name)),
            module.register_forward_hook(lambda *_: self._stop(), always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, name: str) -> None:
        self._lap()
        self._open.append(name)

    def _stop(self) -> None:
        self._lap()
        self._open.pop()

    @torch.compiler.disable
    def _lap(self) -> None:
        """Book the time since the last mark on the innermost section."""
        now: float | torch.cuda.Event = time.perf_counter()
        if self._on_gpu:
            now = torch.cuda.Event(enable_timing=True)
            now.record()
        if self._open:
            self._laps.append((self._open[-1], self._mark, now))
        self._mark = now

    def read(self) -> dict[str, float]:
        """Seconds in each section since this was last asked, of the sections that are closed."""
        if self._on_gpu and self._laps:
            torch.cuda.synchronize()
        seconds: dict[str, float] = defaultdict(float)
        for name, start, end in self._laps:
            if isinstance(start, float):
                seconds[name] += float(end) - start  # type: ignore[arg-type]
            else:
                seconds[name] += start.elapsed_time(end) / 1000  # type: ignore[arg-type]
        self._laps.clear()
        return dict(seconds)
