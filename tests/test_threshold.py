# SPDX-License-Identifier: Apache-2.0
"""The learned threshold: its distribution, its record, its likelihood, its training, its travels."""

import copy
import math
import re

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.testing_utils import CaptureLogger, LoggingLevel
from transformers.utils import logging

from trl_diffusion import DiFFPOTrainer, DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.likelihood import MeanField, RolloutBatch, TwoTimesMeanField, score_views
from trl_diffusion.models import DiffusionSpec, ThresholdHeadConfig, ThresholdPolicy
from trl_diffusion.rewards import with_speed_bonus

from .conftest import make_model
from .test_sampler import prompts
from .trainers import digits, losses, spy


MASK = 1
KINDS = ["grid", "continuous"]


def with_head(model=None, scramble=True, **options):
    model = model or make_model(dtype=torch.float64)
    model.add_threshold_head(ThresholdHeadConfig(**{"initial": 1.5} | options))
    if scramble:  # so that it depends on the prompt
        torch.manual_seed(5)
        torch.nn.init.normal_(model.threshold_head.output.weight, std=0.5)
    return model


def rollout(model, rows=6, **options):
    ids, mask = prompts(rows=rows)
    decoder = DiffusionGenerationConfig(
        **{"max_new_tokens": 12, "block_length": 4, "learned_threshold": "sample"} | options
    )
    return ids, mask, DiffusionSampler(model, decoder).sample(ids, mask, seeds=torch.arange(rows))


# ---------------------------------------------------------------- the distribution


def test_initial_grid_prefers_the_initial_threshold():
    policy = ThresholdPolicy(ThresholdHeadConfig(grid=[0.01, 0.1, 1.0], initial=0.1))
    probabilities = torch.tensor(policy.initial_outputs()).softmax(-1)
    assert probabilities.argmax() == 1 and probabilities.min() > 0.05
    assert policy.threshold(policy.greedy(torch.tensor([policy.initial_outputs()]))).item() == pytest.approx(0.1)


@pytest.mark.parametrize("how", ["loaded", "added", "built"])
def test_a_new_head_says_the_same_of_every_prompt(model_path, how):
    config = ThresholdHeadConfig(grid=[0.01, 0.1, 1.0], initial=0.1)
    if how == "loaded":
        model = AutoModelForCausalLM.from_pretrained(model_path, threshold_head=config.to_dict())
    elif how == "added":
        model = with_head(make_model(), scramble=False, grid=[0.01, 0.1, 1.0], initial=0.1)
    else:
        model = make_model(threshold_head=config.to_dict())
    expected = torch.tensor(ThresholdPolicy(config).initial_outputs())
    hidden = torch.randn(3, 32)
    torch.testing.assert_close(model.threshold_head(hidden), expected.expand(3, -1))
    assert model.threshold_head.hidden.weight.std() > 0.1


def test_what_is_said_of_a_head_without_weights(model_path, tmp_path):
    """Nothing, if it is new; but a checkpoint that should have them is damaged."""
    head = ThresholdHeadConfig(grid=[0.01, 0.1, 1.0]).to_dict()
    with LoggingLevel(logging.WARNING), CaptureLogger(logging.get_logger("transformers.modeling_utils")) as new:
        model = AutoModelForCausalLM.from_pretrained(model_path, threshold_head=head)
        type(model).from_pretrained(model_path, threshold_head=head)
    assert new.out == ""
    model.threshold_head = None  # described, and not saved
    model.save_pretrained(tmp_path)
    with LoggingLevel(logging.WARNING), CaptureLogger(logging.get_logger("transformers.modeling_utils")) as damaged:
        AutoModelForCausalLM.from_pretrained(tmp_path)
    assert re.search(r"threshold_head\S* +\| MISSING", damaged.out)


def test_initial_continuous_threshold():
    policy = ThresholdPolicy(ThresholdHeadConfig(kind="continuous", limit=2.0, initial=0.3))
    assert policy.threshold(policy.greedy(torch.tensor([policy.initial_outputs()]))).item() == pytest.approx(0.3)


