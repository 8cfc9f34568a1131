# SPDX-License-Identifier: Apache-2.0
"""The trainers, end to end, on tiny models: what TRL promises still holds, the mathematics is the method's."""

import copy
import json

import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback

from trl_diffusion import DiFFPOTrainer, DiffuGRPOTrainer
from trl_diffusion.generation import Trajectory
from trl_diffusion.likelihood import TwoTimesMeanField
from trl_diffusion.trainer.trl_hooks import hooks

from .conftest import make_model
from .trainers import METHODS, PROMPTS, digits, losses, spy


@pytest.fixture(params=["diffu_grpo", "diffpo"])
def method(request):
    return request.param


# ---------------------------------------------------------------- training changes what it should


def test_every_parameter_moves(build, method):
    trainer = build(method)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(torch.isfinite(torch.tensor(losses(trainer))))


def test_lora_moves_its_adapters_and_nothing_else(build, method):
    peft_config = LoraConfig(r=2, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj"])
    trainer = build(method, peft_config=peft_config, beta=0.1, max_steps=3)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("lora_" in name), name
    assert trainer.ref_model is None
    assert trainer.state.log_history[0]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert trainer.state.log_history[2]["kl"] > 0


def test_reward_goes_up(build, method):
    trainer = build(
        method,
        max_steps=25,
        per_device_train_batch_size=32,
        num_generations=8,
        learning_rate=3e-3,
        gradient_checkpointing=False,
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


def test_gradient_checkpointing_changes_nothing(build, method, tmp_path):
    runs = []
    for checkpointing in (False, True):
        trainer = build(method, gradient_checkpointing=checkpointing, path=tmp_path / str(checkpointing))
        trainer.train()
        runs.append(losses(trainer))
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)


# ---------------------------------------------------------------- old, reference and current policy


def test_ratio_is_one_and_kl_zero_on_the_first_inner_step(build, method):
    """With a frozen policy they stay so: old and reference policy are scored on the very views of the current one."""
    cls = spy(METHODS[method][1])
    trainer = build(
        method, cls=cls, num_iterations=3, max_steps=6, learning_rate=0.0, beta=0.5, steps_per_generation=2
    )
    trainer.train()
    assert len(trainer.seen) == 6
    for call in trainer.seen:
        counted = call["inputs"]["completion_mask"].bool()
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            torch.testing.assert_close(
                call["inputs"][name][:, call["draw"]][counted], call["log_probs"][counted], atol=1e-5, rtol=0
            )
            if method == "diffpo":  # the draws are different views: a mix-up would show
                other = call["inputs"][name][:, (call["draw"] + 1) % 3]
                assert (other - call["log_probs"])[counted].abs().max() > 1e-3
    for entry in trainer.state.log_history[:-1]:
        assert entry["kl"] == pytest.approx(0.0, abs=1e-9)
        assert entry["clip_ratio/region_mean"] == 0


def test_each_draw_is_used_once_per_micro_batch(build, method):
    cls = spy(METHODS[method][1])
    trainer = build(
        method, cls=cls, num_iterations=3, steps_per_generation=2, gradient_accumulation_steps=2, max_steps=6
    )
    trainer.train()
    visits = {}
    for call in trainer.seen:
        visits.setdefault(call["inputs"]["draw_seeds"].data_ptr(), []).append(call["draw"])
    assert [call["draw"] for call in trainer.seen] == [0, 0, 1, 1, 2, 2] * 2
    assert all(sorted(draws) == [0, 1, 2] for draws in visits.values())


def test_reference_model_is_scored_on_the_policys_views(build):
    trainer = build("diffpo", beta=0.1, max_steps=4, num_iterations=2)
    trainer.train()
    kl = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
    assert kl[0] == pytest.approx(0.0, abs=1e-9) and all(value > 1e-6 for value in kl[1:])


# ---------------------------------------------------------------- the loss, by hand


def by_hand(trainer, call):
    """The method's loss from its formula, and its gradient, in float64, from the logits on hand-made canvases."""
    model = copy.deepcopy(AutoModelForCausalLM.from_pretrained(trainer.model.name_or_path)).double()
    model.load_state_dict({k: v.double() for k, v in call["state"].items()})
    inputs, args = call["inputs"], trainer.args
    rollout, draw, mask_id = Trajectory.from_dict(inputs), call["draw"], trainer.spec.mask_token_id
    tau = TwoTimesMeanField.draw_tau(rollout.nfe, inputs["draw_seeds"][:, draw])
    total, sequences, tokens = 0.0, [], 0
    for row in range(len(rollout)):
        prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row] == 1]
        if isinstance(trainer, DiffuGRPOTrainer):
            (part,) = trainer.estimator.passes(
                trainer.rollout_batch(inputs, inputs["draw_seeds"], trainer.estimator), draw, mask_id
            )
            prompt = part.views[0].prompt_ids[row][inputs["prompt_mask"][row] == 1]
        terms = []
        for i in range(int(inputs["completion_mask"][row].sum())):
            step, o = rollout.unmask_step[row], rollout.completion_ids[row]
            seen = (step >= 0) & (step < tau[row])
            if isinstance(trainer, DiffuGRPOTrainer) or step[i] < tau[row]:
                seen = torch.zeros_like(seen)
            state = torch.where(seen, o, mask_id)
            logits = model(input_ids=torch.cat([prompt, state])[None]).logits[0, len(prompt) + i]
            words = torch.arange(len(logits)) != mask_id
            log_prob = (logits / args.temperature)[o[i]] - (logits[words] / args.temperature).logsumexp(0)
            old = log_prob.detach()
            if "old_per_token_logps" in inputs:
                old = inputs["old_per_token_logps"][row, draw, i].double()
            advantage = inputs["advantages"][row].double()
            rho = (log_prob - old).exp()
            clipped = rho.clamp(1 - args.epsilon, 1 + args.epsilon)
            weight = 1.0
            if isinstance(trainer, DiFFPOTrainer):
                behaviour = rollout.log_probs[row, i].double()
                weight = min(args.importance_sampling_clip_max, (old - behaviour).exp().item())
            terms.append(-weight * min(rho * advantage, clipped * advantage))
        sequences.append(sum(terms) / len(terms))
        total, tokens = total + sum(terms), tokens + len(terms)
    loss = total / tokens if args.loss_type == "bnpo" else sum(sequences) / len(sequences)
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_loss_and_gradient_are_the_methods_formula(build, method, num_iterations):
    """With and without stored log-probabilities of the old policy."""

    class Recorder(spy(METHODS[method][1])):
        def _compute_loss(self, model, inputs):
            state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            loss = super()._compute_loss(model, inputs)
            gradient = torch.autograd.grad(loss, list(self.model.parameters()), retain_graph=True)
            self.seen[-1] |= {"state": state, "gradient": gradient}
            return loss

    trainer = build(
        method,
        cls=Recorder,
        num_iterations=num_iterations,
        max_steps=2 * num_iterations,
        temperature=0.8,
        learning_rate=3e-2,
    )
    trainer.train()
    ratios_seen = 0
    for call in trainer.seen:
        loss, gradient = by_hand(trainer, call)
        assert call["loss"] == pytest.approx(loss, abs=2e-5)
        for ours, expected in zip(call["gradient"], gradient, strict=True):
            torch.testing.assert_close(ours.double(), expected, atol=2e-4, rtol=2e-3)
        assert ("old_per_token_logps" in call["inputs"]) == (num_iterations > 1)
        if num_iterations > 1:
            old = call["inputs"]["old_per_token_logps"][:, call["draw"]]
            ratios_seen += int(((call["log_probs"] - old).abs() > 0.5).sum())
    assert ratios_seen > 0 or num_iterations == 1  # the clip was at work


