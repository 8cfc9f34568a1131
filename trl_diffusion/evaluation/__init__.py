# SPDX-License-Identifier: Apache-2.0
from .evaluate import Evaluation, accuracy_at, evaluate, frontier, frontier_settings, wilson_interval
from .likelihood_gap import LikelihoodGap, likelihood_gap


__all__ = [
    "Evaluation",
    "LikelihoodGap",
    "accuracy_at",
    "evaluate",
    "frontier",
    "frontier_settings",
    "likelihood_gap",
    "wilson_interval",
]
