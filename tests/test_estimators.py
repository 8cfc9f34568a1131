# SPDX-License-Identifier: Apache-2.0
"""Estimators on toys that can be enumerated: exact where exactness is claimed, and the right law everywhere else."""

import itertools
import math

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, Trajectory, embedded
from trl_diffusion.evaluation import Generations, generate, likelihood_gap, rollout_batch
from trl_diffusion.evaluation.likelihood_gap import _clustered_mean
from trl_diffusion.likelihood import (
    BlockMasking,
    CoupledMasking,
    ExactSteps,
    MeanField,
    MergedSteps,
    QuadratureMasking,
    RandomMasking,
    RolloutBatch,
    SampledSteps,
    SpreadMasking,
    TwoTimesMeanField,
    score_views,
    trajectory_estimators,
)
from trl_diffusion.models import DiffusionSpec
from trl_diffusion.tasks import sudoku

from .conftest import make_model
from .test_likelihood import batch_of, rollout
from .trainers import METHODS, spy


MASK = 1
SPEC = DiffusionSpec(mask_token_id=MASK)
WORDS = [0, 2, 3, 4]
PROMPT = [4, 2]
BOUND = 0.9  # entropies of this toy lie on both sides of it


def reward_of(text):
    return (sum((i + 2) * o for i, o in enumerate(text)) % 7) / 4 - 0.3 * (text[0] == text[-1])


# ---------------------------------------------------------------- the exact policy gradient


def toy():
    return make_model(vocab_size=5, dtype=torch.float64, init_std=0.3, seed=1)


def table_of(model):
    """log p(. | state) at each position, for each of the 125 states of a canvas of three, with its gradient."""
    states = list(itertools.product([MASK, *WORDS], repeat=3))
    logits = model(input_ids=torch.tensor([PROMPT + list(state) for state in states])).logits[:, len(PROMPT) :]
    allowed = torch.arange(5) != MASK
    log_probs = logits - logits[..., allowed].logsumexp(-1, keepdim=True)
    return dict(zip(states, log_probs))


def selections(rule, table, state):
    """What the rule may write next, with probabilities: written out again."""
    masked = [i for i in range(3) if state[i] == MASK]
    if rule == "random":
        return [((i,), 1 / len(masked)) for i in masked]
    p = table[state].detach()[:, WORDS]
    entropy = (-p.exp() * p).sum(-1).tolist()
    chosen, total = [], 0.0
    for i in sorted(masked, key=lambda i: entropy[i]):
        if total <= BOUND:
            chosen.append(i)
        total += entropy[i]
    return [(tuple(chosen), 1.0)]


def trajectories(rule, table, state=(MASK,) * 3, steps=(-1,) * 3, step=0, order=1.0):
    """All trajectories: completion, unmask_step and the probability of the positions' order."""
    if MASK not in state:
        yield state, steps, order
        return
    for chosen, probability in selections(rule, table, state):
        for tokens in itertools.product(WORDS, repeat=len(chosen)):
            after, when = list(state), list(steps)
            for i, token in zip(chosen, tokens):
                after[i], when[i] = token, step
            yield from trajectories(rule, table, tuple(after), tuple(when), step + 1, order * probability)


def state_of(completion, steps, step):
    return tuple(o if s < step else MASK for o, s in zip(completion, steps))


def as_batch(rows, table, ends=()):
    ids, steps = torch.tensor([o for o, _, _ in rows]), torch.tensor([s for _, s, _ in rows])
    entropies = torch.zeros(ids.shape)
    for r, (o, s, _) in enumerate(rows):
        for i in range(3):
            p = table[state_of(o, s, s[i])].detach()[i, WORDS]
            entropies[r, i] = -(p.exp() * p).sum()
    zeros = torch.zeros(len(rows))
    trajectory = Trajectory(
        ids, steps, torch.zeros(ids.shape), entropies, steps.amax(-1) + 1, zeros[:, None], zeros, zeros
    )
    prompt = torch.tensor([PROMPT]).expand(len(rows), -1)
    scored = trajectory.decisive_mask(trajectory.text_mask(ends))
    return RolloutBatch(prompt, torch.ones_like(prompt), scored, trajectory, torch.arange(len(rows))[:, None])


