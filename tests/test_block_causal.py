# SPDX-License-Identifier: Apache-2.0
"""Models with block-causal attention: what they see, in which order they are written, and their exact cache."""

from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.likelihood import ExactSteps, RolloutBatch, score_views
from trl_diffusion.models import ThresholdHeadConfig, resolve_spec
from trl_diffusion.models.bidirectional import block_causal_mask

from .conftest import in_float64
from .families import CONFIGS, MASK, write_checkpoint


# They end at every place in a block, and one is longer than what a step sends through the model.
PROMPTS = [[5, 6, 7, 8, 9, 10], [4], list(range(2, 21)), [3, 4, 5], [10, 11, 12, 13]]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sdar")
    write_checkpoint("sdar", path)
    return path


def load(path, **options):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).eval()


@pytest.fixture
def model(path):
    return in_float64(load(path))


def padded(prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], dtype=torch.long)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], dtype=torch.long)
    return ids, mask


def decode(model, prompts=PROMPTS, **options):
    decoder = DiffusionGenerationConfig(**{"max_new_tokens": 12, "block_length": 4, "entropy_bound": 1.0} | options)
    return DiffusionSampler(model, decoder).sample(*padded(prompts), seeds=torch.arange(len(prompts)))


def test_the_mask_by_hand():
    mask = block_causal_mask(torch.tensor([[0, 0, 1, 1, 1, 1, 1]]), 2)[0]
    block = [None, None, 0, 0, 1, 1, 2]
    for q in range(2, 7):
        assert mask[q].tolist() == [block[k] is not None and block[k] <= block[q] for k in range(7)]


@torch.no_grad()
def test_later_blocks_are_not_seen(model):
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13]])
    before = model(ids).logits
    for changed in range(9):
        other = ids.clone()
        other[0, changed] = 20
        differs = (model(other).logits - before).abs().amax(-1)[0] > 1e-9
        assert differs.tolist() == [i // 4 >= changed // 4 for i in range(9)]


@pytest.mark.parametrize(
    "unmasking", ["entropy_bound", "confidence_threshold", "low_confidence", "random", "left_to_right"]
)
def test_blocks_are_counted_from_the_first_token(model, unmasking):
    """The first block of a completion begins in its prompt, and is written first."""
    bound = {} if unmasking != "entropy_bound" else {"entropy_bound": 1.0}
    trajectory = decode(model, unmasking=unmasking, **bound)
    assert (trajectory.unmask_step >= 0).all()
    for row, prompt in enumerate(PROMPTS):
        blocks = [(len(prompt) + i) // 4 for i in range(12)]
        steps = [
            [int(s) for s, b in zip(trajectory.unmask_step[row], blocks) if b == block]
            for block in sorted(set(blocks))
        ]
        assert all(max(a) < min(b) for a, b in pairwise(steps))
        assert sum(map(len, steps)) == 12


def test_prompts_are_sent_once_without_their_padding(model):
    """Equal ones together, each when its turn comes; places are for the rows that are decoded."""
    seen, places = [], set()

    def note(module, args, kwargs):
        seen.append(tuple(kwargs["input_ids"].shape))
        places.update(len(keys) for keys, _ in kwargs["past_key_values"].stored)

    model.register_forward_pre_hook(note, with_kwargs=True)
    prompts = [[3, 4, 5, 6, 7, 8]] * 4 + [[7, 8]] * 2
    trajectory = decode(model, prompts, max_batch_size=2, unmasking="left_to_right")
    assert [shape for shape in seen if shape[1] != 8] == [(1, 6), (1, 6), (1, 2)]
    assert places == {2}
    columns = trajectory.nfe * 8 + torch.tensor([3, 3, 3, 3, 1, 1])
    torch.testing.assert_close(trajectory.row_forwards * (6 + 12), columns.float())


@pytest.mark.parametrize("max_batch_size", [None, 2])
@pytest.mark.parametrize("ends", [(), (0, 3, 9)])
@pytest.mark.parametrize("unmasking", ["entropy_bound", "random"])
def test_the_cache_changes_nothing(model, max_batch_size, ends, unmasking):
    options = {"max_batch_size": max_batch_size, "eos_token_ids": ends, "unmasking": unmasking}
    cached, plain = (decode(model, use_cache=use_cache, **options) for use_cache in (True, False))
    for name in ("completion_ids", "unmask_step", "nfe"):
        assert torch.equal(getattr(cached, name), getattr(plain, name)), name
    torch.testing.assert_close(cached.log_probs, plain.log_probs, atol=1e-6, rtol=0)
    torch.testing.assert_close(cached.entropies, plain.entropies, atol=1e-6, rtol=0)
    assert len(set(cached.nfe.tolist())) > 1 or unmasking == "random"


def test_eager_attention_decodes_the_same(path, model):
    eager = decode(load(path, attn_implementation="eager"))
    assert torch.equal(eager.completion_ids, decode(model).completion_ids)
    other = load(path)
    other.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="`attn_implementation='flash_attention_2'` takes no mask of who sees whom"):
        other(torch.tensor([[5, 6]]))


def test_a_step_sends_two_blocks_and_no_more(model):
    widths = []
    model.register_forward_pre_hook(lambda m, a, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True)
    trajectory = decode(model, PROMPTS[:1])
    assert widths == [6] + [8] * int(trajectory.nfe)


@torch.no_grad()
def test_the_attention_follows_the_configuration_of_any_family(tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "a2d-qwen3", CONFIGS["a2d-qwen3"] | {"block_size": 4})
    write_checkpoint("a2d-qwen3", tmp_path)
    model = load(tmp_path)
    assert resolve_spec(model).attention_block == 4
    one, other = torch.tensor([[2, 3, 4, 5, 6]]), torch.tensor([[2, 3, 4, 5, 9]])
    assert torch.equal(model(one).logits[0, :4], model(other).logits[0, :4])


@torch.no_grad()
def test_recorded_log_probs_are_those_of_the_whole_canvas(model):
    trajectory = decode(model)
    ids, mask = padded(PROMPTS)
    batch = RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(5)[:, None])
    (part,) = ExactSteps().passes(batch, 0, MASK)
    scores = score_views(model, resolve_spec(model), part.views, batch).token_log_probs
    torch.testing.assert_close(scores.float(), trajectory.log_probs, atol=1e-5, rtol=0)


