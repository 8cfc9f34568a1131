# SPDX-License-Identifier: Apache-2.0
"""Estimators and scoring against formulas written out a second time: float64, one row and one position at a time."""

import math

import pytest
import torch

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler, Trajectory
from trl_diffusion.likelihood import ExactSteps, MeanField, RolloutBatch, TwoTimesMeanField, View, score_views
from trl_diffusion.models import DiffusionSpec

from .conftest import make_model
from .test_sampler import prompts


MASK = 1
SPEC = DiffusionSpec(mask_token_id=MASK)


@pytest.fixture
def model():
    return make_model(dtype=torch.float64)


def rollout(model, rows=6, temperature=1.0, **options):
    ids, mask = prompts(rows=rows)
    config = DiffusionGenerationConfig(
        **{"max_new_tokens": 12, "block_length": 6, "entropy_bound": 2.0, "temperature": temperature} | options
    )
    return ids, mask, DiffusionSampler(model, config).sample(ids, mask, seeds=torch.arange(rows))


def distribution(model, prompt, mask, state, position, temperature=1.0):
    """log p(. at position | prompt, state), from the plain definition: one row, one position, one forward pass."""
    visible = torch.cat([mask, torch.ones_like(state)])
    logits = model(input_ids=torch.cat([prompt, state])[None], attention_mask=visible[None]).logits
    logits = logits[0, len(prompt) + position] / temperature
    allowed = torch.arange(len(logits)) != MASK
    return (logits - torch.logsumexp(logits[allowed], 0)).masked_fill(~allowed, -math.inf)


def batch_of(ids, mask, trajectory, seeds):
    seeds = torch.zeros(len(ids)).long() if seeds is None else seeds
    return RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, seeds[:, None])


def blank_trajectory(completion_ids):
    """A completion written in a single step."""
    rows, zeros = len(completion_ids), torch.zeros(completion_ids.shape)
    return Trajectory(
        completion_ids, zeros.long(), zeros, zeros, torch.ones(rows).long(), torch.ones(rows), torch.zeros(rows),
        torch.ones(rows),
    )  # fmt: skip


def views_of(estimator, ids, mask, trajectory, seeds):
    (part,) = estimator.passes(batch_of(ids, mask, trajectory, seeds), 0, MASK)
    return part.views


def score(model, estimator, ids, mask, trajectory, seeds, **options):
    views = views_of(estimator, ids, mask, trajectory, seeds)
    return score_views(model, SPEC, views, batch_of(ids, mask, trajectory, seeds), **options)


# ---------------------------------------------------------------- estimators, each against its formula


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_exact_steps_equal_the_recorded_log_probs(model, temperature):
    ids, mask, trajectory = rollout(model, temperature=temperature)
    scores = score(model, ExactSteps(), ids, mask, trajectory, None, temperature=temperature)
    torch.testing.assert_close(scores.token_log_probs.float(), trajectory.log_probs, atol=1e-6, rtol=0)
    if temperature == 1.0:
        torch.testing.assert_close(scores.token_entropies.float(), trajectory.entropies, atol=1e-5, rtol=0)


def test_mean_field_by_hand(model):
    ids, mask, trajectory = rollout(model)
    scores = score(model, MeanField(p_mask_prompt=0.0), ids, mask, trajectory, torch.arange(6))
    blank = torch.full((12,), MASK)
    for row in range(6):
        for i in range(12):
            expected = distribution(model, ids[row], mask[row], blank, i)[trajectory.completion_ids[row, i]]
            assert scores.token_log_probs[row, i].item() == pytest.approx(expected.item(), abs=1e-10)


