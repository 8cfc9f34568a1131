# SPDX-License-Identifier: Apache-2.0
"""
UniGRPO, from MMaDA: Multimodal Large Diffusion Language Models
(https://huggingface.co/papers/2505.15809).

The completion is masked at a random rate, the prompt not at all, and the masked tokens enter GRPO's clipped loss. Over
the inner iterations (`num_iterations`) the rate goes from a random start to 1 in even steps.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, SpreadMasking
from .base_trainer import DiffusionGRPOTrainer
from .uni_grpo_config import UniGRPOConfig


class UniGRPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for UniGRPO, which scores randomly masked tokens.

    Example:

    ```python
    from trl_diffusion import UniGRPOConfig, UniGRPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = UniGRPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=UniGRPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = UniGRPOConfig
    _tag_names = ["trl", "trl-diffusion", "uni-grpo"]
    _name = "UniGRPO"
    _paper = {
        "title": "MMaDA: Multimodal Large Diffusion Language Models",
        "id": "2505.15809",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{yang2025mmada,
                title  = {{MMaDA: Multimodal Large Diffusion Language Models}},
                author = {Ling Yang and Ye Tian and Bowen Li and Xinchen Zhang and Ke Shen and Yunhai Tong
                          and Mengdi Wang},
                year   = 2025,
                eprint = {arXiv:2505.15809},
            }"""),
    }

    def make_estimator(self, args: UniGRPOConfig) -> Estimator:
        return SpreadMasking()