def test_the_continuous_thresholds_spread_is_bounded():
    policy = ThresholdPolicy(ThresholdHeadConfig(kind="continuous"))
    for output, log_std in ((50.0, 1.0), (-50.0, -4.0)):
        outputs = torch.tensor([[0.2, output]])
        expected = log_std + 0.5 * math.log(2 * math.pi * math.e)
        assert policy.entropy(outputs).item() == pytest.approx(expected, abs=1e-5)
        one_std = (policy.sample(outputs, torch.tensor([0.8413447])) - 0.2).item()
        assert one_std == pytest.approx(math.exp(log_std), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_log_probabilities(kind):
    """Frequencies of grid points; of the normal, mean and variance, and the density against its formula."""
    policy = ThresholdPolicy(ThresholdHeadConfig(kind=kind, grid=[0.1, 0.2, 0.4], limit=3.0, initial=0.2))
    outputs = torch.tensor([[0.3, -0.5, 1.1][: policy.num_outputs]], dtype=torch.float64)
    noise = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    actions = policy.sample(outputs.expand(20000, -1), noise)
    if kind == "grid":
        shares = actions.long().bincount(minlength=3) / 20000
        torch.testing.assert_close(shares.double(), outputs[0].softmax(-1), atol=1e-3, rtol=0)
        expected = [outputs[0].log_softmax(-1)[i].item() for i in range(3)]
        actual = policy.log_prob(outputs.expand(3, -1), torch.arange(3.0)).tolist()
        entropy = -sum(p * math.log(p) for p in outputs[0].softmax(-1).tolist())
    else:
        mean, std = 0.3, math.exp(-0.5)
        assert actions.mean().item() == pytest.approx(mean, abs=1e-3)
        assert actions.std().item() == pytest.approx(std, rel=1e-2)
        points = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
        expected = [
            -((x - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi)) for x in (-1.0, 0.0, 2.0)
        ]
        actual = policy.log_prob(outputs.expand(3, -1), points).tolist()
        entropy = math.log(std * math.sqrt(2 * math.pi * math.e))
        assert policy.threshold(points).tolist() == pytest.approx([3 / (1 + math.exp(-x)) for x in (-1.0, 0.0, 2.0)])
    assert actual == pytest.approx(expected, abs=1e-9)
    assert policy.entropy(outputs).item() == pytest.approx(entropy, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kind": "normal"}, "kind"),
        ({"rule": "random"}, "'random' has no threshold"),
        ({"grid": [0.3]}, "grid"),
        ({"grid": [0.3, 0.1]}, "grid"),
        ({"grid": [0.0, 0.1]}, "grid"),
        ({"kind": "continuous", "limit": 0.05, "initial": 0.1}, "initial"),
    ],
)
def test_bad_heads(options, word):
    with pytest.raises(ValueError, match=word):
        ThresholdHeadConfig(**options)