def test_prompt_masking_follows_the_seed_and_not_the_padding(model):
    ids, mask, trajectory = rollout(model)
    estimator, seeds = MeanField(p_mask_prompt=0.5), torch.tensor([3, 3, 4, 4, 4, 5])
    (view,) = views_of(estimator, ids, mask, trajectory, seeds)
    hidden = (view.prompt_ids == MASK) & (mask == 1)
    assert hidden.any() and not ((view.prompt_ids != ids) & (mask == 0)).any()
    width = int(mask[2:5].sum(-1).min())
    assert torch.equal(hidden[2, -width:], hidden[3, -width:]) and torch.equal(hidden[3, -width:], hidden[4, -width:])
    wider = torch.nn.functional.pad(ids, (5, 0)), torch.nn.functional.pad(mask, (5, 0))
    (again,) = views_of(estimator, *wider, trajectory, seeds)
    assert torch.equal(again.prompt_ids[:, 5:], view.prompt_ids)


def test_prompt_masking_rate():
    ids = torch.full((200, 50), 7)
    _, _, trajectory = rollout(make_model(), rows=1)
    (view,) = views_of(
        MeanField(0.15), ids, torch.ones_like(ids), trajectory[torch.zeros(200).long()], torch.arange(200)
    )
    rate = (view.prompt_ids == MASK).double().mean().item()
    assert abs(rate - 0.15) < 5 * math.sqrt(0.15 * 0.85 / ids.numel())


def test_two_times_mean_field_by_hand(model):
    ids, mask, trajectory = rollout(model)
    seeds = torch.arange(50, 56)
    tau = TwoTimesMeanField.draw_tau(trajectory.nfe, seeds)
    assert len(set(tau.tolist())) > 2
    scores = score(model, TwoTimesMeanField(), ids, mask, trajectory, seeds)
    for row in range(6):
        for i in range(12):
            # The paper counts steps from 1: token written in step t, s_tau(t) = 0 if t <= tau else tau.
            t, o = int(trajectory.unmask_step[row, i]) + 1, trajectory.completion_ids[row]
            s = 0 if t <= int(tau[row]) else int(tau[row])
            state = torch.where(trajectory.unmask_step[row] + 1 <= s, o, MASK)
            expected = distribution(model, ids[row], mask[row], state, i)[o[i]]
            assert scores.token_log_probs[row, i].item() == pytest.approx(expected.item(), abs=1e-10)


def with_tau(estimator, tau):
    """The estimator with its draw replaced: the ends of tau's range are a matter of chance otherwise."""

    class Fixed(TwoTimesMeanField):
        @staticmethod
        def draw_tau(nfe, seeds):
            return torch.as_tensor(tau).expand(nfe.shape)

    return Fixed()


def test_two_times_mean_field_at_its_ends(model):
    ids, mask, trajectory = rollout(model, entropy_bound=3.0)
    seeds = torch.arange(6)
    mean_field = score(model, MeanField(0.0), ids, mask, trajectory, seeds).token_log_probs
    first = score(model, with_tau(TwoTimesMeanField, 0), ids, mask, trajectory, seeds).token_log_probs
    torch.testing.assert_close(first, mean_field, atol=1e-12, rtol=0)

    last = score(model, with_tau(TwoTimesMeanField, trajectory.nfe - 1), ids, mask, trajectory, seeds).token_log_probs
    final = trajectory.unmask_step == trajectory.nfe[:, None] - 1
    torch.testing.assert_close(last[~final], mean_field[~final], atol=1e-12, rtol=0)
    exact = score(model, ExactSteps(), ids, mask, trajectory, None).token_log_probs
    torch.testing.assert_close(last[final], exact[final], atol=1e-12, rtol=0)
    assert (last - mean_field).abs().max() > 0.01


def test_two_times_mean_field_is_exact_at_the_first_step_and_at_tau(model):
    """Where the importance weight must be exactly one. It pins the index of tau against that of the steps."""
    ids, mask, trajectory = rollout(model)
    exact = score(model, ExactSteps(), ids, mask, trajectory, None).token_log_probs
    differs = 0
    for tau in range(int(trajectory.nfe.min())):
        surrogate = score(
            model, with_tau(TwoTimesMeanField, tau), ids, mask, trajectory, torch.arange(6)
        ).token_log_probs
        same = (trajectory.unmask_step == 0) | (trajectory.unmask_step == tau)
        torch.testing.assert_close(surrogate[same], exact[same], atol=1e-12, rtol=0)
        differs += int(((surrogate - exact).abs() > 1e-6)[~same].sum())
    assert differs > 100


