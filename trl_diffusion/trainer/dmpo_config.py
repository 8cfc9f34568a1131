# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..objectives.dmpo import WEIGHT_BASELINES
from .base_config import DiffusionGRPOConfig


OBJECTIVES = ("wdce", "wddo")
SEQUENCE_LOG_PROBS = ("elbo", "exact")


@dataclass
class DMPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`DMPOTrainer`].

    Only the parameters specific to DMPO, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the target distribution

        beta (`float`, *optional*, defaults to `0.1`):
            Temperature of the target `p_ref exp(r / beta)`, the paper's alpha: the coefficient of the KL divergence to
            the reference policy in the problem that the target solves. Must be positive, and fit the scale of the
            rewards.
        proximal_coefficient (`float`, *optional*, defaults to `1.0`):
            Share of the way to the target that one batch of rollouts aims for, the paper's c: `1` is the target
            itself.
        min_ess (`float`, *optional*):
            Chooses the coefficient for each group instead: the largest that keeps this share of the group's effective
            sample size.
        sequence_log_probs (`str`, *optional*, defaults to `"elbo"`):
            How `log p_ref - log p_old` of a completion is computed: `"elbo"`, or `"exact"` along its trajectory, at
            the price of a forward pass per denoising step.
        num_elbo_samples (`int`, *optional*, defaults to `4`):
            Masks for that ELBO, in antithetic pairs, the same for both policies.

        > Parameters that control the loss

        objective (`str`, *optional*, defaults to `"wdce"`):
            `"wdce"`, weighted denoising cross-entropy, or `"wddo"`, weighted direct discriminative optimisation.
        num_replicates (`int`, *optional*, defaults to `4`):
            Masks per completion and update.
        antithetic_masks (`bool`, *optional*, defaults to `True`):
            Whether masks come in pairs, a mask and its complement.
        weight_baseline (`str`, *optional*, defaults to `"model"`):
            What is subtracted from WDCE's weights: `"model"`, `"group"`, `"none"` or `"negative"` (the authors'
            default), see [`~trl_diffusion.objectives.WDCE`]. `"group"` is for a single update per batch of rollouts.
            With `"negative"` the target is no fixed point: trained to convergence, it maximises the reward.
        baseline_strength (`float`, *optional*, defaults to `1.0`):
            Factor on the baseline.
        discriminator_scale (`float`, *optional*, defaults to `1.0`):
            WDDO's factor on the log-ratio of current to old policy. The log-ratio is of whole completions, and
            saturates where they are long: lower the factor then.
        fake_weight (`float`, *optional*, defaults to `1.0`):
            WDDO's weight of the old policy's own samples.
        num_iterations (`int`, *optional*, defaults to `8`):
            Updates per batch of rollouts, with new masks each.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Must be `"none"`: `beta` sets the scale of the rewards.
        views_per_forward (`int`, *optional*):
            Masks of each completion that go through the model at once, under WDCE with another baseline than
            `"model"`. Must divide `num_replicates`. Defaults to all of them.
    """

    beta: float = field(
        default=0.1, metadata={"help": "Temperature of the target p_ref exp(r / beta), the paper's alpha."}
    )
    proximal_coefficient: float = field(
        default=1.0, metadata={"help": "Share of the way to the target that one batch aims for, the paper's c."}
    )
    min_ess: float | None = field(
        default=None,
        metadata={"help": "Chooses the coefficient per group: the largest that keeps this effective sample size."},
    )
    sequence_log_probs: str = field(
        default="elbo",
        metadata={"help": "How log p_ref - log p_old is computed.", "choices": SEQUENCE_LOG_PROBS},
    )
    num_elbo_samples: int = field(default=4, metadata={"help": "Masks for that ELBO, in antithetic pairs."})
    objective: str = field(default="wdce", metadata={"help": "The loss.", "choices": OBJECTIVES})
    num_replicates: int = field(default=4, metadata={"help": "Masks per completion and update."})
    antithetic_masks: bool = field(default=True, metadata={"help": "Whether masks come in complementary pairs."})
    weight_baseline: str = field(
        default="model",
        metadata={"help": "What is subtracted from WDCE's weights.", "choices": WEIGHT_BASELINES},
    )
    baseline_strength: float = field(default=1.0, metadata={"help": "Factor on the baseline."})
    discriminator_scale: float = field(default=1.0, metadata={"help": "WDDO's factor on the log-ratio."})
    fake_weight: float = field(default=1.0, metadata={"help": "WDDO's weight of the old policy's own samples."})
    num_iterations: int = field(default=8, metadata={"help": "Updates per batch of rollouts."})
    scale_rewards: str = field(default="none", metadata={"help": "Must be 'none'."})
    views_per_forward: int | None = field(
        default=None, metadata={"help": "Masks of each completion that go through the model at once."}
    )

    _own_loss = True
    _refused = {
        "multi_objective_aggregation": "`beta` sets the scale of the rewards, which must not be normalised one by one."
    }

    def __post_init__(self):
        self._require(
            isinstance(self.beta, (int, float)) and 0 < self.beta < math.inf,
            "beta",
            "the temperature of the target (the paper's alpha) must be a number above 0.",
        )
        self._require(
            self.scale_rewards in ("none", False), "scale_rewards", "`beta` sets the scale of the rewards; use 'none'."
        )
        self._require_choice("objective", OBJECTIVES)
        self._require_choice("sequence_log_probs", SEQUENCE_LOG_PROBS)
        self._require_choice("weight_baseline", WEIGHT_BASELINES)
        self._require_number("baseline_strength", minimum=0)
        self._require_number("discriminator_scale", above=0)
        self._require_number("fake_weight", above=0)
        self._require_number("proximal_coefficient", above=0)
        self._require(self.proximal_coefficient <= 1, "proximal_coefficient", "must be at most 1.")
        if self.min_ess is not None:
            self._require_number("min_ess", above=0, below=1)
        for name, is_paired in (("num_elbo_samples", True), ("num_replicates", self.antithetic_masks)):
            self._require_count(name)
            self._require(
                not is_paired or getattr(self, name) % 2 == 0,
                name,
                "antithetic masks come in pairs; use an even number"
                + (", or `antithetic_masks=False`." if name == "num_replicates" else "."),
            )
        self._check_combinations()
        super().__post_init__()
        self._require(
            not self._uses_model_baseline or self.per_device_train_batch_size * self.world_size > 1,
            "weight_baseline",
            "is normalised over a micro-batch, and this one has a single completion. Raise "
            "`per_device_train_batch_size`, or use 'none'.",
        )

    @property
    def _uses_model_baseline(self) -> bool:
        return self.objective == "wdce" and self.weight_baseline == "model"

    def _check_combinations(self) -> None:
        if self.objective == "wddo":
            self._require_unset(("weight_baseline", "baseline_strength"), "WDDO has no baseline.")
        else:
            self._require_unset(("discriminator_scale", "fake_weight"), "they belong to `objective='wddo'`.")
        if self.weight_baseline == "none":
            self._require_unset(("baseline_strength",), "there is no baseline.")
        if self.min_ess is not None:
            self._require_unset(("proximal_coefficient",), "`min_ess` chooses it.")
        if self.sequence_log_probs == "exact":
            self._require_unset(("num_elbo_samples",), "`sequence_log_probs='exact'` takes no ELBO.")
        if self.objective == "wddo" or self._uses_model_baseline:
            which = "WDDO" if self.objective == "wddo" else "`weight_baseline='model'`"
            self._require_unset(("views_per_forward",), f"{which} needs all masks of a completion at once.")
        if self.views_per_forward is not None:
            self._require_count("views_per_forward")
            self._require(
                self.num_replicates % self.views_per_forward == 0,
                "views_per_forward",
                f"must divide `num_replicates={self.num_replicates}`.",
            )
