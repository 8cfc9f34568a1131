# SPDX-License-Identifier: Apache-2.0
from . import llada
from .llada import LLaDAConfig, LLaDAModel, LLaDAModelLM
from .spec import DiffusionFamily, DiffusionSpec, get_family, register_family, resolve_spec


llada.register()

__all__ = [
    "DiffusionFamily",
    "DiffusionSpec",
    "LLaDAConfig",
    "LLaDAModel",
    "LLaDAModelLM",
    "get_family",
    "register_family",
    "resolve_spec",
]
