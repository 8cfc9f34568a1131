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

The threshold of the sampler can be learned, too (`regime="joint"`, or `"sampler"` alone). It is drawn once per
rollout, from a distribution that depends on the prompt, and enters the loss as one more token, with a ratio of its own
and without an importance weight, since its likelihood is exact. The form of the paper's threshold predictor is not
published; ours is [`~trl_diffusion.models.threshold.ThresholdHead`].
"""

from __future__ import annotations

import textwrap
from typing import Any

import torch

from ..generation import DiffusionGenerationConfig
from ..likelihood import Estimator, NoTokens, RolloutBatch, TwoTimesMeanField
from ..models import threshold_policy
from .base_trainer import DiffusionGRPOTrainer
from .diffpo_config import DiFFPOConfig
from .threshold_training import (
    attach_threshold_head,
    freeze_what_the_regime_leaves,
    head_parameters,
    keep_in_float32,
    separate_learning_rate,
)


class DiFFPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for DiFFPO: of the model, of the sampler's threshold, or of both.

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

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        freeze_what_the_regime_leaves(self.model, self.args.regime)
        if self.args.learns_threshold:
            if not head_parameters(self.model):
                raise ValueError(
                    f"`regime={self.args.regime!r}` has no threshold head to train: name 'threshold_head' in "
                    "`modules_to_save` of the LoRA configuration that the model's adapter is made with."
                )
            if not self.shards_parameters:  # engines that do want one type, and have float32 copies of their own
                keep_in_float32(head_parameters(self.model))
            self.threshold_policy = threshold_policy(self.accelerator.unwrap_model(self.model))

    def prepare_model(self, model: Any, args: DiFFPOConfig, peft_config: Any) -> Any:
        return attach_threshold_head(model, args, peft_config) if args.learns_threshold else peft_config

    def make_estimator(self, args: DiFFPOConfig) -> Estimator:
        return NoTokens() if args.regime == "sampler" else TwoTimesMeanField()

    def create_optimizer(self, *args, **kwargs) -> Any:
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.args.learns_threshold:
            separate_learning_rate(optimizer, head_parameters(self.model), self.args.threshold_learning_rate)
        return optimizer

    def decoder(self, mode: str) -> DiffusionGenerationConfig:
        config = super().decoder(mode)
        if self.args.learns_threshold:
            config.learned_threshold = "sample" if mode == "train" else "greedy"
        return config

    def threshold_advantages(self, advantages: torch.Tensor) -> torch.Tensor:
        return self.args.threshold_coefficient * advantages

    def token_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor) -> torch.Tensor | None:
        if self.args.regime == "sampler" or not self.args.importance_sampling_correction:
            return None
        return self.importance_weights(batch, old_log_probs, self.args.importance_sampling_clip_max)