def test_importance_weights_equal_the_formula(build):
    trainer = build("diffpo", cls=spy(DiFFPOTrainer), max_steps=3, importance_sampling_clip_max=1.1)
    trainer.train()
    truncated = 0
    for call, logged in zip(trainer.seen, trainer.state.log_history, strict=False):
        rollout, counted = Trajectory.from_dict(call["inputs"]), call["inputs"]["completion_mask"].bool()
        counted &= call["inputs"]["advantages"][:, None] != 0  # others are not scored
        width = counted.shape[1]
        exact = (call["log_probs"].double() - rollout.log_probs[:, :width].double()).exp()
        torch.testing.assert_close(
            call["weights"][counted].double(), exact.clamp(max=1.1)[counted], atol=1e-6, rtol=1e-5
        )
        # Exactly one where the surrogate's state is the sampler's: at the first step, and at step tau.
        tau = TwoTimesMeanField.draw_tau(rollout.nfe, call["inputs"]["draw_seeds"][:, call["draw"]])[:, None]
        same = ((rollout.unmask_step == 0) | (rollout.unmask_step == tau))[:, :width] & counted
        torch.testing.assert_close(call["weights"][same], torch.ones(int(same.sum())), atol=1e-5, rtol=0)
        share = (exact > 1.1)[counted].double().mean().item()
        assert logged["sampling/importance_sampling_ratio/truncated"] == pytest.approx(share, abs=1e-6)
        truncated += share
    assert truncated > 0


