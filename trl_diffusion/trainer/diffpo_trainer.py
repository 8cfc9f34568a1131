# SPDX-License-Identifier: Apache-2.0
"""
DiFFPO: Training Diffusion LLMs to Reason Fast and Furious via Reinforcement Learning
(https://huggingface.co/papers/2510.02212).

Tokens are scored by the two-times mean-field surrogate (2-MF), which conditions on one stored state of the rollout,
and the gap between the surrogate and the policy that really sampled is corrected by truncated importance weights:

    tau ~ U{0, …, nfe - 1}
    state_i = the fully masked canvas if token i was written in the first tau steps, else the canvas after tau steps
    w_i     = min(C, p_old(o_i | state_i) / p_old(o_i | the canvas it was written on))
    rho_i   = p_theta(o_i | state_i) / p_old(o_i | state_i)
    loss    = - mean over completions of
                  (1/|o|) sum_i w_i min(rho_i A, clip(rho_i, 1 - epsilon, 1 + epsilon) A)  [+ beta KL]

The denominator of w was recorded by the sampler, at no cost. The authors have published neither code nor the end of
this formula: the placement of w is reconstructed from the paper's description. Without truncation w rho telescopes to
the surrogate over the sampler's probability, which is the off-policy ratio that the paper argues for.
"""

from __future__ import annotations

import textwrap

import torch

from ..likelihood import Estimator, RolloutBatch, TwoTimesMeanField
from .base_trainer import DiffusionGRPOTrainer
from .diffpo_config import DiFFPOConfig


class DiFFPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for DiFFPO with the model as the only learner.

    Example:

    ```python
    from trl_diffusion import DiFFPOConfig, DiFFPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = DiFFPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=DiFFPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    args: DiFFPOConfig

    _config_class = DiFFPOConfig
    _tag_names = ["trl", "trl-diffusion", "diffpo"]
    _name = "DiFFPO"
    _paper = {
        "title": "DiFFPO: Training Diffusion LLMs to Reason Fast and Furious via Reinforcement Learning",
        "id": "2510.02212",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{zhao2025diffpo,
                title  = {{DiFFPO: Training Diffusion LLMs to Reason Fast and Furious via Reinforcement Learning}},
                author = {Hanyang Zhao and Dawen Liang and Wenpin Tang and David D. Yao and Nathan Kallus},
                year   = 2025,
                eprint = {arXiv:2510.02212},
            }"""),
    }

    def make_estimator(self, args: DiFFPOConfig) -> Estimator:
        return TwoTimesMeanField()

    def token_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor) -> torch.Tensor | None:
        if not self.args.importance_sampling_correction:
            return None
        width = old_log_probs.shape[1]
        counted, behaviour = batch.scored[:, :width], batch.trajectory.log_probs[:, :width]
        ratio = (old_log_probs - behaviour).exp()
        weights = ratio.clamp(max=self.args.importance_sampling_clip_max) * counted
        truncated = (ratio > self.args.importance_sampling_clip_max)[counted]
        self.record_metric("importance_weight/mean", weights[counted])
        self.record_metric("importance_weight/truncated", truncated)
        return weights
