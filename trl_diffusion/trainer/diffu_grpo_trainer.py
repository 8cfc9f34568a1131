# SPDX-License-Identifier: Apache-2.0
"""
diffu-GRPO, from d1: Scaling Reasoning in Diffusion Large Language Models via Reinforcement Learning
(https://huggingface.co/papers/2504.12216).

Every completion token is scored from the fully masked completion and a randomly masked prompt, one forward pass per
update, and the scores enter GRPO's clipped loss as if they were the policy's log-probabilities:

    rho_i = p_theta(o_i | masked prompt, all masked) / p_old(o_i | the same)
    loss  = - mean_i min(rho_i A, clip(rho_i, 1 - epsilon, 1 + epsilon) A)  [+ beta KL]

A new prompt mask is drawn for each inner iteration (`num_iterations`); old, reference and current policy share it.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, MeanField
from .base_trainer import DiffusionGRPOTrainer
from .diffu_grpo_config import DiffuGRPOConfig


class DiffuGRPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for diffu-GRPO, the baseline of RL for diffusion language models.

    Example:

    ```python
    from trl_diffusion import DiffuGRPOConfig, DiffuGRPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = DiffuGRPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=DiffuGRPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = DiffuGRPOConfig
    _tag_names = ["trl", "trl-diffusion", "diffu-grpo"]
    _name = "diffu-GRPO"
    _paper = {
        "title": "d1: Scaling Reasoning in Diffusion Large Language Models via Reinforcement Learning",
        "id": "2504.12216",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @inproceedings{zhao2025d1,
                title        = {{d1: Scaling Reasoning in Diffusion Large Language Models via Reinforcement Learning}},
                author       = {Siyan Zhao and Devaansh Gupta and Qinqing Zheng and Aditya Grover},
                year         = 2025,
                eprint       = {arXiv:2504.12216},
            }"""),
    }

    def make_estimator(self, args: DiffuGRPOConfig) -> Estimator:
        return MeanField(args.p_mask_prompt)