def test_correction_can_be_switched_off(build):
    trainer = build("diffpo", cls=spy(DiFFPOTrainer), importance_sampling_correction=False)
    trainer.train()
    assert all(call["weights"] is None for call in trainer.seen)
    assert "sampling/importance_sampling_ratio/mean" not in trainer.state.log_history[0]


# ---------------------------------------------------------------- TRL's options


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"])
def test_loss_types(build, method, loss_type):
    level = "sequence" if loss_type == "luspo" else "token"
    trainer = build(method, loss_type=loss_type, num_iterations=2, importance_sampling_level=level)
    trainer.train()
    assert all(torch.isfinite(torch.tensor(losses(trainer))))


@pytest.mark.parametrize(
    "options",
    [
        {"entropy_coef": 0.01},
        {"mask_truncated_completions": True},
        {"scale_rewards": "batch"},
        {"delta": 2.0, "epsilon_high": 0.8},
        {"beta": 0.1, "use_bias_correction_kl": True},
        {"unmasking": "random", "max_denoising_steps": 4},
        {"unmasking": "confidence_threshold", "confidence_threshold": 0.5},
        {"sampler_batch_size": 3},
        {"steps_per_generation": 2, "gradient_accumulation_steps": 4},
        {"beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_options(build, method, options):
    trainer = build(method, **options)
    trainer.train()
    assert all(torch.isfinite(torch.tensor(losses(trainer))))


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_rollouts_and_scores_run_in_the_training_precision(build, method, bf16):
    trainer = build(method, bf16=bf16, max_steps=1, num_iterations=2)
    seen = set()
    trainer.model.model.layers[0].self_attn.q_proj.register_forward_hook(
        lambda module, args, output: seen.add((module.training, torch.is_grad_enabled(), output.dtype))
    )
    trainer.train()
    dtype = torch.bfloat16 if bf16 else torch.float32
    # in a rollout, for the old policy, in the loss
    assert seen == {(False, False, dtype), (True, False, dtype), (True, True, dtype)}


def test_entropy_bonus_has_a_gradient(build):
    """Without any reward, only the bonus moves the model, and it raises the entropy."""
    trainer = build(
        "diffu_grpo", reward=lambda completions, **_: [0.0] * len(completions), entropy_coef=1.0, max_steps=20
    )
    trainer.train()
    entropies = [entry["entropy"] for entry in trainer.state.log_history if "entropy" in entry]
    assert sum(entropies[-3:]) / 3 > sum(entropies[:3]) / 3 + 0.2


def test_rewards_see_the_passes_and_the_threshold(build):
    seen = {}

    def speed(completions, nfe, threshold, **kwargs):
        seen.update(nfe=nfe, threshold=threshold)
        return [-float(n) for n in nfe]

    trainer = build("diffpo", reward=[digits, speed], max_steps=1)
    trainer.train()
    assert len(seen["nfe"]) == 4 and all(2 <= n <= 8 for n in seen["nfe"])
    assert seen["threshold"] == [1.5] * 4
    logged = trainer.state.log_history[0]
    assert logged["sampler/nfe"] == pytest.approx(sum(seen["nfe"]) / 4)
    assert logged["rewards/speed/mean"] == pytest.approx(-sum(seen["nfe"]) / 4)
    assert logged["sampler/nfe_min"] == min(seen["nfe"]) and logged["sampler/nfe_max"] == max(seen["nfe"])


def test_iterable_datasets(build):
    """Each completion gets its own columns, and those of its prompt."""
    seen = {}

    def reward(completions, nfe, answer, **kwargs):
        seen.update(nfe=nfe, answer=answer)
        return digits(completions)

    trainer = build("diffpo", reward=reward, entropy_bound=2.5, per_device_train_batch_size=16, max_steps=1)
    rows = [{"prompt": p, "answer": i} for i, p in enumerate(PROMPTS)]
    trainer.train_dataset = Dataset.from_list(rows).to_iterable_dataset()
    trainer.args.accelerator_config.dispatch_batches = False
    trainer.accelerator.dataloader_config.dispatch_batches = False
    trainer.train()
    assert sorted(seen["answer"]) == sorted(4 * seen["answer"][::4])
    assert any(len(set(seen["nfe"][i : i + 4])) > 1 for i in range(0, 16, 4))


def test_conversational_prompts(build, method, tokenizer):
    trainer = build(method, reward=lambda completions, **_: [len(c[0]["content"]) for c in completions])
    trainer.train_dataset = Dataset.from_dict({"prompt": [[{"role": "user", "content": p}] for p in PROMPTS]})
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"
    trainer.processing_class.chat_template = template
    trainer.train()
    assert len(losses(trainer)) == 2


def test_completions_are_logged_with_their_passes(build, tmp_path):
    build("diffpo", log_completions=True, max_steps=1).train()
    table = pd.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert {"prompt", "completion", "digits", "nfe", "threshold", "advantage"} <= set(table.columns)
    assert len(table) == 4 and table["nfe"].between(2, 8).all()


def test_model_card_names_the_method_and_the_paper(build, tmp_path):
    trainer = build("diffpo", max_steps=1)
    trainer.create_model_card(model_name="tiny")
    card = (tmp_path / "README.md").read_text()
    assert "DiFFPO" in card and "2510.02212" in card and "trl-diffusion" in card


# ---------------------------------------------------------------- evaluation, resuming, reproducibility


def test_evaluation_in_mid_buffer_changes_nothing(build, method, tmp_path):
    """The buffered batch must not see what an evaluation leaves behind, nor must the random state."""
    runs = []
    eval_dataset = Dataset.from_dict({"prompt": PROMPTS[:2]})
    for name, evaluation in (("without", {}), ("with", {"eval_strategy": "steps", "eval_steps": 1})):
        trainer = build(
            method,
            path=tmp_path / name,
            eval_dataset=eval_dataset,
            num_iterations=2,
            steps_per_generation=2,
            max_steps=8,
            **evaluation,
        )
        trainer.train()
        runs.append((losses(trainer), [p.detach().clone() for p in trainer.model.parameters()]))
    assert "eval_reward" in json.dumps(trainer.state.log_history)
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1]))


