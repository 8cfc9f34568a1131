# SPDX-License-Identifier: Apache-2.0
from .base_config import DiffusionGRPOConfig
from .base_trainer import DiffusionGRPOTrainer
from .diffpo_config import DiFFPOConfig
from .diffpo_trainer import DiFFPOTrainer
from .diffu_grpo_config import DiffuGRPOConfig
from .diffu_grpo_trainer import DiffuGRPOTrainer


__all__ = [
    "DiFFPOConfig",
    "DiFFPOTrainer",
    "DiffuGRPOConfig",
    "DiffuGRPOTrainer",
    "DiffusionGRPOConfig",
    "DiffusionGRPOTrainer",
]
