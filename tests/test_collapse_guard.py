# SPDX-License-Identifier: Apache-2.0
"""Numbers that tell of a collapse, and the callback that watches them."""

import logging
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerControl, TrainerState

from trl_diffusion import CollapseGuard
from trl_diffusion.trainer.text_statistics import repetition

from .trainers import digits


def test_repetition_is_counted():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 3, (40, 24), generator=generator)
    ids[:, :12] += 126_000
    ids[0], ids[1] = 7, torch.arange(24)
    text = torch.arange(24) < torch.randint(0, 25, (40, 1), generator=generator)
    text[:2] = True
    for row, share in enumerate(repetition(ids, text).tolist()):
        words = ids[row][text[row]].tolist()
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        assert share == pytest.approx(1 - len(set(grams)) / len(grams) if grams else 0.0)
    assert repetition(ids, text)[:2].tolist() == pytest.approx([1 - 1 / 21, 0.0])
    assert repetition(ids[:, :3], text[:, :3]).tolist() == [0.0] * 40


def test_metrics_of_a_rollout(build):
    """What the sampler wrote, seen by a reward function, and what the log says of it."""
    seen = []

    def reward(completions, completion_ids, **kwargs):
        seen.extend(completion_ids)
        return digits(completions)

    trainer = build("diffpo", reward=reward, max_steps=1, entropy_bound=1e9, learning_rate=0.0)
    trainer.train()
    entry = trainer.state.log_history[0]
    texts = [[token for token in text if token not in trainer.eos_token_ids] for text in seen]
    assert entry["completions/empty"] == sum(not text for text in texts) / len(texts)
    assert 0 < entry["sampler/confidence"] < 1
    assert 0 <= entry["completions/seq_rep_4"] < 1


def logs(guard, values, **extra):
    """The control after these logs of one metric, one at each update."""
    args = SimpleNamespace(output_dir="nowhere", save_strategy=SimpleNamespace(value="steps"))
    control, state = TrainerControl(), TrainerState()
    guard.on_train_begin(args, state, control)
    for step, value in enumerate(values, 1):
        state.global_step = step
        guard.on_log(args, state, control, logs={"entropy": value, "other": "text"} | extra)
    return control


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([0.1] * 3, True),
        ([0.1, 0.1, 0.9, 0.1, 0.1], False),
        ([0.5] * 9, False),  # the limit itself
        ([0.9, 0.1, 0.1, 0.1], True),
        ([2.1] * 3, True),
        ([0.1, 2.1, 0.1], True),
        ([float("nan")] * 3, True),
    ],
)
def test_patience(values, stops):
    guard = CollapseGuard("stop", limits={"entropy": (0.5, 2.0)}, patience=3)
    assert logs(guard, values).should_training_stop == stops


def test_it_warns_once_for_each_streak(caplog):
    guard = CollapseGuard(limits={"entropy": (0.5, None)}, patience=2)
    with caplog.at_level(logging.WARNING, "trl_diffusion.trainer.collapse_guard"):
        control = logs(guard, [0.1] * 5 + [0.9] + [0.2] * 3)
    assert not control.should_training_stop
    assert [record.getMessage() for record in caplog.records] == [
        "`entropy` is 0.1, not within (0.5, None) for 2 logs (since update 1).",
        "`entropy` is 0.2, not within (0.5, None) for 2 logs (since update 7).",
    ]


def test_limits_by_default(caplog):
    stopped = {
        name: logs(CollapseGuard("stop", patience=1), [1.0], **{name: value}).should_training_stop
        for name, value in {
            "frac_reward_zero_std": 1.0, "completions/empty": 0.6, "completions/seq_rep_4": 0.7, "drift/ess": 0.3,
            "reward": -5.0,
        }.items()
    }  # fmt: skip
    assert [name for name, stops in stopped.items() if not stops] == ["reward"]
    assert not logs(CollapseGuard("stop", {"entropy": (None, None)}, 1), [0.0]).should_training_stop


@pytest.mark.parametrize("saved", [True, False])
def test_it_goes_back_to_the_last_good_checkpoint(build, tmp_path, saved):
    """The reward falls with the fourth update, and training ends after the fifth, with the weights of the third."""

    def reward(completions, trainer_state, **kwargs):
        return [value - 10 * (trainer_state.global_step >= 3) for value in digits(completions)]

    options = {"save_strategy": "steps", "save_steps": 1 if saved else 4}
    trainer = build("diffpo", reward=reward, max_steps=9, **options)
    trainer.add_callback(CollapseGuard("roll_back", limits={"reward": (-1, None)}, patience=2))
    trainer.train()
    assert trainer.state.global_step == 5
    good = AutoModelForCausalLM.from_pretrained(tmp_path / ("checkpoint-3" if saved else "checkpoint-4"))
    same = [torch.equal(values, trainer.model.state_dict()[name]) for name, values in good.state_dict().items()]
    assert all(same) if saved else not all(same)


def test_a_log_speaks_of_all_updates_since_the_last(tmp_path):
    """What is bad at 20 may have been so since 11: the last good checkpoint is that of 9."""
    for step in (3, 6, 9, 12, 15, 18):
        (tmp_path / f"checkpoint-{step}").mkdir()
    args = SimpleNamespace(output_dir=str(tmp_path), save_strategy=SimpleNamespace(value="steps"))
    guard = CollapseGuard("roll_back", limits={"reward": (0, None)}, patience=2)
    control, state = TrainerControl(), TrainerState()
    guard.on_train_begin(args, state, control)
    for state.global_step, reward in ((10, 1.0), (20, -1.0), (30, -1.0)):
        guard.on_log(args, state, control, logs={"reward": reward})
    assert control.should_training_stop and state.best_model_checkpoint == str(tmp_path / "checkpoint-9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "pray"}, "`action` must be one of warn, stop, roll_back, got 'pray'"),
        ({"patience": 0}, "`patience` must be a whole number, at least 1"),
        ({"patience": 1.5}, "`patience` must be a whole number"),
        ({"limits": {"reward": 0.5}}, "must be a lower and an upper limit"),
        ({"limits": {"reward": (1, 0)}}, r"`limits\['reward'\]` must be a lower and an upper limit, got \(1, 0\)"),
        ({"limits": {"reward": (1,)}}, "must be a lower and an upper limit"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        CollapseGuard(**arguments)


def test_there_must_be_checkpoints_to_go_back_to(build):
    trainer = build("diffpo")
    trainer.add_callback(CollapseGuard("roll_back"))
    with pytest.raises(ValueError, match="needs checkpoints: set `save_strategy`"):
        trainer.train()
