# SPDX-License-Identifier: Apache-2.0
"""
GDPO: Improving Reasoning for Diffusion Language Models via Group Diffusion Policy Optimization
(https://huggingface.co/papers/2510.08554).

    rho  = exp(ELBO_theta(o) - ELBO_old(o))
    loss = - mean_i (1/|o_i|) min(rho_i A_i, clip(rho_i, 1 - epsilon, 1 + epsilon_high) A_i)  [+ beta KL]

The ELBO is an integral over the masking rate. Most of its variance comes from drawing the rate at random, so it is
computed by Gauss-Legendre quadrature, with one random mask per node.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, QuadratureMasking
from ..objectives import Objective, SequenceRatio
from .base_trainer import DiffusionGRPOTrainer
from .gdpo_config import GDPOConfig


class GDPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for GDPO, a sequence-level policy gradient with a low-variance ELBO.

    Example:

    ```python
    from trl_diffusion import GDPOConfig, GDPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = GDPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=GDPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = GDPOConfig
    _tag_names = ["trl", "trl-diffusion", "gdpo"]
    _name = "GDPO"
    _paper = {
        "title": "Improving Reasoning for Diffusion Language Models via Group Diffusion Policy Optimization",
        "id": "2510.08554",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{rojas2025gdpo,
                title  = {{Improving Reasoning for Diffusion Language Models via Group Diffusion Policy Optimization}},
                author = {Kevin Rojas and Jiahe Lin and Kashif Rasul and others},
                year   = 2025,
                eprint = {arXiv:2510.08554},
            }"""),
    }

    def make_estimator(self, args: GDPOConfig) -> Estimator:
        return QuadratureMasking(args.num_quadrature_nodes)

    def make_objective(self, args: GDPOConfig) -> Objective:
        epsilon_high = args.epsilon if args.epsilon_high is None else args.epsilon_high
        return SequenceRatio(False, args.epsilon, epsilon_high, args.beta)
