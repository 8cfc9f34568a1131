# SPDX-License-Identifier: Apache-2.0
"""
SPG: Sandwiched Policy Gradient for Masked Diffusion Language Models
(https://huggingface.co/papers/2510.09541).

A lower bound of the log-likelihood (ELBO) is a safe thing to raise, and no safe thing to lower: for completions with a
negative advantage SPG lowers a mixture of it with an upper bound (EUBO).

    loss = - mean_i |o_i| A_i (ELBO(o_i) if A_i >= 0 else w EUBO(o_i) + (1 - w) ELBO(o_i)) / mean |o|

Masks follow the blocks of the sampler: earlier blocks clear, one partly masked, later ones hidden.
"""

from __future__ import annotations

import textwrap

from ..likelihood import BlockMasking, Estimator
from ..objectives import Objective, SandwichedPolicyGradient
from .base_trainer import DiffusionGRPOTrainer
from .spg_config import SPGConfig


class SPGTrainer(DiffusionGRPOTrainer):
    """
    Trainer for SPG, which raises a lower and lowers an upper bound of the likelihood.

    Example:

    ```python
    from trl_diffusion import SPGConfig, SPGTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = SPGTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=SPGConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = SPGConfig
    _tag_names = ["trl", "trl-diffusion", "spg"]
    _name = "SPG"
    _paper = {
        "title": "SPG: Sandwiched Policy Gradient for Masked Diffusion Language Models",
        "id": "2510.09541",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{wang2025spg,
                title  = {{SPG: Sandwiched Policy Gradient for Masked Diffusion Language Models}},
                author = {Chenyu Wang and Paria Rashidinejad and DiJia Su and Song Jiang and Sid Wang and
                          Siyan Zhao and Cai Zhou and Shannon Zejiang Shen and Feiyu Chen and
                          Tommi Jaakkola and Yuandong Tian and Bo Liu},
                year   = 2025,
                eprint = {arXiv:2510.09541},
            }"""),
    }

    def make_estimator(self, args: SPGConfig) -> Estimator:
        return BlockMasking(args.num_mask_samples, args.block_length, args.p_mask_prompt)

    def make_objective(self, args: SPGConfig) -> Objective:
        return SandwichedPolicyGradient(args.upper_weight, args.upper_exponent)
