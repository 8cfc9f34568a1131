# SPDX-License-Identifier: Apache-2.0
"""
wd1: Weighted Policy Optimization for Reasoning in Diffusion Language Models
(https://huggingface.co/papers/2507.08838).

    w+ = softmax(psi A),  w- = softmax(-psi A)  over the group
    loss = mean_i (w-_i - w+_i) log p(o_i)

with `log p(o)` the sum of diffu-GRPO's token scores. No ratio: one forward pass per update.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, MeanField
from ..objectives import Objective, WeightedLikelihood
from .base_trainer import DiffusionGRPOTrainer
from .wd1_config import WD1Config


class WD1Trainer(DiffusionGRPOTrainer):
    """
    Trainer for wd1, a weighted likelihood with weights of both signs.

    Example:

    ```python
    from trl_diffusion import WD1Config, WD1Trainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = WD1Trainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=WD1Config(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = WD1Config
    _tag_names = ["trl", "trl-diffusion", "wd1"]
    _name = "wd1"
    _paper = {
        "title": "wd1: Weighted Policy Optimization for Reasoning in Diffusion Language Models",
        "id": "2507.08838",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{tang2025wd1,
                title  = {{wd1: Weighted Policy Optimization for Reasoning in Diffusion Language Models}},
                author = {Xiaohang Tang and Rares Dolga and Sangwoong Yoon and Ilija Bogunovic},
                year   = 2025,
                eprint = {arXiv:2507.08838},
            }"""),
    }

    def make_estimator(self, args: WD1Config) -> Estimator:
        return MeanField(args.p_mask_prompt)

    def make_objective(self, args: WD1Config) -> Objective:
        return WeightedLikelihood(args.psi)