# ---------------------------------------------------------------- rollouts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_block", [False, True])
@torch.no_grad()
def test_thresholds_are_drawn_where_and_as_recorded(kind, per_block):
    """Each action's log-probability, from the head on the canvas it saw, unpadded; and rows decoded with it."""
    model = with_head(kind=kind, per_block=per_block)
    ids, mask, trajectory = rollout(model, eos_token_ids=(4, 5, 6))
    policy = model.threshold_head.policy
    drawn = ~trajectory.threshold_actions.isnan()
    blocks = trajectory.unmask_step.unflatten(1, (3, 4))
    begun = (blocks >= 0).any(-1)
    assert torch.equal(drawn, begun if per_block else torch.eye(3).bool()[:1].expand(6, -1))
    for row in range(6):
        prompt = ids[row, mask[row] == 1]
        for block in drawn[row].nonzero().flatten().tolist():
            steps = blocks[row, block]
            state = trajectory[row : row + 1].state_before(int(steps[steps >= 0].min()), MASK)[0]
            hidden = model.model(input_ids=torch.cat([prompt, state])[None]).last_hidden_state
            outputs = model.threshold_head(hidden[:, len(prompt) + 4 * block - 1])
            action = trajectory.threshold_actions[row, block : block + 1]
            expected = policy.log_prob(outputs, action).item()
            assert trajectory.threshold_log_probs[row, block].item() == pytest.approx(expected, abs=1e-4)
            threshold = policy.threshold(action).item()
            used = trajectory.threshold[row, block:] if not per_block else trajectory.threshold[row, block]
            torch.testing.assert_close(used, torch.full_like(used, threshold))
    if not per_block:  # a fixed threshold of that value decodes the same
        decoder = DiffusionGenerationConfig(max_new_tokens=12, block_length=4, eos_token_ids=(4, 5, 6))
        again = DiffusionSampler(model, decoder).sample(
            ids, mask, seeds=torch.arange(6), threshold=trajectory.threshold[:, 0]
        )
        assert torch.equal(again.completion_ids, trajectory.completion_ids)
        assert torch.equal(again.unmask_step, trajectory.unmask_step)
    assert len(trajectory.threshold[:, 0].unique()) > 1


def test_a_learned_threshold_costs_no_forward_pass():
    model = with_head()
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    _, _, trajectory = rollout(model, rows=1)
    assert len(passes) == int(trajectory.nfe)


def test_greedy_takes_the_most_likely():
    model = with_head()
    _, _, trajectory = rollout(model, learned_threshold="greedy", temperature=0.0)
    _, _, again = rollout(model, learned_threshold="greedy", temperature=0.0)
    assert torch.equal(trajectory.threshold, again.threshold)
    grid = torch.tensor(model.threshold_head.policy.grid)
    best = trajectory.threshold_log_probs[:, 0].exp()
    assert (best >= 1 / len(grid)).all() and torch.isin(trajectory.threshold, grid).all()


def test_a_sample_with_a_learned_threshold_does_not_depend_on_its_batch():
    model = with_head()
    ids, mask, together = rollout(model, max_batch_size=2)
    for row in range(6):
        start = int((mask[row] == 0).sum())
        decoder = DiffusionGenerationConfig(max_new_tokens=12, block_length=4, learned_threshold="sample")
        alone = DiffusionSampler(model, decoder).sample(ids[row : row + 1, start:], seeds=torch.tensor([row]))
        assert torch.equal(alone.completion_ids[0], together.completion_ids[row])
        assert torch.equal(alone.threshold[0], together.threshold[row])


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        (None, {}, "needs a model with a threshold head"),
        ({}, {"unmasking": "random"}, "needs a rule with a threshold, which `unmasking='random'` has not"),
        ({}, {"unmasking": "confidence_threshold"}, "was made for `unmasking='entropy_bound'`"),
        ({}, {"learned_threshold": "yes"}, "must be 'off', 'greedy' or 'sample'"),
    ],
)
def test_learned_thresholds_that_cannot_be(head, options, message):
    model = make_model() if head is None else with_head(make_model())
    with pytest.raises(ValueError, match=message):
        rollout(model, **options)


def test_given_and_learned_thresholds_exclude_each_other():
    decoder = DiffusionGenerationConfig(max_new_tokens=4, block_length=4, learned_threshold="greedy")
    with pytest.raises(ValueError, match="exclude each other"):
        DiffusionSampler(with_head(), decoder).sample(torch.tensor([[3]]), threshold=torch.tensor([0.1]))


