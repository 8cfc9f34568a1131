# SPDX-License-Identifier: Apache-2.0
"""What is relied upon in TRL's trainer."""

from __future__ import annotations

import inspect
import warnings

import trl
from packaging.version import Version
from trl import GRPOTrainer
from trl.trainer import grpo_trainer


TRL_TESTED = ("1.16", "1.17")  # from, up to but without

# The private methods that are overridden or called, with the arguments that are relied upon.
CONTRACT = {
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields"),
    "_generate_and_score_completions": ("inputs",),
    "_get_per_token_logps_and_entropies": (
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
    ),
    "_compute_loss": ("model", "inputs"),
    "_tokenize_prompts": ("prompts",),
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_log_completion_extra": ("column", "values"),
    "_prepare_inputs": ("generation_batch",),
    "_get_train_sampler": ("dataset",),
    "log": ("logs", "start_time"),
    "training_step": ("model", "inputs", "num_items_in_batch"),
}

# The attributes that are read, and exist once a trainer is built.
ATTRIBUTES = (
    "_buffered_inputs",
    "_dist",
    "reward_funcs",
    "reward_func_names",
    "_entropy_bonus_enabled",
    "_logs",
    "_metrics",
    "log_completions",
    "log_unique_prompts",
    "num_completions_to_print",
    "_step",
    "eos_token_ids",
    "model_wrapped",
    "num_iterations",
)


def check_trl() -> None:
    """
    Compare the installed TRL with what these files rely on.

    Raises:
        `ImportError`: If a method is gone or its arguments have changed. A silent mismatch would train a diffusion
            model on an autoregressive objective.
    """
    problems = []
    for name, expected in CONTRACT.items():
        method = getattr(GRPOTrainer, name, None)
        parameters = () if method is None else tuple(inspect.signature(method).parameters)
        if method is None:
            problems.append(f"GRPOTrainer.{name} is missing")
        elif not set(expected) <= set(parameters):
            problems.append(f"GRPOTrainer.{name} takes {parameters}, expected {expected}")
    if not hasattr(grpo_trainer, "prepare_fsdp"):
        problems.append("trl.trainer.grpo_trainer.prepare_fsdp is missing")
    if problems:
        raise ImportError(misfit(problems))
    if not Version(TRL_TESTED[0]) <= Version(trl.__version__) < Version(TRL_TESTED[1]):
        warnings.warn(
            f"trl {trl.__version__} is untested with trl-diffusion (tested: >= {TRL_TESTED[0]}, < {TRL_TESTED[1]}).",
            stacklevel=2,
        )


def misfit(problems: list[str]) -> str:
    return (
        f"trl {trl.__version__} does not fit trl-diffusion, which is tested with trl >= {TRL_TESTED[0]}, "
        f"< {TRL_TESTED[1]}: {'; '.join(problems)}. Install a tested version: "
        f"pip install 'trl>={TRL_TESTED[0]},<{TRL_TESTED[1]}'"
    )


check_trl()
