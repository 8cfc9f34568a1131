# SPDX-License-Identifier: Apache-2.0
"""
d2: Improved Techniques for Training Reasoning Diffusion Language Models
(https://huggingface.co/papers/2509.21474).

StepMerge: the denoising steps of a rollout are cut into N segments, and each token is scored on the canvas at the
start of its segment. N = 1 is the mean field, N = the number of steps the exact trajectory likelihood. The
scores enter GRPO's clipped loss. Segments go through the model one after the other, so memory does not depend on N.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, MergedSteps
from .base_trainer import DiffusionGRPOTrainer
from .d2_config import D2Config


class D2Trainer(DiffusionGRPOTrainer):
    """
    Trainer for d2's StepMerge, a trajectory likelihood in N pieces.

    Example:

    ```python
    from trl_diffusion import D2Config, D2Trainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = D2Trainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=D2Config(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = D2Config
    _tag_names = ["trl", "trl-diffusion", "d2"]
    _name = "d2"
    _paper = {
        "title": "d2: Improved Techniques for Training Reasoning Diffusion Language Models",
        "id": "2509.21474",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{wang2025d2,
                title  = {{d2: Improved Techniques for Training Reasoning Diffusion Language Models}},
                author = {Guanghan Wang and Yair Schiff and Gilad Turok and Volodymyr Kuleshov},
                year   = 2025,
                eprint = {arXiv:2509.21474},
            }"""),
    }

    def make_estimator(self, args: D2Config) -> Estimator:
        return MergedSteps(num_segments=args.num_segments, views_per_forward=args.views_per_forward)
