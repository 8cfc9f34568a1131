# SPDX-License-Identifier: Apache-2.0
"""Reward functions that raise, return nonsense, or nothing: defined behaviour, and a message that names them."""

import functools

import numpy as np
import pytest
import torch

from trl_diffusion.rewards.checks import check_rewards
from trl_diffusion.trainer.reward_checks import RewardErrors


@pytest.mark.parametrize(
    "rewards",
    [[1, 0.5, None], (True, 0.5, float("nan")), np.array([1, 0.5, np.nan]), torch.tensor([1.0, 0.5, torch.nan])],
)
def test_numbers_of_all_kinds(rewards):
    assert check_rewards(rewards, 3) == [1.0, 0.5, None]


@pytest.mark.parametrize(
    ("rewards", "error", "message"),
    [
        (None, TypeError, "The reward function returned None, expected a list of 2 numbers"),
        (1.0, TypeError, r"a float \('1.0'\), expected a list of 2 numbers"),
        ("10", TypeError, "a str"),
        ({0: 1.0, 1: 2.0}, TypeError, "a dict"),
        ([1.0], ValueError, "1 rewards for 2 completions"),
        ([1.0, 2.0, 3.0], ValueError, "3 rewards for 2 completions"),
        ([1.0, "0.5"], TypeError, r"Reward 1 is a str \('0.5'\), expected a number"),
        ([[1.0], 1.0], TypeError, "Reward 0 is a list"),
        ([1.0, float("inf")], ValueError, "Reward 1 is infinite"),
    ],
)
def test_what_is_no_reward(rewards, error, message):
    with pytest.raises(error, match=message):
        check_rewards(rewards, 2)


def test_the_first_error_is_kept_once():
    def one(completions, **kwargs):
        raise ZeroDivisionError("first")

    def other(completions, **kwargs):
        raise KeyError("second")

    errors = RewardErrors()
    for function in (one, other):
        assert errors.wrap(function, function.__name__)(completions=["a", "b"]) == [0.0, 0.0]
    error = errors.take()
    assert str(error) == "first" and error.__notes__ == ["In the reward function `one`."]
    assert errors.take() is None


class Judge:
    def __call__(self, completions, **kwargs):
        raise RuntimeError("no verdict")


async def judge_later(completions, **kwargs):
    raise RuntimeError("no verdict")


@pytest.mark.parametrize(
    "reward", [Judge(), functools.partial(Judge()), judge_later], ids=["object", "partial", "async"]
)
def test_a_reward_that_raises_ends_training(build, reward):
    trainer = build("diffpo", reward=reward)
    with pytest.raises(RuntimeError, match="no verdict") as raised:
        trainer.train()
    assert "In the reward function" in raised.value.__notes__[0]
    assert trainer.state.global_step == 0


async def digits_later(completions, **kwargs):
    return [len(text) for text in completions]


def test_rewards_that_come_later_are_rewards(build):
    trainer = build("diffpo", reward=[digits_later, functools.partial(lambda completions, **kwargs: [0.5] * 4)])
    trainer.train()
    assert "rewards/digits_later/mean" in trainer.state.log_history[0]


@pytest.mark.parametrize("reward", [[None, None, None, None], [float("nan")] * 4])
def test_no_reward_at_all(build, reward):
    """TRL warns; nothing is learned, and nothing becomes NaN."""
    trainer = build("diffpo", reward=lambda completions, **kwargs: reward, max_steps=1)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert all(torch.equal(p, q) for p, q in zip(before, trainer.model.parameters()))
    assert trainer.state.log_history[0]["loss"] == 0
