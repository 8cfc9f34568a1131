# SPDX-License-Identifier: Apache-2.0
from .estimators import Estimator, ExactSteps, MeanField, TwoTimesMeanField
from .scoring import Scores, score_views
from .views import View


__all__ = ["Estimator", "ExactSteps", "MeanField", "Scores", "TwoTimesMeanField", "View", "score_views"]
