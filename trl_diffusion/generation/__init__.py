# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .config import DiffusionGenerationConfig
    from .sampler import DiffusionSampler
    from .trajectory import Trajectory


__all__ = ["DiffusionGenerationConfig", "DiffusionSampler", "Trajectory"]

_WHERE = {"DiffusionGenerationConfig": ".config", "DiffusionSampler": ".sampler", "Trajectory": ".trajectory"}


def __getattr__(name: str) -> Any:
    if name in _WHERE:  # settings are known without PyTorch
        return getattr(importlib.import_module(_WHERE[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
