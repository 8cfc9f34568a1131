# SPDX-License-Identifier: Apache-2.0
"""What TRL logs, and what is logged beside it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel
from trl import GRPOTrainer

from ..stopwatch import Stopwatch


class LogHooks(GRPOTrainer):
    """`GRPOTrainer`, with metrics over all processes and times."""

    model: PreTrainedModel

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stopwatch = Stopwatch(self.accelerator.device)
        self._timed: set[str] = set()

    @property
    def mode(self) -> str:
        """`"train"` or `"eval"`, as TRL tells them apart."""
        return "train" if self.model.training else "eval"

    def record_metric(self, name: str, values: torch.Tensor, reduction: str = "mean") -> None:
        """
        Log the mean, min or max of `values` over all processes.

        Every process must call it, also one without values; the number of values may differ.
        """
        values = values.detach().float().flatten()
        if reduction == "mean":
            total = self.accelerator.reduce(torch.stack([values.sum(), values.new_tensor(values.numel())]), "sum")
            result = total[0] / total[1]  # NaN without any value: TRL drops it
        else:
            extreme = {"min": torch.inf, "max": -torch.inf}[reduction]
            values = torch.cat([values, values.new_tensor([extreme])])
            result = getattr(self.accelerator.gather(getattr(values, reduction)()), reduction)()
        self._metrics[self.mode][name].append(result.item())

    def timed(self, section: str, module: torch.nn.Module | None = None) -> AbstractContextManager[None]:
        """
        Log the time that is spent inside, or by the forward passes of a module meanwhile, as `time/<section>`, in
        seconds per update, less what sections within this one take. Evaluations are not timed.
        """
        if self.mode == "eval":
            return nullcontext()
        return self._stopwatch(section) if module is None else self._stopwatch.around(module, section)
