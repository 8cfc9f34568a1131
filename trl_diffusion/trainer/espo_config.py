# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class ESPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`ESPOTrainer`].

    Only the parameters specific to ESPO, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the estimator

        num_elbo_samples (`int`, *optional*, defaults to `4`):
            Masks per completion, in complementary pairs: twice the paper's `num_mc`.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.2`):
            Clipping range of the ratio of sequences, per token.
        beta (`float`, *optional*, defaults to `0.0`):
            Coefficient of the KL term, half the squared gap of the ELBOs (k2), per token. The paper uses 1e-3 to 1e-2.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation. The paper's leave-one-out
            advantage is `G / (G - 1)` times this one.
    """

    num_elbo_samples: int = field(default=4, metadata={"help": "Masks per completion, in complementary pairs."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    _own_loss = True
    _used = frozenset({"epsilon", "epsilon_high"})

    def __post_init__(self):
        self._require_count("num_elbo_samples")
        self._require(self.num_elbo_samples % 2 == 0, "num_elbo_samples", "masks come in pairs; use an even number.")
        super().__post_init__()