def test_a_learned_threshold_is_drawn_before_the_first_block(model):
    model.add_threshold_head(ThresholdHeadConfig(initial=1.0))
    torch.manual_seed(0)
    torch.nn.init.normal_(model.threshold_head.output.weight, std=0.5)
    cached, plain = (decode(model, learned_threshold="sample", use_cache=use) for use in (True, False))
    assert torch.equal(cached.completion_ids, plain.completion_ids) and torch.equal(cached.threshold, plain.threshold)
    assert len(cached.threshold[:, 0].unique()) > 1
    ids, mask = padded(PROMPTS)
    batch = RolloutBatch(ids, mask, cached.unmask_step >= 0, cached, torch.arange(5)[:, None])
    (part,) = ExactSteps().passes(batch, 0, MASK)
    policy = model.threshold_head.policy
    scores = score_views(model, resolve_spec(model), part.views, batch, threshold_policy=policy)
    torch.testing.assert_close(scores.threshold_log_probs.float(), cached.threshold_log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prompts", [[[]], [[], [5, 6, 7, 8, 9]]])
def test_a_prompt_without_tokens(model, prompts):
    # In an order of its own: the first block is nothing but masks, and all its positions are alike.
    cached, plain = (decode(model, prompts, use_cache=use, unmasking="left_to_right") for use in (True, False))
    assert torch.equal(cached.completion_ids, plain.completion_ids)
    torch.testing.assert_close(cached.log_probs, plain.log_probs, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_refused(model, path, build):
    with pytest.raises(ValueError, match="`block_length=6`: the model's attention has blocks of 4"):
        decode(model, block_length=6)
    with pytest.raises(ValueError, match="Set `block_length=4`"):
        build("diffpo", model=str(path), block_length=8)
    with pytest.raises(ValueError, match="`threshold_per_block=True` is not supported"):
        build("diffpo", model=str(path), block_length=4, regime="joint", threshold_per_block=True)
    model.add_threshold_head(ThresholdHeadConfig(per_block=True))
    with pytest.raises(ValueError, match="threshold per block is not supported"):
        decode(model, learned_threshold="greedy")
