# SPDX-License-Identifier: Apache-2.0
"""Histograms on their way to the trackers of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback, rewrite_logs


def log_histograms(values: Mapping[str, torch.Tensor], step: int, callbacks: Iterable[TrainerCallback]) -> None:
    """
    Send histograms to those of the Trainer's own integrations that take them: TensorBoard, Weights & Biases and
    trackio. They are found among its callbacks, as `report_to` has put them there.

    Args:
        values (`Mapping[str, torch.Tensor]`):
            What is counted, `(values,)`, by the name of the histogram; with the prefix `eval_` if in an evaluation.
        step (`int`):
            The update.
        callbacks (`Iterable[TrainerCallback]`):
            The Trainer's.
    """
    named: dict[str, Any] = {name: value.numpy() for name, value in rewrite_logs(dict(values)).items() if len(value)}
    if not named:
        return
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            for name, numbers in named.items():
                callback.tb_writer.add_histogram(name, numbers, step)
            callback.tb_writer.flush()
        elif isinstance(callback, WandbCallback | TrackioCallback):
            tracker: Any = import_module("wandb" if isinstance(callback, WandbCallback) else "trackio")
            if isinstance(callback, WandbCallback) and tracker.run is None:
                continue
            histograms = {name: tracker.Histogram(numbers) for name, numbers in named.items()}
            tracker.log({**histograms, "train/global_step": step})
