# SPDX-License-Identifier: Apache-2.0
"""
TraceRL: Revolutionizing Reinforcement Learning Framework for Diffusion Large Language Models
(https://huggingface.co/papers/2509.06949).

The policy is trained along the trace of its own rollouts: s denoising steps in a row are merged, and each token is
scored on the canvas at the start of its segment. The scores enter GRPO's clipped loss. s = 1 is exact. Segments go
through the model one after the other, so memory does not depend on their number. The paper's value model is not here.
"""

from __future__ import annotations

import textwrap

from ..likelihood import Estimator, MergedSteps
from .base_trainer import DiffusionGRPOTrainer
from .trace_rl_config import TraceRLConfig


class TraceRLTrainer(DiffusionGRPOTrainer):
    """
    Trainer for TraceRL's policy, a trajectory likelihood in segments of s steps.

    Example:

    ```python
    from trl_diffusion import TraceRLConfig, TraceRLTrainer, embedded
    from trl_diffusion.rewards import sudoku_reward
    from trl_diffusion.tasks import sudoku

    trainer = TraceRLTrainer(
        model=embedded.path("sudoku"),
        reward_funcs=sudoku_reward,
        args=TraceRLConfig(output_dir="out", max_completion_length=20, block_length=20, max_steps=10),
        train_dataset=sudoku.make_dataset("train", 1000),
    )
    trainer.train()
    ```
    """

    _config_class = TraceRLConfig
    _tag_names = ["trl", "trl-diffusion", "trace-rl"]
    _name = "TraceRL"
    _paper = {
        "title": "Revolutionizing Reinforcement Learning Framework for Diffusion Large Language Models",
        "id": "2509.06949",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @article{wang2025tracerl,
                title  = {{Revolutionizing Reinforcement Learning Framework for Diffusion Large Language Models}},
                author = {Yinjie Wang and Ling Yang and Bowen Li and Ye Tian and Ke Shen and Mengdi Wang},
                year   = 2025,
                eprint = {arXiv:2509.06949},
            }"""),
    }

    def make_estimator(self, args: TraceRLConfig) -> Estimator:
        return MergedSteps(steps_per_segment=args.steps_per_segment, views_per_forward=args.views_per_forward)