@pytest.mark.parametrize("rule", ["random", "entropy_bound"])
@pytest.mark.parametrize("distribution", ["uniform", "entropy"])
@pytest.mark.parametrize(("draws", "together"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("ends", [(), (0,)], ids=["full_length", "texts_end_early"])
def test_agrpo_averaged_over_all_draws_is_the_exact_policy_gradient(rule, distribution, draws, together, ends):
    """
    Of the expected reward, by differentiating the sum over all trajectories. Steps write one to three tokens under the
    entropy bound, so that rows have different numbers of steps. Where texts end early, tokens behind the end are seen
    by the model while it writes the rest of the text.
    """
    model = toy()
    table = table_of(model)
    rows = list(trajectories(rule, table))
    log_p = torch.stack([sum(table[state_of(o, s, s[i])][i, o[i]] for i in range(3)) for o, s, _ in rows])
    order = torch.tensor([probability for _, _, probability in rows], dtype=torch.float64)
    assert (log_p.exp() * order).sum().item() == pytest.approx(1.0)
    batch = as_batch(rows, table, ends)
    texts = batch.trajectory.texts(ends)
    assert (min(map(len, texts)) < 3) == bool(ends)
    reward = torch.tensor([reward_of(text) for text in texts], dtype=torch.float64)
    exact = torch.autograd.grad((log_p.exp() * order * reward).sum(), list(model.parameters()))

    weight = (log_p.exp() * order * reward).detach()  # of each trajectory in the expectation

    class Fixed(SampledSteps):
        def draw_steps(self, probabilities, seeds):
            return steps

    estimator = Fixed(draws, distribution, stratified=False, views_per_forward=together)
    probabilities = estimator.step_probabilities(batch.trajectory, batch.scored).double()
    assert batch.trajectory.nfe.unique().tolist() == ([3] if rule == "random" else [2, 3])
    average = [torch.zeros_like(p) for p in model.parameters()]
    for drawn in itertools.product(range(3), repeat=draws):
        steps = torch.tensor(drawn).expand(len(rows), -1)
        chance = probabilities.gather(1, steps).prod(-1)
        kept = chance > 0
        passes = estimator.passes(batch, 0, MASK)
        for part in passes:
            scores = score_views(model, SPEC, part.views, batch)
            estimate = torch.where(kept[:, None], part.token_weights * scores.token_log_probs, 0.0).sum(-1)
            loss = (weight * chance * estimate).sum() / len(passes)
            for total, gradient in zip(average, torch.autograd.grad(loss, list(model.parameters()))):
                total += gradient
    scale = math.sqrt(sum(float(g.square().sum()) for g in exact))
    error = math.sqrt(sum(float((a - g).square().sum()) for a, g in zip(average, exact)))
    assert error / scale < 1e-6


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dapo", "dr_grpo", "cispo"])
def test_agrpo_averages_to_trls_loss_over_all_tokens(build, monkeypatch, loss_type):
    """Its gradient and value, KL term and normaliser included: the mean over all single steps is the whole."""
    trainer = build(
        "agrpo",
        cls=spy(METHODS["agrpo"][1]),
        loss_type=loss_type,
        beta=0.3,
        num_iterations=2,
        max_steps=2,
        num_step_draws=1,
        step_distribution="uniform",
        unmasking="entropy_bound",
    )
    trainer.train()  # leaves a batch behind, with a policy that has moved on from it
    inputs, parameters = trainer.seen[-1]["inputs"], list(trainer.model.parameters())
    trainer.model.train()

    def loss_and_gradient():
        loss = trainer._compute_loss(trainer.model, dict(inputs))
        return [loss.detach(), *torch.autograd.grad(loss, parameters)]

    counts = [len(set(row) - {-1}) for row in inputs["rollout_unmask_step"].tolist()]
    grid = math.lcm(*counts)
    assert len(set(counts)) > 1
    average = None
    for j in range(grid):
        monkeypatch.setattr(
            trajectory_estimators,
            "uniform",
            lambda seeds, size, j=j: torch.full((len(seeds), *size), (j + 0.5) / grid, dtype=torch.float64),
        )
        values = loss_and_gradient()
        average = values if average is None else [a + v for a, v in zip(average, values)]
    trainer.estimator = ExactSteps()
    for whole, part in zip(loss_and_gradient(), average, strict=True):
        torch.testing.assert_close(part / grid, whole, atol=1e-5, rtol=1e-4)


def steps_batch(rows, steps):
    """Completions of one token per step."""
    when = torch.arange(steps).expand(rows, -1)
    generator = torch.Generator().manual_seed(0)
    entropies = torch.rand(1, steps, generator=generator).square().expand(rows, -1)
    trajectory = Trajectory(
        torch.full((rows, steps), 3), when, torch.zeros(rows, steps), entropies, when.amax(-1) + 1,
        torch.zeros(rows, 1), torch.zeros(rows), torch.zeros(rows),
    )  # fmt: skip
    ids = torch.full((rows, 2), 4)
    return RolloutBatch(ids, torch.ones_like(ids), when >= 0, trajectory, torch.arange(rows)[:, None])


@pytest.mark.parametrize("distribution", ["uniform", "entropy"])
def test_every_scheme_has_the_same_mean_and_stratification_less_variance(distribution):
    """Of a sum over tokens of given values, over 4,000 draws; the bound is six standard errors."""
    batch = steps_batch(4000, 12)
    values = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).cumsum(0)
    variances = {}
    for stratified in (False, True):
        estimator = SampledSteps(4, distribution, stratified, views_per_forward=None)
        (part,) = estimator.passes(batch, 0, MASK)
        estimates = (part.token_weights * values).sum(-1)
        error = estimates.std().item() / math.sqrt(4000)
        assert estimates.mean().item() == pytest.approx(values.sum().item(), abs=6 * error)
        torch.testing.assert_close(part.token_weights.mean(0), torch.ones(12), atol=0.2, rtol=0)
        variances[stratified] = estimates.var().item()
    assert variances[True] < 0.7 * variances[False]


def test_as_many_stratified_draws_as_steps_leave_nothing_to_chance():
    for part in SampledSteps(12, views_per_forward=None).passes(steps_batch(50, 12), 0, MASK):
        torch.testing.assert_close(part.token_weights, torch.ones(50, 12), atol=1e-5, rtol=0)


@pytest.mark.parametrize("views_per_forward", [1, 2, None])
def test_a_step_that_is_drawn_several_times_is_scored_once(views_per_forward):
    """Nine draws of four steps, of which some rows draw three."""
    batch = steps_batch(200, 4)
    estimator = SampledSteps(9, "entropy", stratified=False, views_per_forward=views_per_forward)
    probabilities = estimator.step_probabilities(batch.trajectory, batch.scored)
    counts = torch.stack([row.bincount(minlength=4) for row in estimator.draw_steps(probabilities, batch.seeds[:, 0])])
    assert set((counts > 0).sum(-1).tolist()) >= {3, 4}
    passes = estimator.passes(batch, 0, MASK)
    assert len(passes) == {1: 4, 2: 2, None: 1}[views_per_forward]
    total = sum(part.token_weights for part in passes) / len(passes)
    torch.testing.assert_close(total, counts / (9 * probabilities))
    times = sum(view.weights for part in passes for view in part.views)
    assert torch.equal(times, (counts > 0).float())


def test_draws_follow_the_entropies():
    batch = steps_batch(6000, 12)
    estimator = SampledSteps(1, "entropy", stratified=False)
    probabilities = estimator.step_probabilities(batch.trajectory, batch.scored)
    entropy = batch.trajectory.entropies[0]
    torch.testing.assert_close(probabilities[0], 0.9 * entropy / entropy.sum() + 0.1 / 12)
    counts = estimator.draw_steps(probabilities, batch.seeds[:, 0]).flatten().bincount(minlength=12)
    expected = 6000 * probabilities[0]
    assert ((counts - expected).square() / expected).sum() < 11 + 6 * math.sqrt(22)


@pytest.mark.parametrize("distribution", ["uniform", "entropy"])
def test_steps_that_wrote_no_text_are_never_drawn(distribution):
    batch = steps_batch(200, 6)
    batch.scored = batch.scored & (torch.arange(6) < 2)
    estimator = SampledSteps(3, distribution)
    steps = estimator.draw_steps(estimator.step_probabilities(batch.trajectory, batch.scored), batch.seeds[:, 0])
    assert steps.max() == 1
    batch.scored = torch.zeros_like(batch.scored)  # a completion that the loss leaves out
    for part in estimator.passes(batch, 0, MASK):
        assert (part.token_weights == 0).all() and all((view.weights == 0).all() for view in part.views)


# ---------------------------------------------------------------- merged steps


def scored(model, estimator, batch):
    """Token log-probabilities and the mean weight over passes."""
    passes = estimator.passes(batch, 0, MASK)
    total, weights = 0.0, torch.zeros(batch.scored.shape)
    for part in passes:
        scores = score_views(model, SPEC, part.views, batch)
        total = total + scores.token_log_probs
        ones = (scores.weights != 0).any(1).float()
        weights += (ones if part.token_weights is None else part.token_weights) / len(passes)
    return total, weights


def test_one_segment_is_the_mean_field_and_one_step_per_segment_is_exact():
    model = make_model(dtype=torch.float64)
    batch = batch_of(*rollout(model), None)
    exact, _ = scored(model, ExactSteps(), batch)
    mean_field, _ = scored(model, MeanField(0.0), batch)
    torch.testing.assert_close(scored(model, MergedSteps(num_segments=1), batch)[0], mean_field)
    torch.testing.assert_close(scored(model, MergedSteps(num_segments=100), batch)[0], exact)
    torch.testing.assert_close(scored(model, MergedSteps(steps_per_segment=100), batch)[0], mean_field)
    torch.testing.assert_close(exact.float(), batch.trajectory.log_probs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{"num_segments": 3}, {"steps_per_segment": 2}])
