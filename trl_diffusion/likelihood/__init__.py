# SPDX-License-Identifier: Apache-2.0
from .estimators import Estimator, NoTokens
from .remasking_estimators import BlockMasking, CoupledMasking, QuadratureMasking, RandomMasking, SpreadMasking
from .scoring import Scores, score_views
from .trajectory_estimators import ExactSteps, MeanField, MergedSteps, SampledSteps, TwoTimesMeanField
from .views import Pass, RolloutBatch, View


__all__ = [
    "BlockMasking",
    "CoupledMasking",
    "Estimator",
    "ExactSteps",
    "MeanField",
    "MergedSteps",
    "NoTokens",
    "Pass",
    "QuadratureMasking",
    "RandomMasking",
    "RolloutBatch",
    "SampledSteps",
    "Scores",
    "SpreadMasking",
    "TwoTimesMeanField",
    "View",
    "score_views",
]
