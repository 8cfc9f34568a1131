# SPDX-License-Identifier: Apache-2.0
"""
DMPO: Enhancing Reasoning for Diffusion LLMs via Distribution Matching Policy Optimization
(https://huggingface.co/papers/2510.08233).

The policy that maximises `E[r] - beta KL(p || p_ref)` is `p* ∝ p_ref exp(r / beta)`. DMPO fits it: completions of the
old policy are weighted by `p*/p_old`, and the policy is trained on them as in pre-training, by denoising.

    w_i  = softmax over the group of  c (log p_ref(o_i) - log p_old(o_i) + r_i / beta)
    loss = - sum over the group of (w_i - baseline_i) ELBO(o_i) / (canvas length + 1)

No ratio is taken and nothing is clipped; the weights hold for all updates on the batch. `beta` is the paper's alpha.
With the baseline "negative", the authors' default and not ours, the target is no fixed point of the loss: training to
convergence then maximises the reward.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, ExactSteps, RandomMasking
from ..objectives import WDCE, WDDO, Objective, TargetWeights
from .base_trainer import DiffusionGRPOTrainer
from .dmpo_config import DMPOConfig


class DMPOTrainer(DiffusionGRPOTrainer):
    """
    Trainer for DMPO: weighted denoising cross-entropy, or weighted direct discriminative optimisation.

    Example:

    ```python
    from trl_diffusion import DMPOConfig, DMPOTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = DMPOTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=DMPOConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = DMPOConfig
    _tag_names = ["trl", "trl-diffusion", "dmpo"]
    _name = "DMPO"
    _paper = {
        "title": "Enhancing Reasoning for Diffusion LLMs via Distribution Matching Policy Optimization",
        "id": "2510.08233",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{zhu2025dmpo,
                title  = {{Enhancing Reasoning for Diffusion LLMs via Distribution Matching Policy Optimization}},
                author = {Yuchen Zhu and Wei Guo and Jaemoo Choi and Petr Molodyk
                          and Bo Yuan and Molei Tao and Yongxin Chen},
                year   = 2025,
                eprint = {arXiv:2510.08233},
            }"""),
    }

    def make_estimator(self, args: DMPOConfig) -> Estimator:
        return RandomMasking(
            args.num_replicates,
            args.antithetic_masks,
            views_per_forward=args.views_per_forward,
        )

    def make_objective(self, args: DMPOConfig) -> Objective:
        sequence: Estimator = RandomMasking(args.num_elbo_samples)
        if args.sequence_log_probs == "exact":
            sequence = ExactSteps(views_per_forward=1)
        target = TargetWeights(args.beta, args.proximal_coefficient, args.min_ess)
        if args.objective == "wddo":
            return WDDO(target, sequence, args.discriminator_scale, args.fake_weight)
        return WDCE(target, sequence, args.weight_baseline, args.baseline_strength)