def test_tau_is_uniform_over_the_steps():
    nfe = torch.full((3000,), 5)
    counts = TwoTimesMeanField.draw_tau(nfe, torch.arange(3000)).bincount(minlength=5)
    assert len(counts) == 5
    assert ((counts - 600).double().square() / 600).sum() < 4 + 6 * math.sqrt(8)


def test_unwritten_positions_are_never_scored(model):
    ids, mask, trajectory = rollout(model, eos_token_ids=(4, 5, 6, 7))
    unwritten = trajectory.unmask_step < 0
    assert unwritten.any()
    for estimator in (MeanField(), TwoTimesMeanField(), ExactSteps()):
        assert (score(model, estimator, ids, mask, trajectory, torch.arange(6)).token_log_probs[unwritten] == 0).all()
        for view in views_of(estimator, ids, mask, trajectory, torch.arange(6)):
            assert (view.weights[unwritten] == 0).all()
            assert (view.completion_ids[unwritten] == MASK).all()


# ---------------------------------------------------------------- scoring


def test_padding_does_not_change_scores(model):
    ids, mask, trajectory = rollout(model)
    together = score(model, TwoTimesMeanField(), ids, mask, trajectory, torch.arange(6)).token_log_probs
    for row in range(6):
        start = int((mask[row] == 0).sum())
        one = slice(row, row + 1)
        alone = score(
            model, TwoTimesMeanField(), ids[one, start:], mask[one, start:], trajectory[one], torch.arange(6)[one]
        )
        # Rotary angles are float32, and the position of the first token differs.
        torch.testing.assert_close(alone.token_log_probs[0], together[row], atol=1e-5, rtol=0)


