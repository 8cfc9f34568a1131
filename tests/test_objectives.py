# SPDX-License-Identifier: Apache-2.0
"""Objectives against their formulas, written out one completion at a time, and DMPO against its closed form."""

import itertools
import math

import pytest
import torch
from datasets import Dataset
from transformers import PrinterCallback

from trl_diffusion.likelihood import RandomMasking, Scores
from trl_diffusion.objectives import (
    WDCE,
    WDDO,
    Groups,
    LossInputs,
    SandwichedPolicyGradient,
    SequenceRatio,
    TargetWeights,
    WeightedLikelihood,
    adaptive_coefficient,
    effective_sample_size,
)

from .conftest import make_model
from .trainers import make_trainer


G, ROWS, VIEWS, LENGTH = 4, 8, 2, 6


def some_inputs(seed=0, **overrides):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.tensor([5, 3, 5, 4, 1, 4, 5, 2])  # none as long as the canvas
    mask = torch.arange(LENGTH) < lengths[:, None]
    hidden = (random(ROWS, VIEWS, LENGTH) > 0) & mask[:, None]
    weights = hidden / (VIEWS * hidden.sum(-1, keepdim=True).clamp(min=1))
    log_probs = (-random(ROWS, VIEWS, LENGTH).abs() * hidden).requires_grad_()
    scores = Scores(log_probs, torch.zeros_like(log_probs), weights, canvases=0)
    values = {
        "scores": scores,
        "mask": mask,
        "advantages": random(ROWS),
        "old_log_probs": scores.token_log_probs.detach() + 0.1 * random(ROWS, LENGTH) * mask,
        "ref_log_probs": scores.token_log_probs.detach() + 0.2 * random(ROWS, LENGTH) * mask,
        "row_weights": random(ROWS),
    }
    return LossInputs(**values | overrides)


def rows_of(inputs):
    """Per completion: sum of current, old and reference scores, its advantage, weight and length."""
    scores, old, ref = inputs.scores.token_log_probs, inputs.old_log_probs, inputs.ref_log_probs
    for i in range(ROWS):
        n = int(inputs.mask[i].sum())
        yield (
            *(x[i, :n].sum().item() for x in (scores.detach(), old, ref)),
            inputs.advantages[i].item(),
            inputs.row_weights[i].item(),
            n,
        )


# ---------------------------------------------------------------- formulas


def test_wd1():
    inputs = some_inputs()
    loss, _ = WeightedLikelihood(psi=2.0)(inputs)
    assert loss.item() == pytest.approx(-sum(w * new for new, _, _, _, w, _ in rows_of(inputs)) / ROWS)
    counted = torch.tensor([[True, True, False, True], [False] * 4])
    weights, _ = WeightedLikelihood(psi=2.0).group_weights(
        Groups(torch.tensor([[1.0, 0.0, 7.0, -0.5], [1.0, 2.0, 3.0, 4.0]]), torch.full((2, 4), 3), counted)
    )
    up = [math.exp(2 * a) for a in (1.0, 0.0, -0.5)]
    down = [math.exp(-2 * a) for a in (1.0, 0.0, -0.5)]
    expected = [u / sum(up) - d / sum(down) for u, d in zip(up, down)]
    assert sum(expected) == pytest.approx(0)
    assert weights[0].tolist() == pytest.approx([*expected[:2], 0, expected[2]]) and not weights[1].any()


@pytest.mark.parametrize("normalize", [True, False])
def test_sequence_ratio(normalize):
    inputs = some_inputs()
    loss, metrics = SequenceRatio(normalize, 0.02, 0.05, beta=0.3)(inputs)
    total, clipped = 0.0, 0
    for new, old, ref, advantage, _, n in rows_of(inputs):
        rho = math.exp((new - old) / (n if normalize else 1))
        bounded = min(max(rho, 0.98), 1.05)
        term = -min(rho * advantage, bounded * advantage)
        total += term / (1 if normalize else n) + 0.3 * (new - ref) ** 2 / (2 * n)
        clipped += bounded != rho and term != -rho * advantage
    assert loss.item() == pytest.approx(total / ROWS)
    assert metrics["clip_ratio/region_mean"].sum().item() == clipped > 0


