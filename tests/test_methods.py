# SPDX-License-Identifier: Apache-2.0
"""What every method must keep: with an unchanged policy no ratio moves, all parameters learn, rewards rise."""

import math
import re
import textwrap
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from trl_diffusion import Trajectory
from trl_diffusion.likelihood import ExactSteps, RandomMasking, SampledSteps
from trl_diffusion.objectives import WDDO

from .conftest import make_model
from .trainers import METHODS, digits, losses, spy


DOCS = Path(__file__).parent.parent / "docs"
METHODS_PAGE = (DOCS / "methods.md").read_text()
PAPER_INDEX = (DOCS / "paper_index.md").read_text()
OWN_LOSS = [name for name, (config, _) in METHODS.items() if config._own_loss]
TRL_LOSS = [name for name in METHODS if name not in OWN_LOSS]
WITHOUT_REFERENCE = ["wd1", "spg"]  # their losses have no KL term
ONE_ROW = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
LORA = {"r": 4, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}


@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no_reference", "reference"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("num_iterations", [1, 4])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_moves_under_an_unchanged_policy(build, method, num_iterations, lora, beta):
    """Ratio 1 and KL 0 in each of the inner iterations, if the optimiser does nothing."""
    if method == "dmpo":
        beta = beta or 0.1  # it is nothing without a reference
    elif method in WITHOUT_REFERENCE and beta:
        with pytest.raises(ValueError, match="beta"):
            build(method, beta=beta)
        return
    trainer = build(
        method,
        cls=spy(METHODS[method][1]),
        beta=beta,
        num_iterations=num_iterations,
        steps_per_generation=2,  # so that the old policy is scored when the rollouts are made
        max_steps=2 * num_iterations,
        learning_rate=0.0,
        peft_config=LoraConfig(**LORA) if lora else None,
    )
    trainer.train()
    logs = trainer.state.log_history[:-1]
    assert len(logs) == len(trainer.seen) == 2 * num_iterations
    for step, (call, entry) in enumerate(zip(trainer.seen, logs)):
        assert call["draw"] == step // 2
        if "clip_ratio/region_mean" in entry:
            assert entry["clip_ratio/region_mean"] == 0
        if "sequence_ratio" in entry:
            assert entry["sequence_ratio"] == pytest.approx(1.0, abs=1e-5)
        if beta and method != "dmpo":
            assert entry["kl"] == pytest.approx(0.0, abs=1e-7)
        old = call["inputs"].get("old_per_token_logps")
        if method in TRL_LOSS:
            if trainer.estimator.exact:
                old = call["inputs"]["rollout_log_probs"][:, : call["log_probs"].shape[1]]
            else:
                old = old[:, call["draw"]]
            scored = (call["scores"][-1].weights != 0).any(1)[:, : old.shape[1]]
            torch.testing.assert_close(old[scored], call["log_probs"][scored], atol=1e-5, rtol=0)
    if method == "dmpo":
        assert logs[0]["target/log_ratio"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_moves(build, method):
    trainer = build(method, num_iterations=2, max_steps=3)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(torch.isfinite(torch.tensor(losses(trainer))))


@pytest.mark.parametrize("method", METHODS)
def test_lora_moves_its_adapters_and_nothing_else(build, method):
    trainer = build(method, peft_config=LoraConfig(**LORA), num_iterations=2, max_steps=3)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("lora_" in name), name


@pytest.mark.parametrize("method", METHODS)
def test_reward_goes_up(build, method):
    trainer = build(
        method,
        max_steps=24,
        num_iterations=1,
        per_device_train_batch_size=32,
        num_generations=8,
        learning_rate=3e-3,
        unmasking="left_to_right" if method == "just_grpo" else "entropy_bound",
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


@pytest.mark.parametrize("method", ["agrpo", "dmpo", "espo", "trace_rl"])
def test_passes_do_not_change_the_gradient(build, method, tmp_path):
    """All views at once, or one after the other: the same loss, the same parameters after a few updates."""
    name = {"dmpo": "num_replicates", "espo": None}.get(method, "num_step_draws")
    runs = []
    for views in (1, 2, 4):
        options = {} if method == "espo" else {"views_per_forward": views}
        if method in ("agrpo", "dmpo"):
            options[name] = 4
        if method == "dmpo":
            options["weight_baseline"] = "none"
        if method == "trace_rl":
            options["steps_per_segment"] = 2
        trainer = build(method, path=tmp_path / str(views), num_iterations=2, max_steps=4, beta=0.1, **options)
        trainer.train()
        runs.append([*losses(trainer), *(p.detach().sum().item() for p in trainer.model.parameters())])
    assert runs[0] == pytest.approx(runs[1], abs=2e-4) and runs[0] == pytest.approx(runs[2], abs=2e-4)


# TRL's "bnpo" and DMPO's "model" baseline are normalised over a micro-batch by definition.
NORMALISED_OTHERWISE = {
    **{method: {"loss_type": "dapo"} for method in ("diffu_grpo", "coupled_grpo")},
    "dmpo": {"weight_baseline": "none"},
}
CUT = [
    *((method, NORMALISED_OTHERWISE.get(method, {})) for method in METHODS),
    *(("dmpo", {"weight_baseline": baseline}) for baseline in ("group", "negative")),
    ("dmpo", {"objective": "wddo"}),
    ("diffpo", {"regime": "joint", "threshold_per_block": True}),
]


@pytest.mark.parametrize(("method", "options"), CUT, ids=str)
def test_an_update_does_not_depend_on_its_micro_batches(build, tmp_path, method, options):
    weights = []
    for rows in (8, 2):
        trainer = build(
            method,
            path=tmp_path / str(rows),
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=8 // rows,
            num_iterations=2,
            optim="sgd",  # Adam would make much of roundings
            **options,
        )
        before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert (weights[0] - before).abs().max() > 1e-4
    torch.testing.assert_close(*weights, atol=5e-6, rtol=0)


def test_memory_of_agrpo_does_not_depend_on_the_number_of_draws(build, tmp_path):
    """Rows in one forward pass, the measure of activation memory."""
    most = {}
    for draws in (1, 8):
        trainer = build("agrpo", path=tmp_path / str(draws), num_step_draws=draws, max_steps=1)
        rows = []
        trainer.model.register_forward_pre_hook(
            lambda module, args, kwargs, rows=rows: rows.append(len(kwargs["input_ids"])) if module.training else None,
            with_kwargs=True,
        )
        trainer.train()
        assert len(rows) == 1 if draws == 1 else 1 < len(rows) <= draws  # a step drawn twice is scored once
        most[draws] = max(rows)
    assert most[1] <= 4 and most[8] <= 4


def test_exact_estimators_score_what_the_text_depends_on(build):
    """Also behind its end, if it stood there while the text was still being written."""
    trainer = build(
        "agrpo",
        cls=spy(METHODS["agrpo"][1]),
        unmasking="random",
        max_denoising_steps=4,
        num_step_draws=1,
        block_length=8,
        per_device_train_batch_size=32,
    )
    trainer.estimator = ExactSteps(views_per_forward=1)
    trainer.train()
    behind = 0
    for call in trainer.seen:
        scored = torch.stack([(scores.weights != 0).any(1) for scores in call["scores"]]).any(0)
        steps, ids = (call["inputs"][f"rollout_{name}"].tolist() for name in ("unmask_step", "completion_ids"))
        for row in range(32):
            length = (ids[row] + [0]).index(0) + 1  # up to and with the first end-of-text token
            last = max(steps[row][:length])
            useful = call["inputs"]["advantages"][row] != 0
            expected = [bool(useful) and (i < length or 0 <= steps[row][i] < last) for i in range(8)]
            assert scored[row].tolist() == expected
            behind += sum(expected[length:])
    assert behind > 0


def test_exact_estimators_skip_the_old_policys_pass(build):
    """The sampler has recorded what it would compute."""
    trainer = build("agrpo", num_iterations=2, max_steps=2, num_step_draws=2)
    passes = []
    trainer.model.register_forward_hook(lambda module, args, output: passes.append(torch.is_grad_enabled()))
    trainer.train()
    nfe = trainer.state.log_history[0]["sampler/nfe_max"]
    assert passes.count(False) == nfe and passes.count(True) == 2 * 2


@pytest.mark.parametrize("method", ["dmpo", "wd1"])
def test_equal_rewards_give_no_gradient(build, method):
    for baseline in ("group", "negative", "model") if method == "dmpo" else (None,):
        options = {"weight_baseline": baseline} if baseline else {}
        trainer = build(
            method, reward=lambda completions, **_: [0.7] * len(completions), max_steps=1, num_iterations=1, **options
        )
        trainer.train()
        assert trainer.state.log_history[0]["grad_norm"] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("method", ["dmpo", "wd1", "spg"])
def test_groups_of_an_evaluation_have_their_own_size(build, method):
    dataset = Dataset.from_dict({"prompt": ["1+1=", "2+2="]})
    trainer = build(method, eval_dataset=dataset, num_generations_eval=2, max_steps=1)
    shapes = []
    group_weights = trainer.objective.group_weights
    trainer.objective.group_weights = lambda groups: shapes.append(groups.counted.shape) or group_weights(groups)
    trainer.train()
    metrics = trainer.evaluate()
    assert shapes == [(1, 4), (2, 2)] and math.isfinite(metrics["eval_loss"])


@pytest.mark.parametrize("method", ["agrpo", "diffpo", "dmpo"])
def test_a_trained_adapter_is_its_own_reference(build, model_path, method):
    """TRL keeps a copy of it under the name "ref"; the base model would be another reference."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), LoraConfig(**LORA))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    trainer = build(method, model=model, beta=0.1, num_iterations=1, max_steps=3)
    trainer.train()
    assert "ref" in trainer.model.peft_config
    name = "target/log_ratio" if method == "dmpo" else "kl"
    first, *later = [entry[name] for entry in trainer.state.log_history[:-1]]
    assert first == pytest.approx(0.0, abs=1e-5) and min(later) > 1e-3


def test_rows_without_a_reward_leave_the_loss(build):
    """For all objectives of our own; TRL's losses give them the advantage 0."""

    def reward(completions, **kwargs):
        return [None if i % 4 == 1 else len(text) / 8 for i, text in enumerate(completions)]

    for method in OWN_LOSS:
        trainer = build(method, cls=spy(METHODS[method][1]), reward=reward, shuffle_dataset=False, max_steps=1)
        seen = []
        prepare = trainer._generate_and_score_completions
        trainer._generate_and_score_completions = lambda inputs, p=prepare, s=seen: s.append(p(inputs)) or s[-1]
        trainer.train()
        (output,) = seen
        assert output["completion_mask"].any(-1).tolist() == [True, False, True, True]
        assert "row_weights" not in output or output["row_weights"][1] == 0
        assert output["num_items_in_batch"] == output["completion_mask"].sum()


def test_which_completions_count(build):
    """All but those that no reward function judged, and truncated ones that are masked."""

    def judges_some(completions, **kwargs):
        return [None if i % 3 == 0 else 1.0 for i in range(len(completions))]

    def judges_others(completions, **kwargs):
        return [None if i % 2 == 0 else 0.5 for i in range(len(completions))]

    for reward, mask_truncated in (([judges_some, judges_others], False), (digits, True)):
        trainer = build(
            "wd1",
            reward=reward,
            shuffle_dataset=False,
            max_steps=1,
            mask_truncated_completions=mask_truncated,
            temperature=5.0,
            per_device_train_batch_size=16,
            num_generations=8,
        )
        seen, outputs = [], []
        group_weights, prepare = trainer.objective.group_weights, trainer._generate_and_score_completions
        trainer.objective.group_weights = lambda groups, f=group_weights, s=seen: s.append(groups) or f(groups)
        trainer._generate_and_score_completions = lambda x, f=prepare, s=outputs: s.append(f(x)) or s[-1]
        trainer.train()
        counted = seen[0].counted.flatten().tolist()
        if mask_truncated:
            ends = (outputs[0]["rollout_completion_ids"] == 0).any(-1).tolist()
            assert counted == ends and len(set(ends)) == 2
        else:
            assert counted == [i % 6 != 0 for i in range(16)]


def test_exact_log_ratios_are_those_of_all_that_the_text_depends_on(build, tmp_path, tokenizer):
    """Against a reference that is another model, one row and token at a time."""
    trainer = build(
        "dmpo",
        sequence_log_probs="exact",
        weight_baseline="none",
        unmasking="random",
        max_denoising_steps=4,  # two tokens per step: some in the last one may be behind the text
        block_length=8,
        per_device_train_batch_size=16,
        num_generations=16,
        max_steps=1,
    )
    reference = trainer.ref_model = make_model(len(tokenizer), seed=7)
    seen, outputs = [], []
    group_weights, prepare = trainer.objective.group_weights, trainer._generate_and_score_completions
    trainer.objective.group_weights = lambda groups: seen.append(groups) or group_weights(groups)
    trainer._generate_and_score_completions = lambda x: outputs.append(prepare(x)) or outputs[-1]
    trainer.train()
    (groups,), (output,) = seen, outputs
    rollout, behind = Trajectory.from_dict(output), 0
    for row in range(16):
        steps, ids = rollout.unmask_step[row], rollout.completion_ids[row]
        length = [*ids.tolist(), 0].index(0) + 1
        last = int(steps[:length].max())
        counted = [i for i in range(8) if i < length or 0 <= int(steps[i]) < last]
        behind += len(counted) - min(length, 8)
        prompt = output["prompt_ids"][row][output["prompt_mask"][row] == 1]
        total = 0.0
        for i in counted:
            state = torch.where((steps >= 0) & (steps < steps[i]), ids, 1)
            with torch.no_grad():
                logits = reference(input_ids=torch.cat([prompt, state])[None]).logits[0, len(prompt) + i].double()
            logits[1] = -math.inf
            total += (logits.log_softmax(-1)[ids[i]] - rollout.log_probs[row, i]).item()
        assert groups.log_ratio[0, row].item() == pytest.approx(total, abs=1e-3)
    assert behind > 0


def test_gradients_of_all_but_the_last_pass_stay_where_they_are(build):
    trainer = build("agrpo", num_step_draws=3, max_steps=1)
    synchronised = []
    backward, accelerator = trainer._backward, trainer.accelerator
    trainer._backward = lambda loss: synchronised.append(accelerator.sync_gradients) or backward(loss)
    trainer.train()
    assert synchronised == [False, False] and accelerator.sync_gradients


def test_passes_that_score_all_tokens_are_averaged(build):
    """The estimate of a draw is the same whether its masks go through the model one by one or together."""
    trainer = build("dmpo", cls=spy(METHODS["dmpo"][1]), num_replicates=4, max_steps=1)
    trainer.train()
    inputs = trainer.seen[-1]["inputs"]
    batch = trainer.rollout_batch(inputs, inputs["draw_seeds"], trainer.estimator)
    with torch.no_grad():
        together, one_by_one = (
            trainer.score_draw(trainer.model, batch, RandomMasking(4, views_per_forward=views), 0) for views in (4, 1)
        )
    assert together.abs().sum() > 0
    torch.testing.assert_close(together, one_by_one)


def test_segments_without_tokens_are_not_forwarded(build):
    trainer = build("d2", num_segments=100, views_per_forward=1, max_steps=1)
    passes = []
    trainer.model.register_forward_hook(lambda module, *_: passes.append(torch.is_grad_enabled()))
    trainer.train()
    assert sum(passes) <= trainer.state.log_history[0]["sampler/nfe_max"]


def test_the_scored_policy_is_the_one_that_sampled_in_spite_of_lora_dropout(build):
    trainer = build("agrpo", peft_config=LoraConfig(**LORA, lora_dropout=0.5, init_lora_weights=False), max_steps=1)
    trainer.train()
    assert trainer.state.log_history[0]["clip_ratio/region_mean"] == 0
    assert not any(isinstance(m, torch.nn.Dropout) and m.p for m in trainer.model.modules())


def test_dmpo_options(build):
    for options in (
        {"objective": "wddo"},
        {"sequence_log_probs": "exact"},
        {"min_ess": 0.5},
        {"weight_baseline": "none"},
        {"proximal_coefficient": 0.3},
        {"antithetic_masks": False, "num_replicates": 3},
        {"objective": "wddo", "discriminator_scale": 0.1, "fake_weight": 0.5},
    ):
        trainer = build("dmpo", num_iterations=2, max_steps=3, **options)
        trainer.train()
        assert all(torch.isfinite(torch.tensor(losses(trainer)))), options
        assert isinstance(trainer.objective, WDDO) == ("objective" in options)
        assert isinstance(trainer.objective.sequence_estimator, ExactSteps) == ("sequence_log_probs" in options)
        if "min_ess" in options:
            assert trainer.state.log_history[0]["target/ess"] >= 0.5 - 1e-6


def test_truncated_rollouts_are_scored_as_truncated(build):
    """With a top-k of two, log-probabilities of the full vocabulary would be off by nats."""
    trainer = build(
        "agrpo", cls=spy(METHODS["agrpo"][1]), top_k=2, top_p=0.9, temperature=0.7, learning_rate=0.0, max_steps=2
    )
    assert isinstance(trainer.estimator, SampledSteps)
    trainer.train()
    for call in trainer.seen:
        assert call["inputs"]["rollout_support"].shape[-1] == 2
        for scores in call["scores"]:
            seen = (scores.weights != 0).any(1)
            recorded = call["inputs"]["rollout_log_probs"]
            torch.testing.assert_close(scores.token_log_probs[seen], recorded[seen], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("agrpo", {"num_step_draws": 9}, ["num_step_draws", "denoising steps"]),
        ("agrpo", {"num_step_draws": 3, "max_denoising_steps": 2}, ["num_step_draws", "at most 2"]),
        ("agrpo", {"num_step_draws": 0}, ["num_step_draws", "at least 1"]),
        ("agrpo", {"num_step_draws": 2.5}, ["num_step_draws", "integer"]),
        ("agrpo", {"num_step_draws": True}, ["num_step_draws", "integer"]),
        ("agrpo", {"step_distribution": "normal"}, ["step_distribution", "'uniform'", "'entropy'"]),
        ("agrpo", {"views_per_forward": 0}, ["views_per_forward"]),
        ("agrpo", {"top_p": 0.9}, ["top_p", "top_k"]),
        ("agrpo", {"importance_sampling_level": "sequence"}, ["importance_sampling_level", "sum over tokens"]),
        ("d2", {"loss_type": "vespo"}, ["loss_type", "sum over tokens"]),
        ("trace_rl", {"off_policy_mask_threshold": 0.5}, ["off_policy_mask_threshold", "sum over tokens"]),
        ("just_grpo", {"importance_sampling_level": "sequence"}, ["importance_sampling_level"]),
        ("dmpo", {"views_per_forward": 2}, ["views_per_forward", "'model'"]),
        ("dmpo", {"objective": "wddo", "weight_baseline": "none"}, ["weight_baseline", "WDDO"]),
        ("dmpo", {"objective": "wddo", **ONE_ROW}, []),
        ("dmpo", {"fake_weight": 0.5}, ["fake_weight", "wddo"]),
        ("dmpo", {"weight_baseline": "none", "baseline_strength": 0.5}, ["baseline_strength", "no baseline"]),
        ("dmpo", {"min_ess": 0.5, "proximal_coefficient": 0.5}, ["proximal_coefficient", "min_ess"]),
        ("dmpo", {"sequence_log_probs": "exact", "num_elbo_samples": 2}, ["num_elbo_samples", "exact"]),
        ("dmpo", {"objective": "wddo", "discriminator_scale": 0.0}, ["discriminator_scale"]),
        *(("diffpo", {"beta": beta}, ["beta", "at least 0"]) for beta in (-1, float("nan"), "abc", None)),
        ("diffpo", {"importance_sampling_clip_max": "abc"}, ["importance_sampling_clip_max"]),
        ("agrpo", {"mask_token_id": -1}, ["mask_token_id", "negative"]),
        ("dmpo", ONE_ROW, ["weight_baseline", "micro-batch"]),
        ("dmpo", {"beta": 0.0}, ["beta", "temperature"]),
        ("dmpo", {"beta": float("nan")}, ["beta", "temperature"]),
        ("dmpo", {"multi_objective_aggregation": "normalize_then_sum"}, ["multi_objective_aggregation", "beta"]),
        ("dmpo", {"baseline_strength": -1.0}, ["baseline_strength", "at least 0"]),
        ("dmpo", {"num_replicates": 0}, ["num_replicates", "at least 1"]),
        ("dmpo", {"beta": -1.0}, ["beta", "temperature"]),
        ("dmpo", {"num_replicates": 3}, ["num_replicates", "antithetic"]),
        ("dmpo", {"num_elbo_samples": 3}, ["num_elbo_samples", "pairs"]),
        ("dmpo", {"scale_rewards": "group"}, ["scale_rewards", "none"]),
        ("dmpo", {"objective": "ddo"}, ["objective", "wdce"]),
        ("dmpo", {"objective": "wddo", "views_per_forward": 2}, ["views_per_forward", "WDDO"]),
        ("dmpo", {"sequence_log_probs": "none"}, ["sequence_log_probs"]),
        ("dmpo", {"weight_baseline": "mean"}, ["baseline", "'negative'"]),
        ("dmpo", {"min_ess": 1.5}, ["min_ess"]),
        ("dmpo", {"proximal_coefficient": 0.0}, ["coefficient"]),
        ("dmpo", {"weight_baseline": "none", "views_per_forward": 3}, ["views_per_forward", "num_replicates"]),
        ("dmpo", {"loss_type": "dapo"}, []),  # its default: nothing was asked for
        ("dmpo", {"loss_type": "bnpo"}, ["loss_type", "DMPOConfig", "own"]),
        ("espo", {"delta": 2.0}, ["delta", "own"]),
        ("espo", {"epsilon": 0.1}, []),
        ("espo", {"num_elbo_samples": 3}, ["num_elbo_samples", "pairs"]),
        ("espo", {"epsilon": -0.1}, ["epsilon"]),
        ("gdpo", {"epsilon_high": -0.1}, ["epsilon_high"]),
        ("agrpo", {"epsilon": -0.1}, ["epsilon"]),
        ("wd1", {"epsilon": 0.1}, ["epsilon", "own"]),
        ("wd1", {"psi": 0.0}, ["psi"]),
        ("spg", {"upper_exponent": 0.5}, ["upper_exponent"]),
        ("spg", {"upper_weight": 1.5}, ["upper_weight"]),
        ("spg", {"num_mask_samples": 0}, ["num_mask_samples"]),
        ("coupled_grpo", {"min_mask_rate": 0.9}, ["min_mask_rate", "max_mask_rate"]),
        ("gdpo", {"num_quadrature_nodes": 0}, ["num_quadrature_nodes"]),
        ("d2", {"num_segments": 0}, ["num_segments"]),
        ("trace_rl", {"steps_per_segment": 0}, ["steps_per_segment"]),
        ("just_grpo", {"unmasking": "random"}, ["unmasking", "left to right"]),
        ("just_grpo", {"max_denoising_steps": 4}, ["max_denoising_steps", "one token per step"]),
        ("diffpo", {"top_k": 5}, ["top_k", "DiFFPOConfig"]),
    ],
    ids=str,
)
def test_bad_options_are_refused_by_name(build, method, options, words):
    if not words:
        build(method, **options)
        return
    with pytest.raises(ValueError) as error:
        build(method, **options)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("method", METHODS)
def test_the_example_in_the_docstring_runs(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, trainer = METHODS[method]
    (code,) = re.findall(r"```python\n(.*?)```", trainer.__doc__, flags=re.DOTALL)
    code = textwrap.dedent("    " + code.lstrip()).replace("max_steps=10", "max_steps=1")
    names = {}
    exec(compile(code, f"{trainer.__name__}.__doc__", "exec"), names)
    assert names["trainer"].state.global_step == 1 and type(names["trainer"]) is trainer


@pytest.mark.parametrize("method", METHODS)
def test_model_cards_name_the_method_and_its_paper(build, method):
    config, trainer = METHODS[method]
    assert trainer._name and "trl-diffusion" in trainer._tag_names
    assert re.fullmatch(r"\d{4}\.\d{5}", trainer._paper["id"])
    assert trainer._paper["id"] in trainer._paper["citation"] and trainer._paper["id"] in PAPER_INDEX
    assert f"`{trainer.__name__}`" in METHODS_PAGE and f"import {config.__name__}\n" in PAPER_INDEX


def test_very_unlikely_tokens_do_not_overflow_the_loss(build):
    """Old log-probabilities far below -88, in passes that do not score them."""
    trainer = build(
        "d2",
        reward=lambda completions, **_: [float(i % 2) for i in range(len(completions))],
        temperature=0.01,
        unmasking="random",
        num_segments=2,
        num_iterations=2,
        max_steps=2,
        learning_rate=1e-4,
    )
    seen, lowest = [], []
    compute_loss = trainer._compute_loss

    def spied(model, inputs):
        lowest.append(inputs["old_per_token_logps"].min().item())
        seen.append(compute_loss(model, inputs))
        return seen[-1]

    trainer._compute_loss = spied
    trainer.train()
    assert all(loss.isfinite() for loss in seen) and len(seen) == 2 and min(lowest) < -100
