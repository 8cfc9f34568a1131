# SPDX-License-Identifier: Apache-2.0
from .agrpo_config import AGRPOConfig
from .agrpo_trainer import AGRPOTrainer
from .base_config import DiffusionGRPOConfig
from .base_trainer import DiffusionGRPOTrainer
from .collapse_guard import CollapseGuard
from .coupled_grpo_config import CoupledGRPOConfig
from .coupled_grpo_trainer import CoupledGRPOTrainer
from .d2_config import D2Config
from .d2_trainer import D2Trainer
from .diffpo_config import DiFFPOConfig
from .diffpo_trainer import DiFFPOTrainer
from .diffu_grpo_config import DiffuGRPOConfig
from .diffu_grpo_trainer import DiffuGRPOTrainer
from .dmpo_config import DMPOConfig
from .dmpo_trainer import DMPOTrainer
from .espo_config import ESPOConfig
from .espo_trainer import ESPOTrainer
from .gdpo_config import GDPOConfig
from .gdpo_trainer import GDPOTrainer
from .just_grpo_config import JustGRPOConfig
from .just_grpo_trainer import JustGRPOTrainer
from .spg_config import SPGConfig
from .spg_trainer import SPGTrainer
from .trace_rl_config import TraceRLConfig
from .trace_rl_trainer import TraceRLTrainer
from .uni_grpo_config import UniGRPOConfig
from .uni_grpo_trainer import UniGRPOTrainer
from .wd1_config import WD1Config
from .wd1_trainer import WD1Trainer


__all__ = [
    "AGRPOConfig",
    "AGRPOTrainer",
    "CollapseGuard",
    "CoupledGRPOConfig",
    "CoupledGRPOTrainer",
    "D2Config",
    "D2Trainer",
    "DMPOConfig",
    "DMPOTrainer",
    "DiFFPOConfig",
    "DiFFPOTrainer",
    "DiffuGRPOConfig",
    "DiffuGRPOTrainer",
    "DiffusionGRPOConfig",
    "DiffusionGRPOTrainer",
    "ESPOConfig",
    "ESPOTrainer",
    "GDPOConfig",
    "GDPOTrainer",
    "JustGRPOConfig",
    "JustGRPOTrainer",
    "SPGConfig",
    "SPGTrainer",
    "TraceRLConfig",
    "TraceRLTrainer",
    "UniGRPOConfig",
    "UniGRPOTrainer",
    "WD1Config",
    "WD1Trainer",
]
