# SPDX-License-Identifier: Apache-2.0
"""
Coupled-GRPO, from DiffuCoder: Understanding and Improving Masked Diffusion Models for Code Generation
(https://huggingface.co/papers/2506.20639).

A random mask and its complement hide each token once. With the fully masked completion as the third view,

    l_i  = (log p(o_i | all masked) + log p(o_i | the view that hides o_i) / rate of that view) / 2

enters GRPO's clipped loss as the token's log-probability.
"""

from __future__ import annotations

import textwrap

from ..likelihood import CoupledMasking, Estimator
from .base_trainer import DiffusionGRPOTrainer
from .coupled_grpo_config import CoupledGRPOConfig


class CoupledGRPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for coupled-GRPO, which scores tokens on complementary masks.

    Example:

    ```python
    from trl_diffusion import CoupledGRPOConfig, CoupledGRPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = CoupledGRPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=CoupledGRPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = CoupledGRPOConfig
    _tag_names = ["trl", "trl-diffusion", "coupled-grpo"]
    _name = "coupled-GRPO"
    _paper = {
        "title": "DiffuCoder: Understanding and Improving Masked Diffusion Models for Code Generation",
        "id": "2506.20639",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{gong2025diffucoder,
                title  = {{DiffuCoder: Understanding and Improving Masked Diffusion Models for Code Generation}},
                author = {Shansan Gong and Ruixiang Zhang and Huangjie Zheng and Jiatao Gu and
                          Navdeep Jaitly and Lingpeng Kong and Yizhe Zhang},
                year   = 2025,
                eprint = {arXiv:2506.20639},
            }"""),
    }

    def make_estimator(self, args: CoupledGRPOConfig) -> Estimator:
        return CoupledMasking(args.min_mask_rate, args.max_mask_rate)
