# SPDX-License-Identifier: Apache-2.0
"""
JustGRPO, from The Flexibility Trap: Rethinking the Value of Arbitrary Order in Diffusion Language Models
(https://huggingface.co/papers/2601.15165).

In training the model writes one token per step from left to right, as an autoregressive model does. Its likelihood is
then the product of its tokens' probabilities, and GRPO needs no approximation: one canvas per token, each scored in a
forward pass of its own. At test time the model decodes in parallel again.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, ExactSteps
from .base_trainer import DiffusionGRPOTrainer
from .just_grpo_config import JustGRPOConfig


class JustGRPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for JustGRPO: GRPO itself, on completions written from left to right.

    Example:

    ```python
    from trl_diffusion import JustGRPOConfig, JustGRPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = JustGRPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=JustGRPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = JustGRPOConfig
    _tag_names = ["trl", "trl-diffusion", "just-grpo"]
    _name = "JustGRPO"
    _paper = {
        "title": "The Flexibility Trap: Rethinking the Value of Arbitrary Order in Diffusion Language Models",
        "id": "2601.15165",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{ni2026justgrpo,
                title  = {{The Flexibility Trap:
                          Rethinking the Value of Arbitrary Order in Diffusion Language Models}},
                author = {Zanlin Ni and Shenzhi Wang and Yang Yue and Tianyu Yu and Weilin Zhao and
                          Yeguo Hua and Tianyi Chen and Jun Song and Cheng Yu and Bo Zheng and Gao Huang},
                year   = 2026,
                eprint = {arXiv:2601.15165},
            }"""),
    }

    def make_estimator(self, args: JustGRPOConfig) -> Estimator:
        return ExactSteps(views_per_forward=args.views_per_forward)
