# SPDX-License-Identifier: Apache-2.0
from .calibration import ThresholdUse, threshold_calibration
from .comparison import Comparison, compare, different_settings, paired_interval, sign_flip_p_value
from .evaluate import evaluate
from .frontiers import accuracy_at, frontier, frontier_settings, load_sweep, sweep
from .generate import generate
from .generations import Generation, Generations, load_generations
from .intervals import clustered_interval, wilson_interval
from .likelihood_bound import likelihood_bound
from .likelihood_gap import LikelihoodGap, likelihood_gap, rollout_batch
from .scoring import Evaluation, pass_at_k, rewards_of, score


__all__ = [
    "Comparison",
    "Evaluation",
    "Generation",
    "Generations",
    "LikelihoodGap",
    "ThresholdUse",
    "accuracy_at",
    "clustered_interval",
    "compare",
    "different_settings",
    "evaluate",
    "frontier",
    "frontier_settings",
    "generate",
    "likelihood_bound",
    "likelihood_gap",
    "load_generations",
    "load_sweep",
    "paired_interval",
    "pass_at_k",
    "rewards_of",
    "rollout_batch",
    "score",
    "sign_flip_p_value",
    "sweep",
    "threshold_calibration",
    "wilson_interval",
]
