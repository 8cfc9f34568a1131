# SPDX-License-Identifier: Apache-2.0
"""`torch.compile`: the same numbers, and no new graph in every step."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionSampler

from .conftest import make_model
from .families import write_checkpoint
from .test_sampler import config, prompts


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fresh():
    """No graph of another test; and beyond the limit of graphs, layers would quietly stay uncompiled."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", ["full", "dual", "block_causal"])
def test_rollouts_are_those_of_the_plain_model(kind, tmp_path):
    model = make_model(n_layers=10)
    if kind == "block_causal":
        write_checkpoint("sdar", tmp_path)
        model = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    more = {"approximate_cache": "dual"} if kind == "dual" else {}
    compiler = CompileCounter()
    compiled = torch.compile(model, backend=compiler)
    passes = 0
    for seed in range(3):
        for options in ({}, {"eos_token_ids": (4, 5)}, {"unmasking": "left_to_right"}):
            plain, fast = (DiffusionSampler(m, config(block_length=4, **options, **more)) for m in (model, compiled))
            assert fast.spec.reduces_logits
            expected, found = (
                sampler.sample(*prompts(), seeds=torch.arange(8) + 8 * seed) for sampler in (plain, fast)
            )
            torch.testing.assert_close(found.completion_ids, expected.completion_ids, atol=0, rtol=0)
            torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-6, rtol=0)
            passes += int(found.nfe.max())
    assert passes > 80
    assert 0 < compiler.frame_count < 20  # one of a kind: one row, several, another length


@pytest.mark.distributed
def test_training_is_that_of_the_plain_model(build, tmp_path, tokenizer):
    path = str(tmp_path / "deep")
    make_model(len(tokenizer), n_layers=10).save_pretrained(path)
    tokenizer.save_pretrained(path)
    options = {"max_steps": 10, "optim": "sgd", "learning_rate": 0.1, "model": path}
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
