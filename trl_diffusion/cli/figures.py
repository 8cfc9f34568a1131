# SPDX-License-Identifier: Apache-2.0
"""Figures for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..evaluation import Comparison, Evaluation


def as_json(evaluations: Mapping[str, Evaluation], comparison: Comparison | None = None) -> str:
    """
    Args:
        evaluations (`Mapping[str, Evaluation]`):
            By name.
        comparison ([`~trl_diffusion.evaluation.Comparison`], *optional*):
            Of the second with the first.

    Returns:
        `str`: one line of JSON with the fields of the dataclasses; what is not known is `null`.
    """
    figures: dict[str, Any] = {"evaluations": {name: asdict(e) for name, e in evaluations.items()}}
    if comparison is not None:
        figures["comparison"] = asdict(comparison)
    return json.dumps(_known(figures))


def _known(value: Any) -> Any:
    """Without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _known(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_known(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
