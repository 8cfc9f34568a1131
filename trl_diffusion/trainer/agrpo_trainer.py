# SPDX-License-Identifier: Apache-2.0
"""
AGRPO: Simple Policy Gradients for Reasoning with Diffusion Language Models
(https://huggingface.co/papers/2510.04019).

A rollout is a trajectory of denoising steps, and its likelihood the product over steps of the probabilities of the
tokens written, each given the canvas it was written on. The loss is a sum over these tokens, and is estimated from k
sampled steps:

    t_1 … t_k ~ p, over the steps of the rollout
    rho_i = p_theta(o_i | canvas of step t(i)) / p_old(the same)
    loss  = - mean over completions of
                (1/|o|) (1/k) sum_j (1/p(t_j)) sum_{i written in step t_j} min(rho_i A, clip(rho_i, 1 ± epsilon) A)

The old policy's probabilities were recorded by the sampler. Every draw is an unbiased estimate of the loss over all
tokens of the text, for each of TRL's loss types that is a sum over tokens, its KL term and its metrics; draws go
through the model one after the other, so memory does not depend on k. Tokens behind the end of the text are not
scored. Where the unmasking rule writes some of them before the text is complete (`random` does, inside a block), the
loss leaves out what they contributed.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, SampledSteps
from .agrpo_config import AGRPOConfig
from .base_trainer import DiffusionGRPOTrainer


class AGRPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for AGRPO, the unbiased policy gradient of the trajectory likelihood.

    Example:

    ```python
    from trl_diffusion import AGRPOConfig, AGRPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = AGRPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=AGRPOConfig(output_dir="out", max_completion_length=20, block_length=20, num_step_draws=2, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = AGRPOConfig
    _tag_names = ["trl", "trl-diffusion", "agrpo"]
    _name = "AGRPO"
    _paper = {
        "title": "Simple Policy Gradients for Reasoning with Diffusion Language Models",
        "id": "2510.04019",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{zhan2025agrpo,
                title  = {{Simple Policy Gradients for Reasoning with Diffusion Language Models}},
                author = {Anthony Zhan},
                year   = 2025,
                eprint = {arXiv:2510.04019},
            }"""),
    }

    def make_estimator(self, args: AGRPOConfig) -> Estimator:
        return SampledSteps(
            args.num_step_draws, args.step_distribution, args.stratify_steps, views_per_forward=args.views_per_forward
        )