# ---------------------------------------------------------------- likelihood


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_block", [False, True])
def test_scored_thresholds_equal_the_recorded_ones(kind, per_block):
    model = with_head(kind=kind, per_block=per_block)
    ids, mask, trajectory = rollout(model, eos_token_ids=(4, 5, 6))
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(6)[:, None])
    (part,) = TwoTimesMeanField().passes(batch, 0, MASK)
    options = {"threshold_policy": model.threshold_head.policy}
    with_thresholds = score_views(model, DiffusionSpec(MASK), part.views, batch, **options)
    without = score_views(model, DiffusionSpec(MASK), part.views, batch)
    torch.testing.assert_close(
        with_thresholds.threshold_log_probs.float(), trajectory.threshold_log_probs, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(with_thresholds.token_log_probs, without.token_log_probs, atol=1e-10, rtol=0)
    assert without.threshold_log_probs is None


def test_scoring_the_prompts_threshold_shares_the_first_canvas():
    model = with_head()
    ids, mask, trajectory = rollout(model)
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(6)[:, None])
    (part,) = MeanField(0.0).passes(batch, 0, MASK)
    scores = score_views(model, DiffusionSpec(MASK), part.views, batch, threshold_policy=model.threshold_head.policy)
    assert scores.canvases == 6


def test_the_threshold_sends_no_gradient_into_the_model():
    model = with_head()
    ids, mask, trajectory = rollout(model)
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(6)[:, None])
    (part,) = MeanField(0.0).passes(batch, 0, MASK)
    scores = score_views(model, DiffusionSpec(MASK), part.views, batch, threshold_policy=model.threshold_head.policy)
    scores.threshold_log_probs.sum().backward()
    for name, parameter in model.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        assert has_gradient == name.startswith("threshold_head"), name


# ---------------------------------------------------------------- training


def joint(build, **options):
    return build("diffpo", **{"regime": "joint", "reward": with_speed_bonus(digits, 0.5, 8)} | options)


