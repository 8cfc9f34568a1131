# SPDX-License-Identifier: Apache-2.0
"""Rows with the same canvas share their forward passes, and are none the worse for it."""

import dataclasses

import pytest
import torch

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.generation.sharing import distinct, slots

from .conftest import make_model
from .test_threshold import with_head


def config(**overrides):
    return DiffusionGenerationConfig(**{"max_new_tokens": 8, "block_length": 4, "entropy_bound": 1.0} | overrides)


def groups():
    """Three rows of one prompt, two of another, and one that differs from it by its padding alone."""
    ids = torch.tensor([[5, 6, 7, 8]] * 3 + [[0, 6, 7, 8]] * 3)
    mask = torch.tensor([[1, 1, 1, 1]] * 3 + [[0, 1, 1, 1]] * 2 + [[1, 1, 1, 1]])
    return ids, mask


def rows_forwarded(model):
    counts = []
    model.model.embed_tokens.register_forward_hook(lambda module, args, output: counts.append(len(output)))
    return counts


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.7, "unmasking": "confidence_threshold", "confidence_threshold": 0.2},
        {"top_k": 5, "top_p": 0.9},
        {"temperature": 0.0},
        {"unmasking": "random"},
        {"learned_threshold": "sample"},
        {"max_batch_size": 4},
    ],
    ids=str,
)
def test_sharing_changes_no_sample(options):
    model = make_model(dtype=torch.float64)
    if "learned_threshold" in options:
        with_head(model, grid=[0.1, 1.0, 3.0])
    ids, mask = groups()
    seeds = torch.arange(6)
    sampler = DiffusionSampler(model, config(**options))
    alone = [sampler.sample(ids[i : i + 1], mask[i : i + 1], seeds=seeds[i : i + 1]) for i in range(6)]
    counts = rows_forwarded(model)
    together = sampler.sample(ids, mask, seeds=seeds)
    for field in dataclasses.fields(together):
        if field.name != "row_forwards" and getattr(together, field.name) is not None:
            expected = torch.cat([getattr(row, field.name) for row in alone])
            torch.testing.assert_close(getattr(together, field.name), expected, equal_nan=True, msg=field.name)
    assert sum(counts) == round(together.row_forwards.sum().item(), 3) < together.nfe.sum()
    assert all(torch.equal(row.row_forwards, row.nfe.float()) for row in alone)
    if "max_batch_size" not in options:
        assert counts[0] == 3  # the three kinds of canvases in the first step


def test_a_greedy_group_costs_one_row():
    ids, mask = groups()
    model = make_model(23)
    counts = rows_forwarded(model)
    trajectory = DiffusionSampler(model, config(temperature=0.0)).sample(ids[:3], mask[:3])
    assert set(counts) == {1} and len(counts) == trajectory.nfe[0]
    torch.testing.assert_close(trajectory.row_forwards, trajectory.nfe / 3)


def test_rows_that_meet_again_share_again():
    """Written in another order, the same tokens make the same canvas."""
    model = make_model(23)
    decoder = config(unmasking="random", temperature=0.0)
    model.lm_head.weight.data.zero_()  # the same token everywhere
    ids = torch.tensor([[5, 6]]).expand(12, -1)
    trajectory = DiffusionSampler(model, decoder).sample(ids, seeds=torch.arange(12))
    assert trajectory.nfe.sum() == 96
    assert trajectory.row_forwards.sum() < 2 * 15.001  # no more canvases than a block has sets of masked positions


def test_distinct_rows_and_slots():
    canvases = torch.tensor([[3, 1], [2, 9], [3, 1], [3, -1], [2, 9], [3, 1]])
    first, kind = distinct(canvases)
    assert sorted(first.tolist()) == [0, 1, 3] and torch.equal(canvases[first][kind], canvases)
    assert slots(kind).tolist() == [0, 0, 1, 0, 1, 2]
    first, kind = distinct(canvases[:0])
    assert len(first) == len(kind) == len(slots(kind)) == 0
