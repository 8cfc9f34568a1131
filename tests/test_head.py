# SPDX-License-Identifier: Apache-2.0
"""The LM head that never holds its logits: the same numbers, and a bound on the largest tensor."""

import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.generation.drawing import look
from trl_diffusion.likelihood import ExactSteps, RolloutBatch, TwoTimesMeanField, score_views
from trl_diffusion.models import DiffusionSpec, head, resolve_spec
from trl_diffusion.models.head import IMPOSSIBLE, LMHead
from trl_diffusion.models.log_softmax import token_log_probs
from trl_diffusion.models.spec import predict

from .conftest import in_float64, make_model
from .families import FAMILIES, VOCABULARY, write_checkpoint


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return result


@pytest.fixture(params=FAMILIES)
def model(request, tmp_path):
    write_checkpoint(request.param, tmp_path)
    return in_float64(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)).eval()


def chunks_of(monkeypatch, positions):
    """Logits of at most so many positions at a time."""
    monkeypatch.setattr(head, "MAX_LOGITS", positions * VOCABULARY + 1)


def rollout(model, **options):
    ids = torch.tensor([[0, 3, 4, 5], [6, 7, 8, 9], [6, 7, 8, 9]])
    mask = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
    decoder = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, entropy_bound=1.0, **options)
    trajectory = DiffusionSampler(model, decoder).sample(ids, mask, seeds=torch.arange(3))
    return RolloutBatch(ids, mask, trajectory.unmask_step >= 0, trajectory, torch.arange(6).view(3, 2))


def gradients(model, batch, estimator, entropies):
    """Scores, and the gradient of some function of them."""
    spec = resolve_spec(model)
    part = estimator.passes(batch, 0, spec.mask_token_id)[0]
    scores = score_views(model, spec, part.views, batch, entropies=entropies)
    loss = (scores.log_probs * torch.arange(1, 9)).sum()
    if entropies == "grad":
        loss = loss + scores.entropies.square().sum()
    model.zero_grad()
    loss.backward()
    return scores, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("entropies", ["grad", "detached", "none"])
@pytest.mark.parametrize(
    ("estimator", "top_k"), [(TwoTimesMeanField(), None), (ExactSteps(), None), (ExactSteps(), 5)]
)
def test_chunks_change_neither_scores_nor_gradients(model, monkeypatch, estimator, top_k, entropies):
    batch = rollout(model, top_k=top_k)
    whole, expected = gradients(model, batch, estimator, entropies)
    for positions in (1, 3):
        chunks_of(monkeypatch, positions)
        chunked, found = gradients(model, batch, estimator, entropies)
        torch.testing.assert_close(chunked.log_probs, whole.log_probs, atol=1e-12, rtol=0)
        torch.testing.assert_close(chunked.entropies, whole.entropies, atol=1e-12, rtol=0)
        assert found.keys() == expected.keys() and len(found) > 10
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.0}, {"top_k": 5, "top_p": 0.9}])
def test_chunks_change_nothing_in_rollouts(model, monkeypatch, options):
    whole = rollout(model, **options).trajectory
    for positions in (1, 3):
        chunks_of(monkeypatch, positions)
        chunked = rollout(model, **options).trajectory
        assert torch.equal(chunked.completion_ids, whole.completion_ids)
        assert torch.equal(chunked.unmask_step, whole.unmask_step)
        torch.testing.assert_close(chunked.log_probs, whole.log_probs, atol=1e-6, rtol=0)


