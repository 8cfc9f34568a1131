# SPDX-License-Identifier: Apache-2.0
from . import a2d, dream, llada, sdar
from .a2d import convert_causal_lm
from .bidirectional import BidirectionalMixin, MaskedDiffusionConfigMixin, MaskedDiffusionMixin
from .checks import length_problems, token_problems
from .dream import DreamConfig, DreamModel, DreamTokenizer
from .end_tokens import end_of_turn_token, end_tokens
from .llada import LLaDAConfig, LLaDAModel, LLaDAModelLM
from .lora import resolve_lora_targets
from .sdar import SDARConfig, SDARForCausalLM
from .spec import DiffusionFamily, DiffusionSpec, get_family, register_family, resolve_spec
from .threshold import ThresholdHeadConfig, ThresholdHeadMixin, ThresholdPolicy, threshold_policy


for family in (llada, dream, a2d, sdar):
    family.register()

__all__ = [
    "BidirectionalMixin",
    "DiffusionFamily",
    "DiffusionSpec",
    "DreamConfig",
    "DreamModel",
    "DreamTokenizer",
    "LLaDAConfig",
    "LLaDAModel",
    "LLaDAModelLM",
    "MaskedDiffusionConfigMixin",
    "MaskedDiffusionMixin",
    "SDARConfig",
    "SDARForCausalLM",
    "ThresholdHeadConfig",
    "ThresholdHeadMixin",
    "ThresholdPolicy",
    "convert_causal_lm",
    "end_of_turn_token",
    "end_tokens",
    "get_family",
    "length_problems",
    "register_family",
    "resolve_lora_targets",
    "resolve_spec",
    "threshold_policy",
    "token_problems",
]
