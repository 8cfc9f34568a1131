# SPDX-License-Identifier: Apache-2.0
from . import llada
from .llada import LLaDAConfig, LLaDAModel, LLaDAModelLM
from .spec import DiffusionFamily, DiffusionSpec, get_family, register_family, resolve_spec
from .threshold import ThresholdHeadConfig, ThresholdHeadMixin, ThresholdPolicy, threshold_policy


llada.register()

__all__ = [
    "DiffusionFamily",
    "DiffusionSpec",
    "LLaDAConfig",
    "LLaDAModel",
    "LLaDAModelLM",
    "ThresholdHeadConfig",
    "ThresholdHeadMixin",
    "ThresholdPolicy",
    "get_family",
    "register_family",
    "resolve_spec",
    "threshold_policy",
]
