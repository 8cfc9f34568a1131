# SPDX-License-Identifier: Apache-2.0
"""What is logged of rollouts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..generation import Trajectory
from .text_statistics import repetition


def rollout_metrics(trajectory: Trajectory, eos_token_ids: Sequence[int]) -> dict[str, torch.Tensor]:
    """
    Metrics of which the mean over completions is logged, or over tokens.

    Args:
        trajectory ([`~trl_diffusion.Trajectory`]):
            The rollouts.
        eos_token_ids (`Sequence[int]`):
            Tokens that end the text.

    Returns:
        `dict[str, torch.Tensor]`: by the name of the metric, `(rows,)`; `(values,)` of those that are not rows'.
    """
    nfe = trajectory.nfe.float()
    written = trajectory.unmask_step >= 0
    ends = torch.isin(trajectory.completion_ids, torch.tensor(eos_token_ids, device=nfe.device))
    upto_end = trajectory.text_mask(eos_token_ids)
    text = upto_end & ~ends
    return {
        "sampler/nfe": nfe,
        "sampler/tokens_per_step": upto_end.sum(-1) / nfe,
        "sampler/slack": trajectory.slack,
        "sampler/confidence": trajectory.log_probs.exp()[written],
        "sampler/entropy": trajectory.entropies.sum(-1) / written.sum(-1),
        "completions/empty": ~text.any(-1),
        "completions/seq_rep_4": repetition(trajectory.completion_ids, text),
    }


def rollout_histograms(trajectory: Trajectory, eos_token_ids: Sequence[int]) -> dict[str, torch.Tensor]:
    """
    What histograms are made of. Each has the same shape in all processes, with NaN for what is not there.

    Args:
        trajectory ([`~trl_diffusion.Trajectory`]):
            The rollouts.
        eos_token_ids (`Sequence[int]`):
            Tokens that end the text.

    Returns:
        `dict[str, torch.Tensor]`: by the name of the histogram, float32.
    """
    nfe = trajectory.nfe.float()
    nothing = torch.full_like(trajectory.log_probs, torch.nan)
    values = {
        "sampler/nfe_histogram": nfe,
        "sampler/tokens_per_step_histogram": trajectory.text_mask(eos_token_ids).sum(-1) / nfe,
        "sampler/confidence_histogram": torch.where(trajectory.unmask_step >= 0, trajectory.log_probs.exp(), nothing),
    }
    if (actions := trajectory.threshold_actions) is not None:
        values["threshold/histogram"] = trajectory.threshold.masked_fill(actions.isnan(), torch.nan)
    return values
