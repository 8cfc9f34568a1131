# SPDX-License-Identifier: Apache-2.0
"""
trl-diffusion: reinforcement learning for masked diffusion language models, as TRL trainers.

Importing the package registers its models with transformers' auto classes. All else is imported when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__


if TYPE_CHECKING:
    from .generation import DiffusionGenerationConfig, DiffusionSampler, Trajectory
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


# Registering takes seconds, since it loads PyTorch. The command line answers `--help` and mistakes without it, and
# registers the models itself before a command does anything: see `cli/parsing.py`.
if [Path(word).stem for word in sys.argv[:1]] != ["trl-diffusion"]:
    from . import models as models

_OF_GENERATION = ("DiffusionGenerationConfig", "DiffusionSampler", "Trajectory")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = ".generation" if name in _OF_GENERATION else ".trainer"
        return getattr(importlib.import_module(home, __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
