# SPDX-License-Identifier: Apache-2.0
from .evaluate import Evaluation, accuracy_at, evaluate, frontier, frontier_settings, wilson_interval


__all__ = ["Evaluation", "accuracy_at", "evaluate", "frontier", "frontier_settings", "wilson_interval"]
