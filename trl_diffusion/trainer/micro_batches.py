# SPDX-License-Identifier: Apache-2.0
"""Which rows go through the model together."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.utils import split_tensor_dict

from ..generation.sharing import distinct


def reunite_groups(batches: list[dict[str, Any]], window: int) -> list[dict[str, Any]]:
    """
    Bring the completions of a prompt together again that TRL's shuffle has scattered, as far as one update sees them.

    Which rows share a micro-batch makes no difference to an update, unless its loss is normalised by the tokens of a
    micro-batch (`"bnpo"`, the entropy bonus), which then are those of whole groups. But completions of the same prompt
    share canvases, and a canvas goes through the model once per micro-batch.

    Args:
        batches (`list[dict[str, Any]]`):
            Micro-batches of equal size. Their entry `"group"`, `(rows,)`, tells the prompts apart.
        window (`int`):
            Micro-batches in an update.

    Returns:
        `list[dict[str, Any]]`: the same rows in as many micro-batches, groups in the order in which they first occur.
    """
    reunited = []
    for start in range(0, len(batches), window):
        part = batches[start : start + window]
        first, kind = distinct(torch.cat([batch["group"] for batch in part])[:, None])
        order = first[kind].argsort(stable=True)
        rows = {name: _concatenate([batch[name] for batch in part], order) for name in part[0]}
        reunited += split_tensor_dict(rows, len(part))
    return reunited


def _concatenate(values: list[Any], order: torch.Tensor) -> Any:
    """One entry of all micro-batches, in a new order. What has no rows is the same in all of them."""
    if isinstance(values[0], torch.Tensor) and values[0].dim() > 0:
        return torch.cat(values)[order]
    if isinstance(values[0], list):
        together = [value for part in values for value in part]
        return [together[row] for row in order.tolist()]
    return values[0]