@pytest.mark.parametrize("views_per_forward", [None, 1, 2])
def test_merged_steps_by_hand(options, views_per_forward):
    model = make_model(dtype=torch.float64)
    ids, mask, trajectory = rollout(model)
    batch = batch_of(ids, mask, trajectory, None)
    total, weights = scored(model, MergedSteps(**options, views_per_forward=views_per_forward), batch)
    torch.testing.assert_close(weights, batch.scored.float())
    for row in range(6):
        steps, nfe = trajectory.unmask_step[row], int(trajectory.nfe[row])
        bounds = [n * nfe // 3 for n in range(4)] if "num_segments" in options else [*range(0, nfe, 2), nfe]
        for i in range(12):
            start = max(b for b in bounds[:-1] if b <= int(steps[i]))
            state = torch.where(steps < start, trajectory.completion_ids[row], MASK)
            canvas = torch.cat([ids[row, mask[row] == 1], state])[None]
            logits = model(input_ids=canvas).logits[0, -12 + i]
            logits[MASK] = -math.inf
            expected = logits.log_softmax(-1)[trajectory.completion_ids[row, i]]
            assert total[row, i].item() == pytest.approx(expected.item(), abs=1e-5)  # rotary angles are float32


@pytest.mark.parametrize("views_per_forward", [None, 1])
def test_views_that_score_nothing_are_left_out(views_per_forward):
    batch = steps_batch(4, 8)
    batch.scored = batch.scored & (torch.arange(8) != 2) & (torch.arange(8) < 5)
    passes = ExactSteps(views_per_forward).passes(batch, 0, MASK)
    assert sum(len(part.views) for part in passes) == 4
    batch.scored = torch.zeros_like(batch.scored)
    ((view,),) = [part.views for part in ExactSteps(views_per_forward).passes(batch, 0, MASK)]
    assert not view.weights.any()


# ---------------------------------------------------------------- the text masked anew


def fixed_masks(estimator, masks):
    estimator.masks = lambda scored, seeds: masks
    return estimator


def test_random_masking_averaged_over_all_masks_is_the_mean_over_all_orders():
    """The ELBO, found two ways: by masks of every size, and by writing the text one token at a time in every order."""
    model = toy()
    table = table_of(model)
    completion = (2, 0, 4)
    orders = [
        sum(table[tuple(completion[j] if j in order[:n] else MASK for j in range(3))][i, completion[i]]
            for n, i in enumerate(order))
        for order in itertools.permutations(range(3))
    ]  # fmt: skip
    elbo = sum(orders).item() / 6
    batch = as_batch([(completion, (0, 0, 0), 1.0)], table)
    average = 0.0
    for size in range(4):
        for subset in itertools.combinations(range(3), size):
            mask = torch.tensor([[[i in subset for i in range(3)]]])
            (part,) = fixed_masks(RandomMasking(1, antithetic=False), mask).passes(batch, 0, MASK)
            scores = score_views(model, SPEC, part.views, batch)
            average += scores.token_log_probs.sum().item() / (4 * math.comb(3, size))
    assert average == pytest.approx(elbo, abs=1e-6)  # weights are float32


def text_batch(rows=2000, lengths=(7,), length=8):
    """Completions of given lengths on a canvas of eight."""
    n = torch.tensor([lengths[r % len(lengths)] for r in range(rows)])
    batch = steps_batch(rows, length)
    batch.scored = torch.arange(length) < n[:, None]
    batch.seeds = torch.arange(3 * rows).view(rows, 3)
    return batch


@pytest.mark.parametrize("antithetic", [False, True])
def test_random_masks_have_uniform_sizes_and_positions(antithetic):
    batch = text_batch()
    masks = RandomMasking(2, antithetic).masks(batch.scored, batch.seeds[:, 0])
    assert not masks[..., 7].any()
    sizes = masks[:, 0].sum(-1).bincount(minlength=8)
    if antithetic:
        assert torch.equal(masks[:, 1], batch.scored & ~masks[:, 0])
        assert ((sizes - 250).square() / 250).sum() < 7 + 6 * math.sqrt(14)
    else:  # stratified: the first has the small half of the sizes
        assert sizes[:4].sum() == 2000 and masks[:, 1].sum(-1).min() == 4
    share = masks[:, :, :7].double().mean((0, 1))
    assert (share - 0.5).abs().max() < 6 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("views_per_forward", [None, 1, 2])
def test_random_masking_weights(views_per_forward):
    batch = text_batch(rows=6, lengths=(7, 3, 1))
    estimator = RandomMasking(4, views_per_forward=views_per_forward)
    passes = estimator.passes(batch, 1, MASK)
    assert len(passes) == 4 // (views_per_forward or 4)
    for part in passes:
        for view in part.views:
            hidden = view.completion_ids == MASK
            assert torch.equal(view.weights > 0, hidden & batch.scored) and hidden[~batch.scored].all()
            size = (view.weights > 0).sum(-1)
            expected = (batch.scored.sum(-1) + 1) / len(part.views)
            total = view.weights.sum(-1)
            torch.testing.assert_close(total, torch.where(size > 0, expected, 0.0))


def test_quadrature_integrates_what_is_constant_exactly():
    batch = text_batch(rows=4, lengths=(7, 5, 8, 2))
    for nodes in (1, 2, 3, 5):
        (part,) = QuadratureMasking(nodes).passes(batch, 0, MASK)
        total = sum(view.weights for view in part.views).sum(-1)
        torch.testing.assert_close(total, batch.scored.sum(-1).float())
        assert len(part.views) == nodes
    (part,) = QuadratureMasking(2).passes(text_batch(rows=1, lengths=(8,)), 0, MASK)
    sizes = [int((view.weights > 0).sum()) for view in part.views]
    assert sizes == [round(8 * (0.5 - 0.5 / math.sqrt(3))), round(8 * (0.5 + 0.5 / math.sqrt(3)))]


def test_coupled_masking_scores_each_token_twice():
    batch = text_batch(rows=3000, lengths=(7,))
    (part,) = CoupledMasking(0.2, 0.8).passes(batch, 0, MASK)
    full, mask, complement = (view.weights for view in part.views)
    assert torch.equal(full > 0, batch.scored)
    assert torch.equal((mask > 0) ^ (complement > 0), batch.scored)
    torch.testing.assert_close(full[batch.scored], torch.full((21000,), 0.5))
    for weights in (mask, complement):  # half of one over the rate
        size = (weights > 0).sum(-1, keepdim=True)
        torch.testing.assert_close(weights[weights > 0], (7 / (2 * size)).expand(-1, 8)[weights > 0])
        assert set(size.flatten().tolist()) == {1, 2, 3, 4, 5, 6}
        mean = weights[:, :7].double().mean(0)  # each counts half on average
        assert (mean - 0.5).abs().max() < 6 * weights[:, :7].std().item() / math.sqrt(3000)


def test_spread_masking_covers_the_range_of_rates():
    batch = text_batch(rows=500, lengths=(8, 5))
    sizes = []
    for draw in range(3):
        (part,) = SpreadMasking().passes(batch, draw, MASK)
        (view,) = part.views
        torch.testing.assert_close(part.token_weights.sum(-1), batch.scored.sum(-1).float())
        assert torch.equal(part.token_weights > 0, view.weights > 0)
        sizes.append((view.weights > 0).sum(-1))
    tokens = batch.scored.sum(-1)
    assert torch.equal(sizes[2], tokens) and set(sizes[0].tolist()) == set(range(1, 9))
    rate = sizes[0] / tokens
    assert ((sizes[1] / tokens - (1 + rate) / 2).abs() <= 1 / tokens).all()


def test_block_masking_follows_the_blocks():
    batch = text_batch(rows=400, lengths=(7, 4))
    (part,) = BlockMasking(2, block_length=2, p_mask_prompt=0.5).passes(batch, 0, MASK)
    assert (part.views[0].prompt_ids == MASK).double().mean().item() == pytest.approx(0.5, abs=0.1)
    seen = set()
    for view in part.views:
        hidden = (view.completion_ids == MASK) & batch.scored
        for row in range(400):
            blocks = [hidden[row, i : i + 2][batch.scored[row, i : i + 2]] for i in range(0, 8, 2)]
            blocks = [block for block in blocks if len(block)]
            first = next(b for b, block in enumerate(blocks) if block.any())
            assert all(block.all() for block in blocks[first + 1 :])
            seen.add((len(blocks), first))
        torch.testing.assert_close(view.weights.sum(-1), torch.full((400,), 0.5))
    assert seen == {(4, 0), (4, 1), (4, 2), (4, 3), (2, 0), (2, 1)}


@pytest.mark.parametrize(
    "estimator", [RandomMasking(4), QuadratureMasking(), CoupledMasking(), SpreadMasking(), BlockMasking(2, 4)]
)
def test_masks_belong_to_the_row(estimator):
    batch = text_batch(rows=6, lengths=(7, 3))
    (together,) = estimator.passes(batch, 1, MASK)
    for row in range(6):
        (alone,) = estimator.passes(batch[row : row + 1], 1, MASK)
        for one, other in zip(alone.views, together.views, strict=True):
            assert torch.equal(one.completion_ids[0], other.completion_ids[row])
            assert torch.equal(one.prompt_ids[0], other.prompt_ids[row])
            torch.testing.assert_close(one.weights[0], other.weights[row])
    (other_draw,) = estimator.passes(batch, 2, MASK)
    assert any(not torch.equal(a.completion_ids, b.completion_ids) for a, b in zip(together.views, other_draw.views))


# ---------------------------------------------------------------- how far surrogates are from the policy


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_likelihood_gap_by_hand(temperature):
    model = make_model(dtype=torch.float64)
    ids, mask, trajectory = rollout(model, rows=3)
    batch = batch_of(ids, mask, trajectory, None)
    gap = likelihood_gap(model, SPEC, batch, MeanField(0.0), temperature)
    for step in range(int(trajectory.nfe.max())):
        divergences = []
        for row, i in (trajectory.unmask_step == step).nonzero().tolist():
            prompt = ids[row, mask[row] == 1]
            p, q = (
                model(input_ids=torch.cat([prompt, state])[None]).logits[0, len(prompt) + i]
                for state in (trajectory.state_before(step, MASK)[row], torch.full((12,), MASK))
            )
            words = torch.arange(len(p)) != MASK
            p, q = (p[words] / temperature).log_softmax(-1), (q[words] / temperature).log_softmax(-1)
            divergences.append((p.exp() * (p - q)).sum().item())
        assert gap.mean[step] == pytest.approx(sum(divergences) / len(divergences), abs=1e-5)
    exact = likelihood_gap(model, SPEC, batch, ExactSteps())
    assert max(exact.mean) < 1e-6


def test_two_times_mean_field_is_closer_than_the_mean_field_at_every_step():
    """DiFFPO's figure 2, on the embedded model: no difference at the first step, and less after it."""
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    decoder = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, entropy_bound=0.1, eos_token_ids=(0,))
    batch = rollout_batch(generate(model, tokenizer, sudoku.make_dataset("test", 120), decoder), draws=10)
    one = likelihood_gap(model, SPEC, batch, MeanField(0.0))
    two = likelihood_gap(model, SPEC, batch, TwoTimesMeanField())
    assert one.mean[0] == pytest.approx(0, abs=1e-5) and two.mean[0] == pytest.approx(0, abs=1e-5)
    # The last step was reached by one rollout, whose only token tells nothing.
    steps = [step for step, error in enumerate(one.standard_error) if not math.isnan(error)]
    assert len(steps) >= 8 and all(two.mean[step] < one.mean[step] for step in steps[1:])