@pytest.mark.parametrize("mask_truncated", [False, True])
def test_the_threshold_is_one_more_token_of_the_loss(build, mask_truncated):
    """The loss by hand: (sum over tokens + the threshold's term) / (tokens + 1), old policy and clipping included."""
    trainer = joint(
        build,
        cls=spy(DiFFPOTrainer),
        num_iterations=2,
        max_steps=8,
        threshold_coefficient=3.0,
        threshold_learning_rate=0.3,
        mask_truncated_completions=mask_truncated,
    )
    trainer.train()
    moved, truncated = 0, 0
    for call in trainer.seen:
        (scores,), inputs = call["scores"], call["inputs"]
        mask = inputs["completion_mask"].double()
        old = inputs["old_per_token_logps"][:, call["draw"]].double()
        advantages = inputs["advantages"].double()[:, None]
        rho = (call["log_probs"].double() - old).exp()
        factors = call["weights"].double() * advantages
        terms = torch.minimum(rho * factors, rho.clamp(0.5, 1.5) * factors) * mask
        rho = (scores.threshold_log_probs - inputs["rollout_threshold_log_probs"])[:, 0].double().exp()
        gamma = torch.minimum(rho * 3 * advantages[:, 0], rho.clamp(0.5, 1.5) * 3 * advantages[:, 0])
        counted = mask.any(-1).double()
        truncated += int((1 - counted).sum())
        expected = -((terms.sum(-1) + gamma * counted) / (mask.sum(-1) + counted).clamp(min=1)).mean()
        assert call["loss"] == pytest.approx(expected.item(), abs=1e-5)
        moved += int(((rho - 1).abs() > 1e-3).sum())
        if call["draw"] == 0:
            rho = rho[(inputs["advantages"] != 0) & mask.any(-1)]  # others are not scored
            torch.testing.assert_close(rho, torch.ones_like(rho), atol=1e-4, rtol=0)
    assert moved > 0 and (0 < truncated < 32 if mask_truncated else truncated == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("regime", ["model", "sampler", "joint"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_each_regime_trains_its_part(build, model_path, tokenizer, kind, regime, lora):
    model = with_head(AutoModelForCausalLM.from_pretrained(model_path), kind=kind)
    trainer = build(
        "diffpo",
        model=model,
        regime=regime,
        threshold_head=kind if regime != "model" else "grid",
        peft_config=LoraConfig(r=2, target_modules=["q_proj", "v_proj"]) if lora else None,
        max_steps=3,
    )
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        is_head = "threshold_head" in name and "original_module" not in name
        in_model = "lora_" in name if lora else not is_head
        trained = (is_head and regime != "model") or (in_model and regime != "sampler")
        assert torch.equal(parameter, before[name]) != trained, name
    assert all(math.isfinite(loss) for loss in losses(trainer))


def test_training_the_sampler_alone_scores_no_token(build):
    """The sampler has recorded what the old policy's pass would compute, and no logits are needed."""
    trainer = joint(build, regime="sampler", reward=digits, num_iterations=2, max_steps=2)
    passes = []
    trainer.model.register_forward_hook(
        lambda module, args, output: passes.append((torch.is_grad_enabled(), len(output.reduced[0])))
    )
    trainer.train()
    nfe = trainer.state.log_history[0]["sampler/nfe_max"]
    assert [rows for with_gradient, rows in passes if with_gradient] == [0, 0] and len(passes) == nfe + 2


def test_a_head_that_is_named_already_is_not_named_twice(build):
    peft_config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["threshold_head"])
    trainer = joint(build, peft_config=peft_config)
    assert list(trainer.model.peft_config["default"].modules_to_save) == ["threshold_head"]


def test_the_head_has_its_own_learning_rate(build):
    trainer = joint(build, learning_rate=1e-4, threshold_learning_rate=0.02, lr_scheduler_type="linear", max_steps=4)
    trainer.train()
    groups = {len(g["params"]): g for g in trainer.optimizer.param_groups if g["initial_lr"] == 0.02}
    (group,) = groups.values()
    assert len(group["params"]) == 4 and group["weight_decay"] == 0
    others = [g for g in trainer.optimizer.param_groups if g is not group]
    assert {g["initial_lr"] for g in others} == {1e-4}
    count = sum(len(g["params"]) for g in trainer.optimizer.param_groups)
    assert count == len(list(trainer.model.parameters()))


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_resumed_joint_training_equals_the_uninterrupted_one(build, tmp_path, lora):
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    peft = {"peft_config": LoraConfig(r=2, target_modules=["q_proj"])} if lora else {}
    whole = joint(build, path=tmp_path / "whole", **options, **copy.deepcopy(peft))
    whole.train()
    again = joint(build, path=tmp_path / "again", **options, **copy.deepcopy(peft))
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert losses(again)[-2:] == losses(whole)[-2:]
    for (name, p), q in zip(whole.model.named_parameters(), again.model.parameters()):
        if "original_module" not in name:
            assert torch.equal(p, q), name


def test_saved_head_decides_the_same(build, tmp_path, tokenizer):
    trainer = joint(build, threshold_learning_rate=0.1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    one, other = (rollout(model)[2] for model in (trainer.model.eval(), again))
    assert torch.equal(one.threshold, other.threshold) and torch.equal(one.completion_ids, other.completion_ids)


def test_saved_adapter_carries_the_head(build, tmp_path, model_path):
    trainer = joint(build, threshold_learning_rate=0.1, peft_config=LoraConfig(r=2, target_modules="all-linear"))
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    described = trainer.model.config.threshold_head
    base = AutoModelForCausalLM.from_pretrained(model_path, threshold_head=described)
    again = PeftModel.from_pretrained(base, str(tmp_path / "saved"))
    one, other = (rollout(model.eval())[2] for model in (trainer.model, again))
    assert torch.equal(one.threshold, other.threshold) and torch.equal(one.completion_ids, other.completion_ids)
    assert not any("lora" in name and "threshold_head" in name for name, _ in trainer.model.named_parameters())


def test_evaluation_takes_the_greedy_threshold(build):
    seen = []

    def reward(completions, threshold, **kwargs):
        seen.append(threshold)
        return [0.5] * len(completions)

    trainer = joint(
        build, reward=reward, eval_dataset=Dataset.from_dict({"prompt": ["1+1="]}), num_generations_eval=4, max_steps=4
    )
    trainer.train()
    assert len({value for batch in seen for value in batch}) > 1
    seen.clear()
    trainer.evaluate()
    assert len({value for batch in seen for value in batch}) == 1
    assert {"threshold/mean", "threshold/min", "threshold/max", "threshold/entropy"} <= set(
        trainer.state.log_history[0]
    )


@pytest.mark.parametrize("per_block", [False, True])
def test_the_head_finds_the_best_threshold_of_each_prompt(build, per_block):
    """A bandit: one prompt wants the smallest bound, the other the largest. Nothing else is rewarded."""

    def reward(prompts, threshold, **kwargs):
        return [float(t < 0.05) if prompt.startswith("1") else float(t > 2) for prompt, t in zip(prompts, threshold)]

    trainer = build(
        "diffpo",
        reward=reward,
        regime="sampler",
        threshold_grid=[0.01, 0.1, 1.0, 3.0],
        threshold_learning_rate=3e-3,
        threshold_per_block=per_block,
        entropy_bound=0.1,
        per_device_train_batch_size=32,
        num_generations=16,
        max_steps=60,
    )
    trainer.train_dataset = Dataset.from_dict({"prompt": ["1+1=", "2+2="] * 60})
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(rewards[:3]) / 3 < 0.5 and sum(rewards[-10:]) / 10 > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regime": "both"}, ["regime", "'joint'"]),
        ({"regime": "joint", "unmasking": "random"}, ["'random'", "has no threshold"]),
        ({"regime": "joint", "threshold_head": "cubic"}, ["threshold_head", "'continuous'"]),
        ({"regime": "joint", "threshold_grid": [0.1, float("nan")]}, ["threshold_grid"]),
        ({"regime": "joint", "threshold_grid": ["0.1", "0.2"]}, ["threshold_grid", "numbers"]),
        ({"regime": "joint", "threshold_head": "continuous", "threshold_limit": -1.0}, ["threshold_limit", "above 0"]),
        ({"regime": "joint", "threshold_limit": 3.0}, ["threshold_limit", "'grid'"]),
        ({"regime": "joint", "threshold_head": "continuous", "threshold_grid": [0.1, 1.0]}, ["threshold_grid"]),
        ({"regime": "joint", "threshold_grid": 0.5}, ["threshold_grid", "list"]),
        (
            {"regime": "joint", "importance_sampling_level": "sequence"},
            ["importance_sampling_level", "sum over tokens"],
        ),
        ({"regime": "joint", "loss_type": "vespo"}, ["loss_type", "sum over tokens"]),
        (
            {"regime": "sampler", "importance_sampling_correction": False},
            ["importance_sampling_correction", "sampler"],
        ),
        ({"regime": "joint", "model_init_kwargs": {"threshold_head": None}}, ["model_init_kwargs", "threshold_"]),
        ({"regime": "joint", "entropy_bound": 0.0}, ["entropy_bound", "starts"]),
        ({"regime": "joint", "entropy_bound": math.inf}, ["entropy_bound", "finite"]),
        (
            {"regime": "joint", "unmasking": "confidence_threshold", "confidence_threshold": 0.0},
            ["confidence_threshold", "starts"],
        ),
        (
            {"regime": "joint", "unmasking": "confidence_threshold", "threshold_grid": [0.5, 1.5]},
            ["threshold_grid", "at most 1"],
        ),
        ({"regime": "sampler", "beta": 0.1}, ["beta", "sampler"]),
        ({"regime": "model", "threshold_per_block": True}, ["threshold_per_block", "regime"]),
        ({"regime": "model", "threshold_learning_rate": -1.0}, ["threshold_learning_rate", "regime"]),
        ({"regime": "joint", "threshold_grid": [1.0, 0.5]}, ["threshold_grid"]),
        ({"regime": "joint", "threshold_learning_rate": 0.0}, ["threshold_learning_rate"]),
        ({"regime": "joint", "threshold_coefficient": -1.0}, ["threshold_coefficient"]),
        (
            {"regime": "joint", "threshold_head": "continuous", "threshold_limit": 0.5},
            ["entropy_bound", "threshold_limit"],
        ),
    ],
    ids=str,
)
def test_bad_threshold_options(build, options, words):
    with pytest.raises((TypeError, ValueError)) as error:
        build("diffpo", **options)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold_head": "continuous"}, ["threshold_head", "already", "'grid'"]),
        ({"threshold_grid": [0.1, 1.0]}, ["threshold_grid", "already"]),
        ({"unmasking": "confidence_threshold"}, ["unmasking", "'entropy_bound'"]),
        ({"threshold_grid": [0.2, 0.7]}, []),
    ],
    ids=str,
)
def test_a_head_that_the_model_brings_is_not_another(build, tmp_path, tokenizer, by_id, options, words):
    model = with_head(make_model(len(tokenizer)), grid=[0.2, 0.7])
    if by_id:
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        model = str(tmp_path / "model")
    if not words:
        assert joint(build, model=model, **options).threshold_policy.grid == [0.2, 0.7]
        return
    with pytest.raises(ValueError) as error:
        joint(build, model=model, **options)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("how", ["by_id", "added", "brought", "cast"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_head_learns_in_float32_under_a_model_in_bfloat16(build, tmp_path, tokenizer, how, lora):
    """Updates of 1e-5 on weights around 0.1 would vanish in bfloat16."""
    path = str(tmp_path / "model")
    model = make_model(len(tokenizer))
    if how in ("brought", "cast"):
        model.add_threshold_head(ThresholdHeadConfig(initial=1.5))
    model.to(torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    by_id = {"model": path, "model_init_kwargs": {"dtype": "bfloat16"}}
    as_object = {"model": AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)}
    if how == "cast":
        as_object["model"].to(torch.bfloat16)
    trainer = joint(
        build,
        threshold_learning_rate=1e-5,
        peft_config=LoraConfig(r=2, target_modules=["q_proj"]) if lora else None,
        **(by_id if how == "by_id" else as_object),
    )
    head = [(n, p) for n, p in trainer.model.named_parameters() if "threshold_head" in n and p.requires_grad]
    assert len(head) == 4 and all(p.dtype == torch.float32 for _, p in head)
    assert trainer.accelerator.unwrap_model(trainer.model).lm_head.weight.dtype == torch.bfloat16
    before = {name: p.detach().clone() for name, p in head}
    trainer.train()
    for name, parameter in head:
        assert not torch.equal(parameter, before[name]), name


def test_speed_bonus_is_gated_by_correctness():
    def correct(completions, **kwargs):
        return [1.0, 0.0, None]

    reward = with_speed_bonus(correct, weight=0.5, max_nfe=20)
    assert reward(completions=["a", "b", "c"], nfe=[4, 1, 1]) == [1.4, 0.0, None]
    assert reward.__name__ == "correct_with_speed_bonus"
    for options in ({"weight": 0.0, "max_nfe": 1}, {"weight": 1.0, "max_nfe": 0}):
        with pytest.raises(ValueError):
            with_speed_bonus(correct, **options)
    with pytest.raises(ValueError, match="21 forward passes, more than `max_nfe=20`"):
        reward(completions=["a", "b", "c"], nfe=[4, 21, 1])
    with pytest.raises(ValueError, match=r"negative reward \(-0.5\)"):
        with_speed_bonus(lambda completions, **_: [None, -0.5], 0.5, 20)(completions=["a", "b"], nfe=[1, 1])


def test_adapter_that_leaves_the_head_out(build, model_path):
    model = with_head(AutoModelForCausalLM.from_pretrained(model_path))
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ValueError, match="no threshold head to train: name 'threshold_head' in `modules_to_save`"):
        build("diffpo", model=model, regime="joint")