def test_spg():
    inputs = some_inputs()
    loss, _ = SandwichedPolicyGradient(0.4, 1.5)(inputs)
    p, hidden = inputs.scores.log_probs.detach().exp(), inputs.scores.weights > 0
    total = 0.0
    for i, (_, _, _, advantage, weight, n) in enumerate(rows_of(inputs)):
        lower = sum(p[i, v].log()[hidden[i, v]].mean().item() / VIEWS for v in range(VIEWS) if hidden[i, v].any())
        uppers = []
        for t in range(n):
            terms = [p[i, v, t].item() ** 1.5 * n / int(hidden[i, v].sum()) for v in range(VIEWS) if hidden[i, v, t]]
            if terms:
                uppers.append(math.log(sum(terms) / VIEWS) / 1.5)
        upper = sum(uppers) / max(len(uppers), 1)
        bound = lower if advantage >= 0 else 0.4 * upper + 0.6 * lower
        total -= weight * advantage * bound
    assert loss.item() == pytest.approx(total / ROWS)
    loss.backward()
    assert inputs.scores.log_probs.grad.isfinite().all()


def test_spg_weighs_completions_by_their_length():
    counted = torch.tensor([[True, True], [False, True]])
    groups = Groups(torch.zeros(2, 2), torch.tensor([[1, 4], [100, 7]]), counted)
    weights, _ = SandwichedPolicyGradient().group_weights(groups)
    assert weights.flatten().tolist() == pytest.approx([1 / 4, 1, 0, 7 / 4])
    groups = Groups(torch.zeros(2, 2), torch.zeros(2, 2), counted & False)
    assert not SandwichedPolicyGradient().group_weights(groups)[0].any()


def test_spg_upper_bound_is_above_the_lower_one_on_average():
    """By Jensen's inequality, where every mask hides the same share: here all of it."""
    inputs = some_inputs()
    inputs.scores.weights = inputs.mask[:, None] / (VIEWS * inputs.mask.sum(-1))[:, None, None] + torch.zeros(VIEWS, 1)
    _, metrics = SandwichedPolicyGradient(1.0, 1.0)(inputs)
    assert (metrics["eubo"] >= metrics["elbo"] - 1e-12).all()


# ---------------------------------------------------------------- DMPO's weights


def some_groups(seed=0):
    """Three groups of which one has a completion that takes no part; and their rewards, not centred."""
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(3, G, generator=generator, dtype=torch.float64)
    log_ratio = torch.randn(3, G, generator=generator).double()
    counted = torch.ones(3, G, dtype=torch.bool)
    counted[1, 2] = False
    return Groups(rewards - rewards.mean(-1, keepdim=True), torch.full((3, G), 5), counted, log_ratio), rewards


def softmax(values):
    total = sum(map(math.exp, values))
    return [math.exp(v) / total for v in values]


@pytest.mark.parametrize("baseline", ["none", "group", "negative", "model"])
def test_wdce_weights(baseline):
    """From rewards that are not centred: a constant makes no difference."""
    groups, rewards = some_groups()
    objective = WDCE(TargetWeights(0.7, 0.6), RandomMasking(2), baseline=baseline, baseline_strength=0.8)
    weights, metrics = objective.group_weights(groups)
    for g in range(3):
        counted = groups.counted[g]
        size = int(counted.sum())
        pairs = list(zip(groups.log_ratio[g, counted].tolist(), rewards[g, counted].tolist()))
        up = softmax([0.6 * (lr + r / 0.7) for lr, r in pairs])
        down = softmax([0.6 * (lr - r / 0.7) for lr, r in pairs])
        subtracted = {"group": [1 / size] * size, "negative": down}.get(baseline, [0.0] * size)
        assert weights[g, counted].tolist() == pytest.approx([size * (u - 0.8 * s) for u, s in zip(up, subtracted)])
        assert weights[g, ~counted].tolist() == [0.0] * (G - size)
        assert metrics["target/ess"][g].item() == pytest.approx(1 / (size * sum(u * u for u in up)))
        total = size * {"none": 1, "model": 1}.get(baseline, 0.2)
        assert weights[g].sum().item() == pytest.approx(total)
    assert metrics["target/log_ratio"].numel() == 3 * G - 1