def test_the_largest_tensor_has_no_more_than_a_chunk_of_logits(monkeypatch):
    """In rollouts and in updates, whose gradient buffer of the embedding is as large as the head."""
    vocabulary = 4000
    model = make_model(vocabulary)
    for parameter in (model.lm_head.weight, model.model.embed_tokens.weight):
        parameter.requires_grad_(False)
    largest = {}
    for positions in (2, 100):
        monkeypatch.setattr(head, "MAX_LOGITS", positions * vocabulary)
        for rows in (2, 6):
            ids = torch.randint(2, 100, (rows, 4))
            with LargestTensor() as mode:
                decoder = DiffusionGenerationConfig(max_new_tokens=8, block_length=8, entropy_bound=0.0)
                trajectory = DiffusionSampler(model, decoder).sample(ids, seeds=torch.arange(rows))
                seeds = torch.arange(rows)[:, None]
                batch = RolloutBatch(ids, torch.ones_like(ids), trajectory.unmask_step >= 0, trajectory, seeds)
                gradients(model, batch, ExactSteps(), "grad")
            largest[positions, rows] = mode.elements
    assert largest[2, 2] == largest[2, 6] == model.lm_head.weight.numel()
    padded = -(-vocabulary // 512) * 512  # to whole buckets
    assert largest[100, 6] == 6 * 8 * padded > largest[100, 2]


def test_the_head_reduces_however_the_model_is_made(model):
    """The way that holds all logits is not taken unnoticed."""
    name = type(model).__name__

    def check(model):
        assert resolve_spec(model).reduces_logits, name
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        assert type(base.lm_head) is LMHead, name
        calls = []
        base.lm_head.register_forward_hook(lambda module, args, output: calls.append(type(output)))
        ids = torch.tensor([[3, 4, 5, 6]])
        predict(model, resolve_spec(model), ids, torch.ones_like(ids), ids > 4, lambda logits, _: (logits[:, 0],))
        assert calls == [tuple], name

    check(model)
    check(type(model)(copy.deepcopy(model.config)))
    check(get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["q_proj"])))
    resized = copy.deepcopy(model)
    resized.resize_token_embeddings(VOCABULARY + 3)
    check(resized)


def test_other_heads_and_models_are_reduced_after_the_fact(model, monkeypatch):
    chunks_of(monkeypatch, 2)
    batch = rollout(model)
    spec = resolve_spec(model)
    views = TwoTimesMeanField().passes(batch, 0, spec.mask_token_id)[0].views
    expected = score_views(model, spec, views, batch)
    foreign = DiffusionSpec(spec.mask_token_id, spec.logit_shift, spec.attention_block)
    assert not foreign.reduces_logits
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "lm_head"]))
    for other in (
        score_views(model, foreign, views, batch),
        score_views(adapted, resolve_spec(adapted), views, batch),
    ):
        torch.testing.assert_close(other.log_probs, expected.log_probs, atol=1e-12, rtol=0)
        torch.testing.assert_close(other.entropies, expected.entropies, atol=1e-12, rtol=0)


def some_logits(rows, vocabulary, dtype=torch.float64):
    generator = torch.Generator().manual_seed(vocabulary)
    logits = 3 * torch.randn(rows, vocabulary, generator=generator, dtype=dtype)
    logits[:, 1] = IMPOSSIBLE  # the mask token
    logits[:, -1] = IMPOSSIBLE  # rounding must not pass the last that is possible
    return logits


