# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_diffusion.generation.unmasking import (
    RULES,
    SCHEDULED_RULES,
    THRESHOLD_RULES,
    BlockStatistics,
    confidence_threshold,
    entropy_bound,
    left_to_right,
    low_confidence,
    select_top,
)


@st.composite
def statistics(draw, rows=3, block=6):
    """Statistics of real distributions over 5 tokens, with at least one masked position per row."""
    numbers = st.floats(-8, 8, allow_nan=False, width=32)
    logits = torch.tensor(draw(st.lists(numbers, min_size=rows * block * 5, max_size=rows * block * 5)))
    probs = logits.view(rows, block, 5).softmax(-1)
    masked = torch.tensor(draw(st.lists(st.booleans(), min_size=rows * block, max_size=rows * block)))
    masked = masked.view(rows, block)
    masked[:, draw(st.integers(0, block - 1))] = True
    noise = torch.tensor(draw(st.permutations(range(block)))).float().expand(rows, block) / block
    return BlockStatistics(
        masked=masked,
        p_max=probs.amax(-1),
        entropy=torch.special.entr(probs).sum(-1),
        order_noise=noise,
    )


thresholds = st.floats(0, 4, allow_nan=False, width=32)


def select(name, stats, value):
    dtype = torch.long if name in SCHEDULED_RULES else torch.float32
    return RULES[name](stats, torch.full((stats.masked.shape[0],), value, dtype=dtype))


@given(statistics(), st.sampled_from(sorted(RULES)), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_every_rule_writes_at_least_one_masked_position_and_no_other(stats, name, value):
    selected = select(name, stats, value)
    assert (selected & ~stats.masked).sum() == 0
    assert (selected.sum(-1) >= 1).all()


@given(statistics(), st.sampled_from(sorted(SCHEDULED_RULES)), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_scheduled_rules_write_the_count_they_are_given(stats, name, count):
    selected = select(name, stats, count)
    assert torch.equal(selected.sum(-1), stats.masked.sum(-1).clamp(max=count))


@given(statistics(), st.sampled_from(sorted(THRESHOLD_RULES)), thresholds, thresholds)
@settings(max_examples=100, deadline=None)
def test_threshold_rules_are_monotone(stats, name, one, other):
    low, high = sorted((one, other))
    bolder, shyer = (high, low) if name == "entropy_bound" else (low, high)
    assert (select(name, stats, shyer) & ~select(name, stats, bolder)).sum() == 0


@given(statistics(), thresholds)
@settings(max_examples=100, deadline=None)
def test_entropy_bound_is_the_papers_rule(stats, bound):
    """The longest prefix, in ascending entropy, with sum(H) - max(H) <= bound, found by trying every length."""
    selected = select("entropy_bound", stats, bound)
    for row in range(stats.masked.shape[0]):
        order = sorted(
            (float(stats.entropy[row, i]), i) for i in range(stats.masked.shape[1]) if bool(stats.masked[row, i])
        )
        sizes = [
            n
            for n in range(1, len(order) + 1)
            if sum(h for h, _ in order[:n]) - max(h for h, _ in order[:n]) <= bound + 1e-5
        ]
        surely = [
            n
            for n in range(1, len(order) + 1)
            if sum(h for h, _ in order[:n]) - max(h for h, _ in order[:n]) <= bound - 1e-5
        ]
        assert max(surely, default=1) <= int(selected[row].sum()) <= max(sizes, default=1)
        chosen = {i for _, i in order[: int(selected[row].sum())]}
        entropies = sorted(float(stats.entropy[row, i]) for i in selected[row].nonzero().flatten().tolist())
        assert entropies == pytest.approx([h for h, _ in order[: len(chosen)]])


@given(statistics())
@settings(max_examples=50, deadline=None)
def test_limits(stats):
    assert torch.equal(select("entropy_bound", stats, math.inf), stats.masked)
    assert torch.equal(select("confidence_threshold", stats, 0.0), stats.masked)
    one = select("confidence_threshold", stats, 1.1)
    assert (one.sum(-1) == 1).all()
    certain = (stats.entropy == 0) & stats.masked
    none_free = select("entropy_bound", stats, 0.0)
    assert torch.equal(none_free.sum(-1), (certain.sum(-1) + 1).minimum(stats.masked.sum(-1)))


def make(entropy, p_max, masked):
    return BlockStatistics(
        masked=torch.tensor([masked]),
        p_max=torch.tensor([p_max]),
        entropy=torch.tensor([entropy]),
        order_noise=torch.zeros(1, len(masked)),
    )


def test_rules_by_hand():
    stats = make(entropy=[0.5, 0.1, 0.2, 0.0], p_max=[0.6, 0.95, 0.9, 1.0], masked=[True, True, True, False])
    assert entropy_bound(stats, torch.tensor([0.09])).tolist() == [[False, True, False, False]]
    assert entropy_bound(stats, torch.tensor([0.1])).tolist() == [[False, True, True, False]]
    assert entropy_bound(stats, torch.tensor([0.31])).tolist() == [[True, True, True, False]]
    assert confidence_threshold(stats, torch.tensor([0.9])).tolist() == [[False, True, True, False]]
    assert confidence_threshold(stats, torch.tensor([0.99])).tolist() == [[False, True, False, False]]
    assert low_confidence(stats, torch.tensor([2])).tolist() == [[False, True, True, False]]
    assert left_to_right(stats, torch.tensor([2])).tolist() == [[True, True, False, False]]


def test_thresholds_differ_by_row():
    stats = make(entropy=[0.5, 0.1, 0.2], p_max=[0.6, 0.95, 0.9], masked=[True, True, True])
    stats = BlockStatistics(*(x.expand(2, 3) for x in (stats.masked, stats.p_max, stats.entropy, stats.order_noise)))
    assert entropy_bound(stats, torch.tensor([0.0, 9.0])).sum(-1).tolist() == [1, 3]


def test_ties_go_to_the_left():
    masked = torch.tensor([[False, True, True, True]])
    assert select_top(torch.ones(1, 4), masked, torch.tensor([2])).tolist() == [[False, True, True, False]]