def test_rollouts_of_saved_samples():
    """The texts of the samples, of prompts of several lengths, with seeds that differ by sample and draw."""
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    dataset = Dataset.from_list([{"prompt": "1234341221434321="}, {"prompt": "12="}])
    decoder = DiffusionGenerationConfig(max_new_tokens=20, block_length=20, eos_token_ids=(0,))
    generations = generate(model, tokenizer, dataset, decoder, num_samples=3)
    batch = rollout_batch(generations, draws=4)
    assert len(batch) == 6 and batch.seeds.shape == (6, 4) and len(batch.seeds.unique()) == 24
    for row, sample in enumerate(generations.samples):
        assert batch.prompt_ids[row][batch.prompt_mask[row] == 1].tolist() == sample.prompt_ids
        assert batch.scored[row].sum() == sample.tokens
        assert torch.equal(batch.trajectory.unmask_step[row], sample.trajectory.unmask_step[0])
    assert max(likelihood_gap(model, SPEC, batch, ExactSteps()).mean) < 1e-5
    for nothing, message in (
        (lambda: rollout_batch(generations, draws=0), "`draws` must be at least 1, got 0"),
        (lambda: rollout_batch(Generations(generations.header, [])), "`generations` is empty"),
        (lambda: likelihood_gap(model, SPEC, batch, MeanField(0.0), 0.0), "`temperature` must be positive, got 0.0"),
        (lambda: likelihood_gap(model, SPEC, batch, MeanField(0.0), batch_size=0), "`batch_size` must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            nothing()


def test_likelihood_gap_does_not_depend_on_how_many_rows_are_scored_at_a_time():
    model = make_model()
    ids, mask, trajectory = rollout(model, rows=5)
    batch = batch_of(ids, mask, trajectory, torch.arange(5))
    for estimator in (MeanField(0.0), TwoTimesMeanField(), MergedSteps(num_segments=4)):
        whole, split = (likelihood_gap(model, SPEC, batch, estimator, batch_size=size) for size in (5, 2))
        assert split.mean == pytest.approx(whole.mean, abs=1e-6, nan_ok=True)
        assert split.standard_error == pytest.approx(whole.standard_error, abs=1e-6, nan_ok=True)


# ---------------------------------------------------------------- standard errors of means of clusters


def test_tokens_of_a_rollout_that_are_all_alike_count_once():
    """In closed form: the standard error of the rollouts' values, whatever the number of tokens in each."""
    of_rows = torch.tensor([0.1, 0.7, 0.2, 1.3, 0.0], dtype=torch.float64)
    expected = (of_rows.std() / 5**0.5).item()
    for tokens in (1, 2, 40):
        mean, error = _clustered_mean(of_rows.repeat_interleave(tokens), torch.arange(5).repeat_interleave(tokens))
        assert (mean, error) == pytest.approx((of_rows.mean().item(), expected), abs=1e-12)
    assert all(map(math.isnan, _clustered_mean(torch.zeros(0), torch.zeros(0).long())))
    one, error = _clustered_mean(torch.tensor([1.0, 3.0]), torch.tensor([7, 7]))
    assert one == 2.0 and math.isnan(error)


def test_standard_error_agrees_with_a_bootstrap_over_rollouts():
    """Rollouts with different numbers of tokens, and tokens that are alike within them."""
    random = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 9, (80,), generator=random)
    rows = torch.arange(80).repeat_interleave(sizes)
    values = torch.rand(80, generator=random)[rows] + 0.3 * torch.rand(len(rows), generator=random)
    _, error = _clustered_mean(values, rows)
    sums = torch.zeros(80).index_add(0, rows, values)
    drawn = torch.randint(80, (20_000, 80), generator=random)
    means = sums[drawn].sum(-1) / sizes[drawn].sum(-1)
    assert error == pytest.approx(means.std().item(), rel=0.03)
    assert error > 1.5 * (values.std() / len(values) ** 0.5).item()


def test_rollouts_of_a_prompt_are_one_cluster():
    model = make_model()
    ids, mask, trajectory = rollout(model, rows=6)
    apart = batch_of(ids, mask, trajectory, None)
    twice = torch.arange(6).repeat_interleave(2)
    again = RolloutBatch(ids[twice], mask[twice], apart.scored[twice], trajectory[twice], apart.seeds[twice])
    one, two = (likelihood_gap(model, SPEC, batch, MeanField(0.0)) for batch in (apart, again))
    assert two.standard_error == pytest.approx(one.standard_error, abs=1e-6, nan_ok=True)
    assert not math.isnan(one.standard_error[0])
