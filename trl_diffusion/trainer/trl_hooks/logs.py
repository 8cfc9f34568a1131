# SPDX-License-Identifier: Apache-2.0
"""What TRL logs, and what is logged beside it."""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer

from ...generation import Trajectory
from ...visualization import print_completions
from ..base_config import DiffusionGRPOConfig
from ..stopwatch import Stopwatch
from ..tracking import log_histograms


class LogHooks(GRPOTrainer):
    """`GRPOTrainer`, with metrics over all processes, histograms, times, and completions in the colours of steps."""

    args: DiffusionGRPOConfig
    model: PreTrainedModel
    processing_class: PreTrainedTokenizerBase

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stopwatch = Stopwatch(self.accelerator.device)
        self._timed: set[str] = set()
        # Since the last log, by mode and name; of the main process.
        self._histograms: dict[str, dict[str, list[torch.Tensor]]] = {m: defaultdict(list) for m in ("train", "eval")}
        # Beside TRL's `_logs`, of the same completions: tokens, and the steps that wrote them.
        self._canvases: deque = deque(maxlen=self.args.generation_batch_size)
        self._canvases_are_new = False

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

    def record_histogram(self, name: str, values: torch.Tensor) -> None:
        """
        Log how `values` are distributed over all processes, but for NaN.

        Every process must call it, with the same shape. What a checkpoint finds unlogged is not kept.
        """
        everyone = self.accelerator.gather(values.detach().float().flatten())
        if self.accelerator.is_main_process:
            self._histograms[self.mode][name].append(everyone[~everyone.isnan()].cpu())

    def record_canvases(self, trajectory: Trajectory) -> None:
        """Keep how completions were written until they are printed, if they are."""
        if self.log_completions:
            columns = (trajectory.completion_ids.tolist(), trajectory.unmask_step.tolist())
            self._canvases.extend(gather_object([*zip(*columns, strict=True)]))
            self._canvases_are_new = True

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, with histograms for the trackers. Completions are printed when there are new ones, in our table."""
        shown, self.num_completions_to_print = self.num_completions_to_print, -1  # TRL prints none
        try:
            super().log(logs, start_time)
        finally:
            self.num_completions_to_print = shown
        if not self.accelerator.is_main_process:
            return
        prefix = "" if self.mode == "train" else "eval_"
        values = {prefix + name: torch.cat(parts) for name, parts in self._histograms[self.mode].items()}
        self._histograms[self.mode].clear()
        log_histograms(values, self.state.global_step, self.callback_handler.callbacks)
        if self._canvases_are_new:
            self._canvases_are_new = False
            self._print_completions()

    def _print_completions(self) -> None:
        logged: dict[str, Any] = self._logs
        print_completions(
            self.processing_class,
            [*logged["prompt"]],
            [*self._canvases],
            {name: [*values] for name, values in logged["rewards"].items()},
            [*logged["advantages"]],
            self.state.global_step,
            extra={name: [*values] for name, values in logged["extra"].items()},
            end_tokens=self.eos_token_ids,
            num_samples=self.num_completions_to_print,
            unique_prompts=self.log_unique_prompts,
        )

    def timed(self, section: str, module: torch.nn.Module | None = None) -> AbstractContextManager[None]:
        """
        Log the time that is spent inside, or by the forward passes of a module meanwhile, as `time/<section>`, in
        seconds per update, less what sections within this one take. Evaluations are not timed.
        """
        if self.mode == "eval":
            return nullcontext()
        return self._stopwatch(section) if module is None else self._stopwatch.around(module, section)