def test_evaluation_repeats_itself(build):
    trainer = build("diffpo", eval_dataset=Dataset.from_dict({"prompt": PROMPTS[:3]}), num_generations_eval=4)
    one, other = trainer.evaluate(), trainer.evaluate()
    for name in ("eval_loss", "eval_reward", "eval_sampler/nfe", "eval_completions/mean_length"):
        assert one[name] == other[name]


def test_the_same_seed_gives_the_same_run(build, method, tmp_path):
    runs = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        trainer = build(method, path=tmp_path / name, seed=seed, max_steps=3)
        trainer.train()
        runs[name] = losses(trainer)
    assert runs["one"] == runs["again"] != runs["other"]


@pytest.mark.parametrize("stop", [4, 3, 9], ids=["between_rollouts", "amid_a_rollout", "second_epoch"])
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_resumed_run_equals_the_uninterrupted_one(build, method, tmp_path, peft, stop):
    def options(name):
        return {
            "path": tmp_path / name,
            "save_strategy": "steps",
            "save_steps": stop,
            "num_iterations": 2,
            "steps_per_generation": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 13,
            "lr_scheduler_type": "linear",
            "peft_config": LoraConfig(r=2, target_modules="all-linear", exclude_modules=["lm_head"]) if peft else None,
        }

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == stop

    whole = build(method, **options("whole"))
    whole.train()
    first = build(method, **options("parts"))
    first.add_callback(Stop())
    first.train()
    second = build(method, **options("parts"))
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / f"checkpoint-{stop}"))
    assert len(losses(whole)) == 13
    assert losses(second) == losses(whole)
    for (name, p), q in zip(whole.model.named_parameters(), second.model.parameters()):
        assert torch.equal(p, q), name


def test_rollouts_of_one_prompt_differ_between_and_within_updates(build, method):
    """Their seeds must not repeat from update to update, nor in the several rollouts of one update."""
    texts = []

    def reward(completions, **kwargs):
        texts.append(tuple(completions))
        return digits(completions)

    trainer = build(
        method,
        reward=reward,
        learning_rate=0.0,
        gradient_accumulation_steps=3,
        steps_per_generation=1,
        max_steps=2,
    )
    trainer.train_dataset = Dataset.from_dict({"prompt": PROMPTS[:1] * 6})
    trainer.train()
    assert len(texts) == 6 and len(set(texts)) == 6


def test_a_group_is_forwarded_as_one_canvas(build):
    """The trainer gives a group one seed, and diffu-GRPO then costs one row per prompt."""
    trainer = build("diffu_grpo", per_device_train_batch_size=8, max_steps=1)
    rows = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["input_ids"].shape[0]) if module.training else None,
        with_kwargs=True,
    )
    trainer.train()
    assert rows == [2]