@pytest.mark.parametrize("vocabulary", [3, 512, 513, 2000])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_tokens_are_drawn_by_inversion(vocabulary, temperature):
    """Against the distribution function in one piece, and at its very ends; several at a position."""
    logits = some_logits(600, vocabulary)  # tiles of one size, and a rest
    noise = torch.rand(600, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[:3, 0] = torch.tensor([0.0, 1.0, 1 - 2**-53])
    *_, tokens, log_probs = look(logits.clone(), noise, DiffusionGenerationConfig(temperature=temperature))
    expected = (logits / temperature).log_softmax(-1)
    cumulative = expected.exp().cumsum(-1)
    above = cumulative.gather(1, tokens)
    below = torch.where(tokens > 0, cumulative.gather(1, (tokens - 1).clamp(min=0)), 0.0)
    assert bool(((below <= noise + 1e-12) & (noise <= above + 1e-12)).all())
    assert not set(tokens.flatten().tolist()) & {1, vocabulary - 1} and tokens[0, 0] == 0
    torch.testing.assert_close(log_probs, expected.gather(1, tokens))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("top_k", [None, 5])
def test_statistics_are_those_of_the_untempered_distribution(temperature, top_k):
    logits = some_logits(600, 2000)
    logits[0] = torch.arange(2000)  # nearly certain
    logits[1, 2:600:7] = logits[1].max() + 1  # the first of equals
    decoder = DiffusionGenerationConfig(temperature=temperature, top_k=top_k)
    p_max, entropy, tokens, *_ = look(logits.clone(), torch.rand(600, 1, dtype=torch.float64), decoder)
    probs = logits.softmax(-1)
    torch.testing.assert_close(p_max, probs.amax(-1))
    torch.testing.assert_close(entropy, torch.special.entr(probs).sum(-1))
    if temperature == 0:
        assert torch.equal(tokens[:, 0], probs.argmax(-1)) and tokens[1] == 2


def test_statistics_in_float32_do_not_cancel():
    """A bound on entropies asks for differences of thousandths, also where all logits are large."""
    logits = torch.full((50, 2000), 4096.0)
    logits[:, 7] += 0.5 * torch.arange(50)
    p_max, entropy, *_ = look(logits.clone(), torch.rand(50, 1).double(), DiffusionGenerationConfig())
    probs = logits.double().softmax(-1)
    torch.testing.assert_close(p_max.double(), probs.amax(-1), atol=0, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), torch.special.entr(probs).sum(-1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_are_not_made_in_half_precision(dtype):
    """Trainers sample and score under autocast, which knows nothing of what is precise enough."""
    logits = some_logits(50, 700).float()
    noise, candidates = torch.rand(50, 1).double(), torch.full((50, 1), 5)
    expected = (*look(logits.clone(), noise, DiffusionGenerationConfig()), *token_log_probs(logits, candidates))
    with torch.autocast("cpu", dtype):
        found = (*look(logits.clone(), noise, DiffusionGenerationConfig()), *token_log_probs(logits, candidates))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rollouts_under_autocast_end(dtype):
    ids = torch.randint(2, 23, (4, 5), generator=torch.Generator().manual_seed(0))
    decoder = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, entropy_bound=4.0)
    with torch.autocast("cpu", dtype):
        trajectory = DiffusionSampler(make_model(), decoder).sample(ids, seeds=torch.arange(4))
    assert (trajectory.unmask_step >= 0).all() and trajectory.nfe.max() < 8
    assert trajectory.entropies.min() > 0 and trajectory.entropies.max() < math.log(22)


def test_many_draws_at_a_position_do_not_take_more_room():
    """One group that agrees on its canvas makes all positions as wide as it is large."""
    with LargestTensor() as mode:
        look(torch.randn(3000, 600), torch.rand(3000, 64).double(), DiffusionGenerationConfig())
    assert mode.elements <= 3000 * 600


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("entropies", ["grad", "detached", "none"])
def test_the_gradient_of_log_probabilities(temperature, entropies):
    """In closed form, against autograd through PyTorch's log-softmax."""
    rows, vocabulary = 600, 2000  # tiles of one size, and a rest
    candidates = torch.randint(2, vocabulary - 1, (rows, 3))
    candidates[:, 1] = candidates[:, 0]  # two rows of a group may have written the same token
    weights = torch.randn(rows, 3, dtype=torch.float64)
    found, expected = (some_logits(rows, vocabulary).requires_grad_() for _ in range(2))
    values = token_log_probs(found, candidates, temperature, entropies)
    log_probs = (expected / temperature).log_softmax(-1)
    entropy = torch.special.entr(log_probs.exp()).sum(-1, keepdim=True)
    torch.testing.assert_close(values[0], log_probs.gather(1, candidates))
    loss, expected_loss = (weights * values[0]).sum(), (weights * log_probs.gather(1, candidates)).sum()
    assert len(values) == 1 + (entropies != "none")
    if entropies != "none":
        torch.testing.assert_close(values[1], entropy)
        assert values[1].requires_grad == (entropies == "grad")
    if entropies == "grad":
        possible = log_probs.clamp(min=-1e4)
        entropy = -(possible.exp() * possible).sum(-1, keepdim=True)
        loss, expected_loss = loss + values[1].square().sum(), expected_loss + entropy.square().sum()
    loss.backward()
    expected_loss.backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_drawn_tokens_have_their_frequencies():
    probs = torch.zeros(1500, dtype=torch.float64)
    probs[[0, 3, 511, 512, 1024, 1400]] = torch.tensor([0.05, 0.2, 0.3, 0.1, 0.25, 0.1], dtype=torch.float64)
    count = 20_000
    noise = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = probs.log().clamp(min=-1e4).repeat(count, 1)
    *_, tokens, _ = look(logits, noise[:, None], DiffusionGenerationConfig())
    tokens = tokens[:, 0]
    found = torch.bincount(tokens, minlength=1500) / count
    for token in probs.nonzero()[:, 0].tolist():
        p = probs[token].item()
        assert abs(found[token] - p) < 4 * math.sqrt(p * (1 - p) / count)
    assert found[probs == 0].sum() == 0
