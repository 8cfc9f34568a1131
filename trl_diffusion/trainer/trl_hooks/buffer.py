# SPDX-License-Identifier: Apache-2.0
"""What TRL keeps in memory between two rollouts, for checkpoints."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, cast

import torch
from torch.utils.data import Sampler
from transformers import TrainingArguments
from trl import GRPOTrainer

from ..base_config import DiffusionGRPOConfig
from ..checkpoints import CheckpointMixin


class BufferHooks(CheckpointMixin, GRPOTrainer):
    """`GRPOTrainer`, whose checkpoints hold where it is between two rollouts, and what is left of the last one."""

    args: DiffusionGRPOConfig

    _train_sampler: Sampler | None = None

    def progress(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Where training is between two rollouts, with what is left to learn from the last one."""
        state = {"step": self._step, "metrics": dict(self._metrics["train"]), "buffer": 0, "plan": self._plan}
        if self._buffered_inputs is None or self._step % self._steps_per_rollout == 0:
            return {}, state
        state["buffer"] = len(self._buffered_inputs)
        tensors = {
            f"{place}.{name}": values
            for place, batch in enumerate(self._buffered_inputs)
            for name, values in batch.items()
            if values is not None
        }
        return tensors, state

    def restore_progress(self, tensors: dict[str, torch.Tensor], state: dict[str, Any] | None) -> None:
        there, here = ({} if state is None else state.get("plan", {})), self._plan
        changed = sorted(name for name in here if there.get(name) != here[name])
        if changed:
            state = None
        # Of another trainer, another number of processes or another plan: prompts are in step with the count.
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        self._buffered_inputs = None
        for _ in range(int(self.state.epoch or 0)):  # TRL would shuffle as in the first epoch
            next(iter(self._train_sampler or ()), None)
        if state is None:
            if self._step % self._steps_per_rollout:
                warnings.warn(
                    "The checkpoint was taken before its rollouts were used up, and has none for "
                    + (f"these settings ({', '.join(changed)} changed)" if there else "all of these processes")
                    + ": they are made again.",
                    stacklevel=2,
                )
            return
        self._step = state["step"]
        self._metrics["train"].update(state["metrics"])
        if state["buffer"]:
            buffer: list[dict[str, torch.Tensor]] = [{} for _ in range(state["buffer"])]
            for key, values in tensors.items():
                place, name = key.split(".", 1)
                buffer[int(place)][name] = values
            self._buffered_inputs = buffer  # type: ignore[assignment]

    @property
    def moving_reference(self) -> torch.nn.Module | None:
        moves = self.args.sync_ref_model and self.ref_model is not None
        return cast(Any, self.accelerator.unwrap_model(self.ref_model)) if moves else None

    @property
    def _plan(self) -> dict[str, str]:
        """What a buffer of rollouts depends on: the method, its options and TRL's, and the size of batches."""
        theirs = {f.name for f in dataclasses.fields(TrainingArguments)}
        names = {f.name for f in dataclasses.fields(self.args)} - theirs
        names |= {"per_device_train_batch_size", "gradient_accumulation_steps"}
        plan = {name: repr(getattr(self.args, name)) for name in sorted(names)}
        return {"trainer": type(self).__name__} | {name: text for name, text in plan.items() if " at 0x" not in text}

    @property
    def _steps_per_rollout(self) -> int:
        return cast(int, self.args.steps_per_generation) * self.num_iterations
