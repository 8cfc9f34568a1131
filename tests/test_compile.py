# SPDX-License-Identifier: Apache-2.0
"""`torch.compile`: the same numbers, and no new graph in every step."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from trl_diffusion import DiffusionSampler
from trl_diffusion.models import resolve_spec

from .test_sampler import config, prompts


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_rollouts_are_those_of_the_plain_model(model):
    compiler = CompileCounter()
    compiled, spec = torch.compile(model, backend=compiler), resolve_spec(model)
    passes = 0
    for seed in range(3):
        for options in ({}, {"eos_token_ids": (4, 5)}, {"unmasking": "left_to_right"}):
            expected, found = (
                DiffusionSampler(m, config(**options), spec).sample(*prompts(), seeds=torch.arange(8) + 8 * seed)
                for m in (model, compiled)
            )
            torch.testing.assert_close(found.completion_ids, expected.completion_ids, atol=0, rtol=0)
            torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-6, rtol=0)
            passes += int(found.nfe.max())
    assert passes > 80
    assert 0 < compiler.frame_count < 20  # one of a kind: one row, several, another length


def test_training_is_that_of_the_plain_model(build):
    options = {"max_steps": 3, "optim": "sgd", "learning_rate": 0.3}
    plain = build("diffpo", **options)
    plain.train()
    compiled = build("diffpo", torch_compile=True, torch_compile_backend="eager", **options)
    compiled.train()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    for one, other in zip(plain.model.parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    for one, other in zip(plain.state.log_history, compiled.state.log_history, strict=True):
        if "loss" in one:
            assert other["loss"] == pytest.approx(one["loss"], abs=1e-6)