def test_equal_canvases_are_forwarded_once(model):
    """A group under the mean field is one row; under 2-MF it is one row and one per completion."""
    ids, mask = prompts(rows=2)
    ids, mask = ids.repeat_interleave(4, 0), mask.repeat_interleave(4, 0)
    config = DiffusionGenerationConfig(max_new_tokens=12, block_length=6, entropy_bound=0.5)
    trajectory = DiffusionSampler(model, config).sample(ids, mask, seeds=torch.arange(8))
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    group_seeds = torch.tensor([1, 2]).repeat_interleave(4)
    scores = score(model, MeanField(), ids, mask, trajectory, group_seeds)
    assert seen == [2] and scores.canvases == 2
    seen.clear()
    score(model, with_tau(TwoTimesMeanField, 1), ids, mask, trajectory, torch.arange(8))
    hook.remove()
    states = {(i // 4, *trajectory.state_before(1, MASK)[i].tolist()) for i in range(8)}
    assert len(seen) == 1 and seen[0] <= len(states) + 2 and len(states) < 8
    one_by_one = [
        score(model, MeanField(), ids[i : i + 1], mask[i : i + 1], trajectory[i : i + 1], group_seeds[i : i + 1])
        for i in range(8)
    ]
    torch.testing.assert_close(
        scores.token_log_probs, torch.cat([s.token_log_probs for s in one_by_one]), atol=1e-10, rtol=0
    )


def test_equal_canvases_with_different_padding_stay_apart(model):
    """The padding token may also be text: only the mask tells."""
    ids = torch.tensor([[0, 0, 5], [0, 0, 5]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    completion = torch.tensor([[3, 4]] * 2)
    view = View(ids, torch.full((2, 2), MASK), torch.ones(2, 2))
    batch = batch_of(ids, mask, blank_trajectory(completion), None)
    scores = score_views(model, SPEC, [view], batch)
    assert scores.canvases == 2
    for row in range(2):
        expected = distribution(model, ids[row], mask[row], torch.full((2,), MASK), 0)[3]
        assert scores.token_log_probs[row, 0].item() == pytest.approx(expected.item(), abs=1e-10)


def test_weights_multiply_and_views_add_up(model):
    ids, mask, trajectory = rollout(model, rows=3)
    weights = torch.rand(3, 12, generator=torch.Generator().manual_seed(0)).double() * (torch.arange(12) % 3 > 0)
    views = [
        View(ids, trajectory.state_before(0, MASK), weights),
        View(ids, trajectory.state_before(2, MASK), 0.5 * (trajectory.unmask_step >= 2).double()),
    ]
    total = score_views(model, SPEC, views, batch_of(ids, mask, trajectory, None))
    parts = [
        score_views(
            model,
            SPEC,
            [View(view.prompt_ids, view.completion_ids, torch.ones(3, 12))],
            batch_of(ids, mask, trajectory, None),
        )
        for view in views
    ]
    for name in ("token_log_probs", "token_entropies"):
        expected = sum(getattr(part, name) * view.weights for part, view in zip(parts, views))
        torch.testing.assert_close(getattr(total, name), expected, atol=1e-10, rtol=0)


def test_nothing_to_score_still_has_a_gradient(model):
    ids, mask, trajectory = rollout(model, rows=2)
    view = View(ids, trajectory.state_before(0, MASK), torch.zeros(2, 12))
    scores = score_views(model, SPEC, [view], batch_of(ids, mask, trajectory, None))
    scores.token_log_probs.sum().backward()
    assert scores.token_log_probs.abs().sum() == 0
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in model.parameters())


def test_gradients_equal_finite_differences_and_the_formulas(model):
    ids, mask, trajectory = rollout(model, rows=3)
    seeds = torch.arange(3)
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(3, 12, generator=generator, dtype=torch.float64)

    def objective():
        scores = score(model, TwoTimesMeanField(), ids, mask, trajectory, seeds, temperature=0.8, entropies="grad")
        return (scores.token_log_probs * coefficients).sum() + 0.3 * scores.token_entropies.sum()

    model.zero_grad()
    objective().backward()
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        epsilon = 1e-5
        with torch.no_grad():
            parameter += epsilon * direction
            above = objective()
            parameter -= 2 * epsilon * direction
            below = objective()
            parameter += epsilon * direction
        slope = ((above - below) / (2 * epsilon)).item()
        assert (parameter.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-6), name

    # A second way: the sum of scalar log-probabilities, each from a forward pass of its own.
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    tau = TwoTimesMeanField.draw_tau(trajectory.nfe, seeds)
    for row in range(3):
        o = trajectory.completion_ids[row]
        for i in range(12):
            s = tau[row] if trajectory.unmask_step[row, i] >= tau[row] else 0
            state = torch.where(trajectory.unmask_step[row] < s, o, MASK)
            log_probs = distribution(model, ids[row], mask[row], state, i, temperature=0.8)
            words = log_probs[torch.arange(len(log_probs)) != MASK]
            (coefficients[row, i] * log_probs[o[i]] - 0.3 * (words.exp() * words).sum()).backward()
    for gradient, parameter in zip(gradients, model.parameters()):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-9, rtol=1e-7)


def test_entropies_carry_no_gradient_unless_asked(model):
    ids, mask, trajectory = rollout(model, rows=2)
    assert not score(model, MeanField(), ids, mask, trajectory, torch.arange(2)).token_entropies.requires_grad


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_bad_prompt_masking_rate(p):
    with pytest.raises(ValueError, match="p_mask_prompt"):
        MeanField(p)


def test_log_probs_are_float32_in_a_bfloat16_model():
    model = make_model().to(torch.bfloat16)
    ids, mask, trajectory = rollout(model)
    scores = score(model, ExactSteps(), ids, mask, trajectory, None)
    assert scores.log_probs.dtype == torch.float32
    # Rollout and scoring differ by bfloat16's rounding of hidden states in other batch shapes, not by that of logits.
    torch.testing.assert_close(scores.token_log_probs, trajectory.log_probs, atol=0.05, rtol=0)
    seen = trajectory.log_probs[trajectory.unmask_step >= 0]
    assert (seen.bfloat16().float() != seen).float().mean() > 0.9


def test_entropies_only_where_wanted(model):
    ids, mask, trajectory = rollout(model, rows=2)
    assert (score(model, MeanField(), ids, mask, trajectory, torch.arange(2), entropies="none").entropies == 0).all()
