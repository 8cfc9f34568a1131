# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import dataclass, field

from .base_config import DiffusionGRPOConfig


@dataclass
class GDPOConfig(DiffusionGRPOConfig):
    r"""
    Configuration of [`GDPOTrainer`].

    Only the parameters specific to GDPO, or with another default than in [`~trl.GRPOConfig`], are listed.

    Parameters:
        > Parameters that control the estimator

        num_quadrature_nodes (`int`, *optional*, defaults to `3`):
            Masking rates at which the ELBO is evaluated, one mask each.

        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.2`):
            Clipping range of the ratio of sequences.
        beta (`float`, *optional*, defaults to `0.0`):
            Coefficient of the KL term, half the squared gap of the ELBOs (k2), per token.
        scale_rewards (`str`, *optional*, defaults to `"none"`):
            Advantages are centred, and not divided by the standard deviation.
    """

    num_quadrature_nodes: int = field(default=3, metadata={"help": "Masking rates at which the ELBO is evaluated."})
    scale_rewards: str = field(default="none", metadata={"help": "How advantages are scaled, see GRPOConfig."})

    _own_loss = True
    _used = frozenset({"epsilon", "epsilon_high"})

    def __post_init__(self):
        self._require_count("num_quadrature_nodes")
        super().__post_init__()