@pytest.mark.parametrize("objective", [WDCE, WDDO])
def test_groups_without_any_reward_have_no_weight(objective):
    groups = some_groups()[0]
    groups.counted[0] = False
    weights, metrics = objective(TargetWeights(0.7, min_ess=0.5), RandomMasking(2)).group_weights(groups)
    assert not weights[0].any() and weights[1:].any() and weights.isfinite().all()
    assert all(values.isfinite().all() for values in metrics.values()) and len(metrics["target/ess"]) == 2


@pytest.mark.parametrize("baseline", ["group", "negative", "model"])
def test_equal_rewards_have_no_weight(baseline):
    objective = WDCE(TargetWeights(0.1), RandomMasking(2), baseline=baseline)
    nothing = torch.zeros(2, G)
    weights, _ = objective.group_weights(Groups(nothing, nothing + 5, nothing == 0, nothing))
    inputs = some_inputs(row_weights=weights.flatten().double())
    inputs.old_log_probs = inputs.scores.token_log_probs.detach()
    loss, _ = objective(inputs)
    loss.backward()
    assert inputs.scores.log_probs.grad.abs().max() < 1e-12


def test_wdce_loss_and_its_model_baseline():
    inputs = some_inputs()
    plain, _ = WDCE(TargetWeights(1.0), RandomMasking(2), baseline="none")(inputs)
    scale = ROWS * (LENGTH + 1)
    assert plain.item() == pytest.approx(-sum(w * new for new, _, _, _, w, _ in rows_of(inputs)) / scale)
    rows = list(rows_of(inputs))
    gaps = [new - old for new, old, *_ in rows]
    for gather, others in ((lambda values: values, []), (lambda values: torch.cat([values, values + 0.3]), [0.3])):
        inputs.gather = gather  # the second: another process, with the same gaps and 0.3 more
        loss, _ = WDCE(TargetWeights(1.0), RandomMasking(2), baseline="model", baseline_strength=0.5)(inputs)
        ratios = softmax(gaps + [gap + more for more in others for gap in gaps])
        expected = -sum((w - 0.5 * len(ratios) * p) * new for (new, _, _, _, w, _), p in zip(rows, ratios)) / scale
        assert loss.item() == pytest.approx(expected)


def test_wddo():
    inputs = some_inputs()
    loss, _ = WDDO(TargetWeights(1.0), RandomMasking(2), discriminator_scale=2.0, fake_weight=0.3)(inputs)
    expected = 0.0
    for new, old, _, _, w, _ in rows_of(inputs):
        real, fake = (1 / (1 + math.exp(-sign * 2 * (new - old))) for sign in (1, -1))
        expected -= w * math.log(real) + 0.3 * math.log(fake)
    assert loss.item() == pytest.approx(expected / ROWS)


def test_wddo_weights_are_multiples_of_the_mean():
    groups, _ = some_groups()
    weights, _ = WDDO(TargetWeights(0.7), RandomMasking(2)).group_weights(groups)
    assert weights.sum(-1).tolist() == pytest.approx(groups.counted.sum(-1).tolist())
    assert weights[1, 2] == 0


def test_log_ratios_that_are_no_numbers_do_not_pass_for_weights():
    groups, _ = some_groups()
    groups.log_ratio[0, 1] = torch.nan
    weights, _ = WDCE(TargetWeights(0.7), RandomMasking(2)).group_weights(groups)
    assert weights[0].isnan().all() and weights[1:].isfinite().all()


