# SPDX-License-Identifier: Apache-2.0
from .config import DiffusionGenerationConfig
from .sampler import DiffusionSampler
from .trajectory import Trajectory


__all__ = ["DiffusionGenerationConfig", "DiffusionSampler", "Trajectory"]
