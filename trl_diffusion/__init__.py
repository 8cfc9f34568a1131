# SPDX-License-Identifier: Apache-2.0
"""
trl-diffusion: reinforcement learning for masked diffusion language models, as TRL trainers.

Importing the package registers its models with transformers' auto classes. Trainers, which need TRL, are imported when
they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import models as models  # registers the models
from .generation import DiffusionGenerationConfig, DiffusionSampler, Trajectory


if TYPE_CHECKING:
    from .trainer import (
        AGRPOConfig,
        AGRPOTrainer,
        CollapseGuard,
        CoupledGRPOConfig,
        CoupledGRPOTrainer,
        D2Config,
        D2Trainer,
        DiFFPOConfig,
        DiFFPOTrainer,
        DiffuGRPOConfig,
        DiffuGRPOTrainer,
        DiffusionGRPOConfig,
        DiffusionGRPOTrainer,
        DMPOConfig,
        DMPOTrainer,
        ESPOConfig,
        ESPOTrainer,
        GDPOConfig,
        GDPOTrainer,
        JustGRPOConfig,
        JustGRPOTrainer,
        SPGConfig,
        SPGTrainer,
        TraceRLConfig,
        TraceRLTrainer,
        UniGRPOConfig,
        UniGRPOTrainer,
        WD1Config,
        WD1Trainer,
    )

from .version import __version__ as __version__


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
    "DiffusionGenerationConfig",
    "DiffusionSampler",
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
    "Trajectory",
    "UniGRPOConfig",
    "UniGRPOTrainer",
    "WD1Config",
    "WD1Trainer",
]


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name in __all__:  # and not defined above
        return getattr(importlib.import_module(".trainer", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