def test_nothing_stays_behind_when_a_reward_raises(build):
    def broken(completions, **kwargs):
        raise RuntimeError("no reward today")

    trainer = build("diffpo", reward=broken)
    with pytest.raises(RuntimeError, match="no reward today"):
        trainer.train()
    assert trainer._fresh is None and trainer._scores is None


def test_saved_model_decodes_like_the_trained_one(build, tmp_path, tokenizer):
    from trl_diffusion import DiffusionSampler

    trainer = build("diffpo")
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    inputs = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    config, seeds = trainer.args.generation_config((0,)), torch.arange(8)
    ours, theirs = (
        DiffusionSampler(model, config).sample(inputs.input_ids, inputs.attention_mask, seeds=seeds)
        for model in (trainer.model, again)
    )
    assert torch.equal(ours.completion_ids, theirs.completion_ids)


def test_model_instance_instead_of_a_path(build, tokenizer):
    trainer = build("diffu_grpo", model=make_model(len(tokenizer)))
    trainer.train()
    assert len(losses(trainer)) == 2


def test_missing_attributes_of_trl_are_named(build, monkeypatch):
    monkeypatch.setattr(hooks, "ATTRIBUTES", ("_dist", "_renamed"))
    with pytest.raises(ImportError, match=r"trl .* does not fit .*: GRPOTrainer\._renamed is missing\. Install"):
        build("diffpo")


def test_metrics_are_those_of_the_rollouts(build):
    """Computed again, one completion at a time, from what was recorded. Texts end early here."""
    trainer = build("diffpo", cls=spy(DiFFPOTrainer), per_device_train_batch_size=16, max_steps=1)
    trainer.train()
    (call,), logged = trainer.seen, trainer.state.log_history[0]
    rollout, mask = Trajectory.from_dict(call["inputs"]), call["inputs"]["completion_mask"].bool()
    speeds, entropies = [], []
    for row in range(16):
        text = rollout.completion_ids[row].tolist()
        end = next((i + 1 for i, token in enumerate(text) if token == 0), len(text))
        assert end == int(mask[row].sum())
        speeds.append(end / int(rollout.nfe[row]))
        written = rollout.unmask_step[row] >= 0
        entropies.append(rollout.entropies[row, written].mean().item())
    assert logged["sampler/tokens_per_step"] == pytest.approx(sum(speeds) / 16, rel=1e-5)
    assert logged["sampler/entropy"] == pytest.approx(sum(entropies) / 16, rel=1e-5)
    assert logged["sampler/nfe"] == pytest.approx(rollout.nfe.double().mean().item())
    mean_weight = call["weights"][mask].mean().item()
    assert logged["sampling/importance_sampling_ratio/mean"] == pytest.approx(mean_weight, rel=1e-5)
    assert not mask.all() and (rollout.unmask_step[:, : mask.shape[1]][~mask] >= 0).any()


def test_the_rows_of_a_group_have_their_own_draws_unless_they_share_a_canvas(build):
    for method, groupwise in (("diffpo", False), ("diffu_grpo", True)):
        trainer = build(method, cls=spy(METHODS[method][1]), max_steps=1)
        trainer.train()
        seeds = trainer.seen[0]["inputs"]["draw_seeds"].flatten().tolist()
        assert len(set(seeds)) == (1 if groupwise else 4)


def test_old_policy_is_scored_in_micro_batches(build):
    trainer = build("diffpo", steps_per_generation=4, gradient_accumulation_steps=4, num_iterations=2, max_steps=1)
    rows = []
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: (
            rows.append(len(kwargs["input_ids"])) if module.training and not torch.is_grad_enabled() else None
        ),
        with_kwargs=True,
    )
    trainer.train()
    assert len(rows) == 2 * 4 and max(rows) <= 2 * 4  # two draws of four micro-batches; 2-MF has two views


def test_every_end_token_ends_a_text(build, model_path, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(model_path)
    model.generation_config.eos_token_id = [0, 7, 8, 9]
    trainer = build("diffpo", cls=spy(DiFFPOTrainer), model=model, per_device_train_batch_size=16, max_steps=1)
    trainer.train()
    rollout = Trajectory.from_dict(trainer.seen[0]["inputs"])
    ends = torch.isin(rollout.completion_ids, torch.tensor([0, 7, 8, 9]))
    assert ends.any(-1).sum() > 8 and (rollout.completion_ids[ends] != 0).any()
    assert (trainer.seen[0]["inputs"]["completion_mask"] * ends[:, : rollout.unmask_step.shape[1]]).sum(-1).max() <= 1
