# SPDX-License-Identifier: Apache-2.0
from .base import Groups, LossInputs, Objective
from .dmpo import WDCE, WDDO, TargetWeights, adaptive_coefficient, effective_sample_size
from .sequence_ratio import SequenceRatio
from .spg import SandwichedPolicyGradient
from .weighted_likelihood import WeightedLikelihood


__all__ = [
    "WDCE",
    "WDDO",
    "Groups",
    "LossInputs",
    "Objective",
    "SandwichedPolicyGradient",
    "SequenceRatio",
    "TargetWeights",
    "WeightedLikelihood",
    "adaptive_coefficient",
    "effective_sample_size",
]