def test_adaptive_coefficient_is_the_largest_that_keeps_the_sample_size():
    exponents = 3 * torch.randn(20, G, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    exponents[0] = 0
    groups = Groups(exponents, exponents, torch.ones(20, G, dtype=torch.bool))
    for least in (0.3, 0.5, 0.9):
        found = adaptive_coefficient(groups, exponents, least)
        grid = torch.linspace(0.01, 1, 5000, dtype=torch.float64)
        sizes = torch.stack([effective_sample_size(groups, (c * exponents).softmax(-1)) for c in grid])[..., 0]
        for g in range(20):
            enough = grid[sizes[:, g] >= least]
            expected = enough.max().item() if len(enough) else 0.01
            assert found[g].item() == pytest.approx(expected, abs=3e-4)
    assert adaptive_coefficient(groups, exponents, 0.3)[0].item() == 1


# ---------------------------------------------------------------- DMPO reaches its target


GOOD = list(itertools.product("123", repeat=2))  # the completions that count; all others are ruled out
REWARDS = {"".join(o): 0.3 * "123".index(o[0]) + (0.5 if o[0] == o[1] else 0.0) for o in GOOD}
BETA = 0.4


def uniform_model(path, tokenizer):
    """A reference policy that gives every completion the same probability."""
    model = make_model(len(tokenizer), init_std=0.3)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@torch.no_grad()
def completion_probabilities(model, tokenizer):
    """p(completion) in random order, one token per step: the mean over both orders of the product."""
    prompt = tokenizer("7=").input_ids

    def log_p(state):
        logits = model(input_ids=torch.tensor([prompt + state])).logits[0, len(prompt) :].double()
        logits[:, 1] = -math.inf
        return logits.log_softmax(-1)

    blank, probabilities = log_p([1, 1]), {}
    for text in REWARDS:
        a, b = tokenizer(text).input_ids
        forwards = blank[0, a] + log_p([a, 1])[1, b]
        backwards = blank[1, b] + log_p([1, b])[0, a]
        probabilities[text] = 0.5 * (forwards.exp() + backwards.exp()).item()
    return probabilities


def train_on_the_toy(path, tokenizer, model_path, method, **options):
    trainer = make_trainer(
        method,
        path,
        tokenizer,
        model_path,
        reward=lambda completions, **kwargs: [REWARDS.get(text, -10.0) for text in completions],
        per_device_train_batch_size=256,
        num_generations=256,
        max_completion_length=2,
        block_length=2,
        unmasking="random",
        stop_at_eos=False,
        lr_scheduler_type="linear",
        **options,
    )
    trainer.train_dataset = Dataset.from_dict({"prompt": ["7="] * 400})
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return completion_probabilities(trainer.model.eval(), tokenizer)


def divergence(probabilities):
    """KL from the closed form `p_ref exp(r / beta) / Z` to the trained model."""
    weights = {text: math.exp(reward / BETA) for text, reward in REWARDS.items()}
    total = sum(weights.values())
    return sum(w / total * math.log(w / total / max(probabilities[text], 1e-12)) for text, w in weights.items())


@pytest.mark.distributed
@pytest.mark.slow
def test_dmpo_reaches_the_reward_tilted_distribution_and_reward_maximisers_do_not(tmp_path, tokenizer):
    model_path = uniform_model(tmp_path / "model", tokenizer)
    results = {}
    for name, method, options in (
        ("group", "dmpo", {"weight_baseline": "group", "num_iterations": 1}),
        ("model", "dmpo", {}),  # eight updates per batch, as all that follow
        ("model, ELBO", "dmpo", {"sequence_log_probs": "elbo"}),
        ("none", "dmpo", {"weight_baseline": "none"}),
        ("wddo", "dmpo", {"objective": "wddo"}),
        ("group, used again", "dmpo", {"weight_baseline": "group"}),
        ("negative", "dmpo", {"weight_baseline": "negative", "max_steps": 60}),
        ("diffpo", "diffpo", {"max_steps": 60}),
        ("agrpo", "agrpo", {"num_step_draws": 2, "max_steps": 60}),
    ):
        if method == "dmpo":
            options = {"beta": BETA, "sequence_log_probs": "exact", "max_steps": 250} | options
        probabilities = train_on_the_toy(tmp_path / name, tokenizer, model_path, method, learning_rate=5e-3, **options)
        results[name] = divergence(probabilities)
    assert all(results[name] < 1e-2 for name in ("group", "model", "none", "wddo")), results
    assert 0.02 < results["model, ELBO"] < 0.2, results  # of a few masks: closer than any that maximises the reward
    assert all(results[name] > 0.25 for name in ("negative", "diffpo", "agrpo")), results
    assert results["group, used again"] > 0.05, results
