# SPDX-License-Identifier: Apache-2.0
"""
ESPO: Principled RL for Diffusion LLMs Emerges from a Sequence-Level Perspective
(https://huggingface.co/papers/2512.03759).

The completion is one action, and the ELBO stands for its log-likelihood:

    rho  = exp((ELBO_theta(o) - ELBO_old(o)) / |o|)
    loss = - mean_i min(rho_i A_i, clip(rho_i, 1 - epsilon, 1 + epsilon_high) A_i)
           [+ beta (ELBO_theta - ELBO_ref)^2 / (2 |o|)]

All policies are scored on the same masks, in complementary pairs.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, RandomMasking
from ..objectives import Objective, SequenceRatio
from .base_trainer import DiffusionGRPOTrainer
from .espo_config import ESPOConfig


class ESPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for ESPO, a clipped policy gradient with the completion as one action.

    Example:

    ```python
    from trl_diffusion import ESPOConfig, ESPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = ESPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=ESPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = ESPOConfig
    _tag_names = ["trl", "trl-diffusion", "espo"]
    _name = "ESPO"
    _paper = {
        "title": "Principled RL for Diffusion LLMs Emerges from a Sequence-Level Perspective",
        "id": "2512.03759",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{ou2025espo,
                title  = {{Principled RL for Diffusion LLMs Emerges from a Sequence-Level Perspective}},
                author = {Jingyang Ou and Jiaqi Han and Minkai Xu and Shaoxuan Xu and Jianwen Xie and
                          Stefano Ermon and Yi Wu and Chongxuan Li},
                year   = 2025,
                eprint = {arXiv:2512.03759},
            }"""),
    }

    def make_estimator(self, args: ESPOConfig) -> Estimator:
        return RandomMasking(args.num_elbo_samples)

    def make_objective(self, args: ESPOConfig) -> Objective:
        epsilon_high = args.epsilon if args.epsilon_high is None else args.epsilon_high
        return SequenceRatio(True, args.epsilon, epsilon_high, args.beta)
