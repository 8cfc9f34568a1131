# SPDX-License-Identifier: Apache-2.0
"""Options that every diffusion trainer adds to `GRPOConfig`, and those of `GRPOConfig` that mean nothing here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from transformers.utils import is_torch_bf16_gpu_available
from trl import GRPOConfig

from ..generation import DiffusionGenerationConfig
from ..generation.config import CACHES, RULE_NAMES


# Options of GRPOConfig that must keep their default, and what to do instead.
_REFUSED = {
    "use_vllm": "vLLM does not decode this kind of model; the built-in sampler is used.",
    "use_transformers_continuous_batching": "rows are refilled by `sampler_batch_size` instead.",
    "use_transformers_paged": "rows are refilled by `sampler_batch_size` instead.",
    "cache_implementation": "a canvas with full attention has no exact key-value cache; see `approximate_cache`.",
    "generation_kwargs": "set the sampler's own options (`unmasking`, `entropy_bound`, `block_length`, …).",
    "repetition_penalty": "tokens are not written from left to right; there is no past to penalise.",
    "min_p": "the scored policy would not be the sampled one; use `temperature`.",
    "top_entropy_quantile": "entropies belong to the estimator's views, not to the states tokens were written in.",
    "router_aux_loss_coef": "mixture-of-experts balancing losses are not supported.",
    "cast_lm_head_to_fp32": "log-probabilities are computed in float32 from the logits already.",
    "use_liger_kernel": "it replaces a causal forward pass.",
    "pad_to_multiple_of": "the canvas has a fixed length.",
    "neftune_noise_alpha": "noise on the embeddings would make the scored policy differ from the sampled one.",
}

# Truncated sampling is exact only where tokens are scored in the states that they were drawn in.
_REFUSED_UNLESS_EXACT = dict.fromkeys(
    ("top_k", "top_p"), "the scored policy would not be the sampled one; use `temperature`."
)

# They are no sum over tokens: computed pass by pass, they would depend on what goes through the model at once.
_REFUSED_WITH_PASSES = {
    "importance_sampling_level": ("sequence",),
    "loss_type": ("vespo", "luspo"),
}

# What TRL itself would refuse only when rollouts have been made.
_CHOICES = {
    "loss_type": ("grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "scale_rewards": ("group", "batch", "none"),
}

# Options of TRL's losses.
_REFUSED_WITH_OWN_LOSS = dict.fromkeys(
    (
        "loss_type",
        "importance_sampling_level",
        "epsilon",
        "epsilon_high",
        "delta",
        "entropy_coef",
        "use_adaptive_entropy",
        "off_policy_mask_threshold",
        "use_bias_correction_kl",
        *("sapo_temperature_neg", "sapo_temperature_pos"),
        *("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"),
    ),
    "it is part of TRL's losses, and this method has its own.",
)


@dataclass
class DiffusionGRPOConfig(GRPOConfig):
    r"""
    Base of the diffusion trainers' configurations.

    It adds the sampler's options to [`~trl.GRPOConfig`] and refuses, by name, the options that have no meaning for a
    canvas. `max_completion_length` is the length of the canvas; `temperature` is that of the rollouts and of the
    scored policy alike.

    Parameters:
        bf16 (`bool`, *optional*):
            Whether to train in bfloat16. Defaults to `True` where a GPU supports it, unless `fp16` is set.
        disable_dropout (`bool`, *optional*, defaults to `True`):
            Whether to disable dropout, that of LoRA included. It would be active when the policy is trained and not
            when it samples.

        > Parameters that control the sampler

        block_length (`int`, *optional*, defaults to `32`):
            Blocks of this many tokens are completed from left to right. Must divide `max_completion_length`.
        unmasking (`str`, *optional*, defaults to `"entropy_bound"`):
            The unmasking rule, see [`~trl_diffusion.DiffusionGenerationConfig`].
        entropy_bound (`float`, *optional*, defaults to `0.1`):
            Bound of the entropy-bound rule, in nats.
        confidence_threshold (`float`, *optional*, defaults to `0.9`):
            Threshold of the confidence rule.
        max_denoising_steps (`int`, *optional*):
            Denoising steps over the completion: of the scheduled rules, by default one per token; of the adaptive
            ones the most, by default unbounded.
        stop_at_eos (`bool`, *optional*, defaults to `True`):
            Whether a row ends as soon as its text is decided.
        sampler_batch_size (`int`, *optional*):
            Rows in one forward pass of the sampler, on each device. Defaults to the device's whole generation batch.
        mask_token_id (`int`, *optional*):
            The mask token, if neither the model's configuration nor the tokenizer names it.

        > Parameters that control the logging

        log_histograms (`bool`, *optional*, defaults to `False`):
            Whether to log, every `logging_steps` steps, histograms of the forward passes and of the tokens per pass
            of completions, of the confidence of tokens and of learned thresholds. They go to those of `"tensorboard"`,
            `"wandb"` and `"trackio"` that `report_to` names.

        > Parameters that trade fidelity of the rollouts for speed

        approximate_cache (`str`, *optional*):
            `"prefix"` or `"dual"`: rollouts read keys and values of earlier steps, see
            [`~trl_diffusion.DiffusionGenerationConfig`]. They are then not quite the policy's own. Methods that score
            tokens in the states that they were drawn in score the old policy without the cache, and weigh tokens by
            what they are to it; DiFFPO's importance weights do so anyway.
        cache_refresh_interval (`int`, *optional*):
            Steps after which the whole canvas goes through the model again, within a block.
        drift_check_rate (`float`, *optional*, defaults to `0.0`):
            Share of the steps with a cache that are also made without it, to log how far it leads astray.
        cache_min_ess (`float`, *optional*):
            Adapts `cache_refresh_interval` from rollout to rollout, so that the effective sample size of the weights
            that would make up for the cache, a share of the tokens, stays above this. Needs `drift_check_rate`.
        cache_clip_max (`float`, *optional*, defaults to `3.0`):
            Cap of the importance weights that make up for the cache.
    """

    disable_dropout: bool = field(default=True, metadata={"help": "Whether to disable dropout, also LoRA's."})
    max_completion_length: int = field(default=256, metadata={"help": "Length of the completion canvas, in tokens."})
    pad_to_multiple_of: int | str | None = field(
        default=None, metadata={"help": "Not supported: the canvas has a fixed length."}
    )
    block_length: int = field(
        default=32,
        metadata={"help": "Blocks of this many tokens are completed from left to right."},
    )
    unmasking: str = field(
        default="entropy_bound",
        metadata={
            "help": "The unmasking rule: which tokens are written in a step.",
            "choices": RULE_NAMES,
        },
    )
    entropy_bound: float = field(default=0.1, metadata={"help": "Bound of the entropy-bound rule, in nats."})
    confidence_threshold: float = field(default=0.9, metadata={"help": "Threshold of the confidence rule."})
    max_denoising_steps: int | None = field(
        default=None,
        metadata={"help": "Denoising steps over the completion; of the adaptive rules, the most."},
    )
    stop_at_eos: bool = field(default=True, metadata={"help": "Whether a row ends as soon as its text is decided."})
    sampler_batch_size: int | None = field(
        default=None,
        metadata={"help": "Rows in one forward pass of the sampler, on each device. Default: all of them."},
    )
    mask_token_id: int | None = field(
        default=None,
        metadata={"help": "The mask token, if neither the model's configuration nor the tokenizer names it."},
    )

    log_histograms: bool = field(
        default=False,
        metadata={
            "help": "Whether to log histograms of forward passes, tokens per pass, confidence and learned thresholds "
            "to tensorboard, wandb and trackio."
        },
    )

    approximate_cache: str | None = field(
        default=None,
        metadata={
            "help": "Rollouts read keys and values of earlier steps, which is an approximation.",
            "choices": CACHES,
        },
    )
    cache_refresh_interval: int | None = field(
        default=None, metadata={"help": "Steps after which an approximate cache is computed anew, within a block."}
    )
    drift_check_rate: float = field(
        default=0.0, metadata={"help": "Share of the steps with an approximate cache that are checked without it."}
    )
    cache_min_ess: float | None = field(
        default=None, metadata={"help": "Effective sample size that an approximate cache's refreshes adapt to."}
    )
    cache_clip_max: float = field(
        default=3.0, metadata={"help": "Cap of the importance weights that make up for an approximate cache."}
    )

    # What a method's own configuration says about itself.
    _exact: ClassVar[bool] = False  # whether tokens are scored in the very states they were drawn in
    _many_passes: ClassVar[bool] = False  # whether the tokens of a completion may be scored in several passes
    _own_loss: ClassVar[bool] = False  # whether the loss is none of TRL's
    _used: ClassVar[frozenset[str]] = frozenset()  # options of TRL's losses that the own loss has, too
    _refused: ClassVar[Mapping[str, str]] = {}  # options that the method has no use for, and why

    @classmethod
    def refused(cls) -> dict[str, str]:
        """Options that must keep their default, and why."""
        reasons = _REFUSED | ({} if cls._exact else _REFUSED_UNLESS_EXACT)
        reasons |= _REFUSED_WITH_OWN_LOSS if cls._own_loss else {}
        return {name: reason for name, reason in reasons.items() if name not in cls._used} | dict(cls._refused)

    def __post_init__(self):
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name, reason in self.refused().items():
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"`{name}={getattr(self, name)!r}` is not supported by {type(self).__name__}: {reason}"
                )
        if self._many_passes:
            self._require_sum_over_tokens()
        self._require_number("beta", minimum=0)
        self._require_number("epsilon", minimum=0)
        if self.epsilon_high is not None:
            self._require_number("epsilon_high", minimum=0)
        if self.max_completion_length is None:
            raise ValueError("`max_completion_length` must be set: it is the length of the canvas.")
        if isinstance(self.temperature, (int, float)) and not self.temperature > 0:
            raise ValueError(
                f"`temperature={self.temperature}` leaves nothing to learn from: all completions of a group would be "
                "the same. Set it above 0 (evaluate greedily with `trl_diffusion.DiffusionSampler`)."
            )
        if self.bf16 is None:  # TRL's default is True everywhere, which a machine without a GPU refuses
            self.bf16 = not self.fp16 and not self.use_cpu and is_torch_bf16_gpu_available()
        if self.report_to is None:  # a YAML file's `null`; transformers takes it for the name of a tracker
            self.report_to = "none"
        self._check_sampler_options()
        super().__post_init__()
        for name, choices in _CHOICES.items():
            self._require_choice(name, choices)

    def __getstate__(self) -> dict[str, Any]:
        # transformers pickles its arguments into `training_args.bin`, which is pushed beside the model.
        return self.__dict__ | {"hub_token": None}

    def _check_sampler_options(self) -> None:
        """Have the sampler validate its options, before anything is loaded, under the names that they have here."""
        token = self.mask_token_id
        if token is not None and (not isinstance(token, int) or isinstance(token, bool)):
            raise TypeError(f"`mask_token_id` must be int, got {token!r}.")
        self._require(token is None or token >= 0, "mask_token_id", "must not be negative.")
        self._require_number("cache_clip_max", above=0)
        if self.cache_min_ess is not None:
            self._require_number("cache_min_ess", above=0, below=1)
            self._require(bool(self.drift_check_rate), "cache_min_ess", "has no effect without `drift_check_rate`.")
        if self.approximate_cache is None:
            self._require_unset(["cache_clip_max"], "there is no `approximate_cache` to make up for.")
        elif not self._exact:
            self._require_unset(["cache_clip_max"], "this method has no use for the rollouts' probabilities.")
        try:
            self.generation_config()
        except (TypeError, ValueError) as error:
            message = str(error).replace("max_new_tokens", "max_completion_length")
            raise type(error)(message.replace("max_batch_size", "sampler_batch_size")) from None

    def _require(self, condition: bool, name: str, requirement: str) -> None:
        """
        Raises:
            `ValueError`: Unless the condition holds, naming the option.
        """
        if not condition:
            raise ValueError(f"`{name}={getattr(self, name)!r}`: {requirement}")

    def _require_unset(self, names: Iterable[str], reason: str) -> None:
        """Options that would do nothing must have their default."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name in names:
            self._require(getattr(self, name) == defaults[name], name, f"has no effect: {reason}")

    def _require_sum_over_tokens(self) -> None:
        """For losses that are computed in pieces, or that have further tokens in them."""
        for name, values in _REFUSED_WITH_PASSES.items():
            self._require(getattr(self, name) not in values, name, "this method's loss must be a sum over tokens.")
        self._require(
            self.off_policy_mask_threshold is None,
            "off_policy_mask_threshold",
            "this method's loss must be a sum over tokens.",
        )

    def _require_choice(self, name: str, choices: Iterable[str]) -> None:
        self._require(getattr(self, name) in choices, name, f"must be one of {', '.join(map(repr, choices))}.")

    def _require_count(self, name: str) -> None:
        value = getattr(self, name)
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        self._require(is_count, name, "must be an integer of at least 1.")

    def _require_number(
        self, name: str, above: float = -math.inf, minimum: float = -math.inf, below: float = math.inf
    ) -> None:
        """A finite number in a range, of which `above` and `below` are no part."""
        value = getattr(self, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        bounds = {"above": above, "at least": minimum, "below": below}
        limits = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound))
        self._require(is_number and above < value < below and value >= minimum, name, f"must be a number {limits}.")

    @property
    def max_nfe(self) -> int:
        """Most denoising steps that a rollout can take."""
        return self.max_denoising_steps or self.max_completion_length

    @property
    def prompts_per_rollout(self) -> int:
        """Prompts that are answered before the policy is updated, those of all processes."""
        return cast(int, self.generation_batch_size) // cast(int, self.num_generations)

    def generation_config(self, eos_token_ids: tuple[int, ...] = ()) -> DiffusionGenerationConfig:
        """The sampler's settings in rollouts."""
        return DiffusionGenerationConfig(
            max_new_tokens=self.max_completion_length,
            block_length=self.block_length,
            stop_at_eos=self.stop_at_eos,
            eos_token_ids=eos_token_ids,
            unmasking=self.unmasking,
            entropy_bound=self.entropy_bound,
            confidence_threshold=self.confidence_threshold,
            max_denoising_steps=self.max_denoising_steps,
            temperature=self.temperature,
            top_k=self.top_k or None,
            top_p=self.top_p,
            max_batch_size=self.sampler_batch_size,
            approximate_cache=self.approximate_cache,
            cache_refresh_interval=self.cache_refresh_interval,
            drift_check_rate=self.drift_check_rate,
        )
