# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.generation.noise import derive_seed, uniform
from trl_diffusion.generation.unmasking import RULES

from .conftest import DATA, make_model


REFERENCE = DATA / "llada_tiny"
MASK = 1


def config(**overrides):
    return DiffusionGenerationConfig(**{"max_new_tokens": 12, "block_length": 6} | overrides)


def prompts(rows=8, length=7, seed=0):
    """Prompts of different lengths, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 23, (rows, length), generator=generator)
    padding = torch.randint(0, length - 1, (rows,), generator=generator)
    mask = (torch.arange(length) >= padding[:, None]).long()
    return ids.masked_fill(mask == 0, 0), mask


def all_rules():
    return [config(unmasking=rule) for rule in RULES] + [
        config(unmasking="low_confidence", max_denoising_steps=4),
        config(unmasking="entropy_bound", entropy_bound=2.0, temperature=0.7),
        config(unmasking="confidence_threshold", confidence_threshold=0.3, temperature=0.0),
        config(unmasking="entropy_bound", entropy_bound=1.0, eos_token_ids=(4, 5, 6)),
        config(unmasking="entropy_bound", entropy_bound=1.0, max_denoising_steps=6),
    ]


@pytest.mark.parametrize("key", [k for k in load_file(REFERENCE / "generation.safetensors") if k.startswith("seq_")])
def test_decodes_like_the_reference_implementation(key):
    fixture = load_file(REFERENCE / "generation.safetensors")
    model = AutoModelForCausalLM.from_pretrained(REFERENCE, dtype=torch.float32)
    padded, steps, length, block = re.fullmatch(r"seq_(left_pad_)?steps(\d+)_gen(\d+)_block(\d+)", key).groups()
    decoder = DiffusionGenerationConfig(
        max_new_tokens=int(length),
        block_length=int(block),
        unmasking="low_confidence",
        max_denoising_steps=int(steps),
        temperature=0.0,
        stop_at_eos=False,
    )
    ids = fixture["prompt_ids_left_pad" if padded else "prompt_ids"]
    mask = fixture["attention_mask_left_pad"] if padded else None
    trajectory = DiffusionSampler(model, decoder).sample(ids, mask)
    assert torch.equal(torch.cat([ids, trajectory.completion_ids], dim=1), fixture[key])
    assert trajectory.nfe.tolist() == [int(steps)] * len(ids)


def rebuild(model, decoder, ids, mask, trajectory):
    """Walk a trajectory again, one row and one step at a time, without padding, and check all that was recorded."""
    for row in range(len(ids)):
        prompt = ids[row, mask[row] == 1]
        steps = trajectory.unmask_step[row]
        assert set(steps[steps >= 0].tolist()) == set(range(int(trajectory.nfe[row])))  # each pass wrote something
        for step in range(int(trajectory.nfe[row])):
            state = trajectory.state_before(step, MASK)[row]
            assert torch.equal(state != MASK, (steps >= 0) & (steps < step))
            logits = model(input_ids=torch.cat([prompt, state])[None]).logits[0, len(prompt) :].double()
            logits[:, MASK] = -math.inf
            probs = logits.softmax(-1)
            entropy = torch.special.entr(probs).sum(-1)
            written = (steps == step).nonzero().flatten()
            block = (state == MASK).nonzero()[0, 0] // decoder.block_length
            assert (written // decoder.block_length == block).all()  # blocks are completed from left to right
            tokens = trajectory.completion_ids[row, written]
            torch.testing.assert_close(trajectory.entropies[row, written], entropy[written].float(), atol=2e-5, rtol=0)
            if decoder.temperature:
                tempered = (logits / decoder.temperature).log_softmax(-1)
                expected = tempered[written, tokens].float()
            else:
                assert torch.equal(tokens, probs[written].argmax(-1))
                expected = torch.zeros(len(written))
            torch.testing.assert_close(trajectory.log_probs[row, written], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("decoder", all_rules(), ids=lambda d: f"{d.unmasking}-{d.temperature}-{d.threshold}")
@torch.no_grad()
def test_trajectory_rebuilds_every_canvas_and_its_likelihood(model, decoder):
    ids, mask = prompts(rows=4)
    trajectory = DiffusionSampler(model, decoder).sample(ids, mask, seeds=torch.arange(4))
    rebuild(model, decoder, ids, mask, trajectory)
    assert torch.equal(trajectory.state_before(trajectory.nfe, MASK), trajectory.completion_ids)


@pytest.mark.parametrize("decoder", all_rules(), ids=lambda d: f"{d.unmasking}-{d.temperature}-{d.threshold}")
@pytest.mark.parametrize("max_batch_size", [None, 1, 3])
def test_a_sample_does_not_depend_on_its_batch(model, decoder, max_batch_size):
    ids, mask = prompts()
    seeds = torch.arange(100, 108)
    together = DiffusionSampler(model, decoder).sample(ids, mask, seeds=seeds)
    decoder.max_batch_size = max_batch_size
    refilled = DiffusionSampler(model, decoder).sample(ids, mask, seeds=seeds)
    for row in range(len(ids)):
        start = int((mask[row] == 0).sum())  # alone, and without its padding
        alone = DiffusionSampler(model, decoder).sample(ids[row : row + 1, start:], seeds=seeds[row : row + 1])
        for other in (together[row : row + 1], refilled[row : row + 1]):
            assert torch.equal(alone.completion_ids, other.completion_ids)
            assert torch.equal(alone.unmask_step, other.unmask_step)
            assert torch.equal(alone.nfe, other.nfe)


def test_padding_content_is_never_read(model):
    ids, mask = prompts()
    scribbled = ids.masked_fill(mask == 0, 9)
    seeds = torch.arange(8)
    one, other = (DiffusionSampler(model, config()).sample(x, mask, seeds=seeds) for x in (ids, scribbled))
    assert torch.equal(one.completion_ids, other.completion_ids)


def test_seeds_reproduce_and_differ(model):
    ids, mask = prompts(rows=1)
    ids, mask = ids.expand(16, -1), mask.expand(16, -1)
    sampler = DiffusionSampler(model, config())
    one, again = (sampler.sample(ids, mask, seeds=torch.arange(16)) for _ in range(2))
    assert torch.equal(one.completion_ids, again.completion_ids)
    assert len({tuple(row) for row in one.completion_ids.tolist()}) == 16
    torch.manual_seed(3)
    first = sampler.sample(ids, mask)
    torch.manual_seed(3)
    assert torch.equal(first.completion_ids, sampler.sample(ids, mask).completion_ids)


def test_sampling_leaves_the_global_generator_alone_given_seeds(model):
    ids, mask = prompts()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    DiffusionSampler(model, config(unmasking="random")).sample(ids, mask, seeds=torch.arange(8))
    assert torch.equal(torch.rand(3), expected)


def test_uniform_rows_depend_on_their_seed_alone():
    seeds = torch.tensor([5, 2**62, 7])
    assert torch.equal(uniform(seeds, (2, 9))[1], uniform(seeds[1:2], (2, 9))[0])
    assert torch.equal(uniform(seeds, (9,))[:, :4], uniform(seeds, (4,)))  # a longer draw begins like a shorter one
    assert torch.equal(uniform(seeds, (40,))[:, :17], uniform(seeds, (17,)))
    assert derive_seed(1, "a") != derive_seed(1, "b")
    assert 0 <= derive_seed("x") < 2**63


# ---------------------------------------------------------------- exactness on a toy that can be enumerated


def toy():
    """Two prompt tokens, three completion tokens, four words: 64 completions."""
    return make_model(vocab_size=6, dtype=torch.float64, init_std=0.25), torch.tensor([[4, 2]])


def step_probability(model, decoder, prompt, state, target):
    """P(target | state), by recursion over the sampler's steps, with the rule written out again for one row."""
    masked = [i for i, token in enumerate(state) if token == MASK]
    if not masked:
        return 1.0
    canvas = torch.tensor([prompt + state])
    with torch.no_grad():
        logits = model(input_ids=canvas).logits[0, len(prompt) :]
    logits[:, MASK] = -math.inf
    probs = logits.softmax(-1)
    if decoder.unmasking == "random":  # every order alike
        choices = [[i] for i in masked]
    elif decoder.unmasking == "left_to_right":
        choices = [masked[:1]]
    else:
        entropy = {i: -sum(float(p) * math.log(p) for p in probs[i] if p > 0) for i in masked}
        selected, total = [], 0.0
        for i in sorted(masked, key=entropy.get):
            if total <= decoder.entropy_bound:
                selected.append(i)
            total += entropy[i]
        choices = [selected]
    tempered = (logits / decoder.temperature).softmax(-1)
    total = 0.0
    for selected in choices:
        probability = math.prod(float(tempered[i, target[i]]) for i in selected)
        after = [target[i] if i in selected else token for i, token in enumerate(state)]
        total += probability * step_probability(model, decoder, prompt, after, target) / len(choices)
    return total


@pytest.mark.parametrize(
    "decoder",
    [
        DiffusionGenerationConfig(max_new_tokens=3, block_length=3, entropy_bound=0.8),
        DiffusionGenerationConfig(max_new_tokens=3, block_length=3, entropy_bound=0.4, temperature=0.8),
        DiffusionGenerationConfig(max_new_tokens=3, block_length=3, unmasking="left_to_right", temperature=1.5),
        DiffusionGenerationConfig(max_new_tokens=3, block_length=3, unmasking="random"),
    ],
    ids=["bound", "bound-cool", "left-to-right-hot", "random"],
)
def test_recorded_likelihood_is_the_exact_one_and_is_what_is_sampled(decoder):
    model, prompt = toy()
    words = [0, 2, 3, 4, 5]
    exact = {
        target: step_probability(model, decoder, prompt[0].tolist(), [MASK] * 3, list(target))
        for target in itertools.product(words, repeat=3)
    }
    assert sum(exact.values()) == pytest.approx(1.0, abs=1e-9)

    draws = 4000
    trajectory = DiffusionSampler(model, decoder).sample(prompt.expand(draws, -1), seeds=torch.arange(draws))
    sampled = [tuple(row) for row in trajectory.completion_ids.tolist()]
    recorded = trajectory.log_probs.sum(-1).exp()
    if decoder.unmasking != "random":  # there it is that of the order taken
        for target, probability in zip(sampled[:200], recorded[:200].tolist()):
            assert probability == pytest.approx(exact[target], rel=1e-4)
    # Pearson's chi-square over the completions expected at least five times. The bound is its mean plus six standard
    # deviations; the seeds are fixed, so that this passes always or never.
    counts = Counter(sampled)
    cells = [(counts[target], draws * p) for target, p in exact.items() if draws * p >= 5]
    chi_square = sum((observed - expected) ** 2 / expected for observed, expected in cells)
    assert len(cells) > 8
    assert chi_square < len(cells) + 6 * math.sqrt(2 * len(cells))


def test_the_mask_token_is_never_written(model):
    with torch.no_grad():
        model.lm_head.weight[MASK] = 50.0 * model.lm_head.weight.abs().max()
    ids, mask = prompts()
    trajectory = DiffusionSampler(model, config(temperature=3.0)).sample(ids, mask)
    assert (trajectory.completion_ids != MASK).all()


# ---------------------------------------------------------------- passes, blocks, ends


def test_limits_of_the_rules(model):
    ids, mask = prompts()
    for decoder, nfe in [
        (config(entropy_bound=math.inf), 2),
        (config(entropy_bound=0.0), 12),
        (config(unmasking="confidence_threshold", confidence_threshold=1.5), 12),
        (config(unmasking="confidence_threshold", confidence_threshold=0.0), 2),
        (config(unmasking="random"), 12),
        (config(unmasking="low_confidence", max_denoising_steps=2), 2),
    ]:
        assert DiffusionSampler(model, decoder).sample(ids, mask).nfe.tolist() == [nfe] * 8


def test_adaptive_rules_can_be_bounded(model):
    """As without a bound up to the last step that a block has, which writes all that is left of it."""
    ids, mask = prompts()
    options = {"unmasking": "entropy_bound", "entropy_bound": 1.0, "temperature": 0.0, "stop_at_eos": False}
    free = DiffusionSampler(model, config(**options)).sample(ids, mask)
    bounded = DiffusionSampler(model, config(**options, max_denoising_steps=6)).sample(ids, mask)
    assert free.nfe.max() > 6 and bounded.nfe.max() <= 6
    first = slice(0, config().block_length)  # later blocks see what this one has become
    for a, b in zip(free.unmask_step[:, first], bounded.unmask_step[:, first]):
        assert torch.equal(a.clamp(max=2), b)
    assert (bounded.unmask_step >= 0).all()
    least = config(**options, max_denoising_steps=2)
    assert DiffusionSampler(model, least).sample(ids, mask).nfe.tolist() == [2] * len(ids)


def test_scheduled_steps_are_spread_like_lladas(model):
    """Eight tokens in three steps: 3, 3, 2."""
    decoder = DiffusionGenerationConfig(
        max_new_tokens=16, block_length=8, unmasking="low_confidence", max_denoising_steps=6
    )
    trajectory = DiffusionSampler(model, decoder).sample(*prompts())
    counts = torch.stack([(trajectory.unmask_step == s).sum(-1) for s in range(6)], dim=1)
    assert counts.tolist() == [[3, 3, 2, 3, 3, 2]] * 8


def test_left_to_right_writes_in_order(model):
    trajectory = DiffusionSampler(model, config(unmasking="left_to_right")).sample(*prompts())
    assert trajectory.unmask_step.tolist() == [list(range(12))] * 8


def test_random_order_differs_between_rows(model):
    trajectory = DiffusionSampler(model, config(unmasking="random")).sample(*prompts())
    assert len({tuple(row) for row in trajectory.unmask_step.tolist()}) == 8


def test_rows_take_their_own_thresholds(model):
    ids, mask = prompts(rows=2)
    threshold = torch.tensor([0.0, math.inf])
    trajectory = DiffusionSampler(model, config()).sample(ids, mask, threshold=threshold)
    assert trajectory.nfe.tolist() == [12, 2]
    assert torch.equal(trajectory.threshold, threshold[:, None].repeat(1, 2))


def test_text_up_to_its_end_is_what_a_full_decode_gives(model):
    ids, mask = prompts(rows=32)
    seeds, ends = torch.arange(32), (4, 5, 6, 7)
    stopped = DiffusionSampler(model, config(eos_token_ids=ends)).sample(ids, mask, seeds=seeds)
    full = DiffusionSampler(model, config(eos_token_ids=ends, stop_at_eos=False)).sample(ids, mask, seeds=seeds)
    assert stopped.texts(ends) == full.texts(ends)
    assert stopped.nfe.sum() < full.nfe.sum()
    assert ((stopped.unmask_step == -1) == (stopped.completion_ids == MASK)).all()
    for row, text in enumerate(stopped.texts(ends)):
        if len(text) < 12:
            assert text[-1] in ends and not set(text[:-1]) & set(ends)
        assert (stopped.unmask_step[row, : len(text)] >= 0).all()


def test_a_row_takes_part_in_no_pass_after_its_end(model):
    ids, mask = prompts()
    sampler = DiffusionSampler(model, config(eos_token_ids=(4, 5, 6, 7)))
    rows_seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: rows_seen.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    trajectory = sampler.sample(ids, mask, seeds=torch.arange(8))
    hook.remove()
    assert sum(rows_seen) == trajectory.nfe.sum()
    assert rows_seen == sorted(rows_seen, reverse=True)


def test_head_runs_on_masked_positions_of_the_active_block_only(model):
    positions = []
    hook = model.lm_head.register_forward_hook(lambda module, args, output: positions.append(len(args[0])))
    DiffusionSampler(model, config(unmasking="left_to_right")).sample(*prompts(rows=2))
    hook.remove()
    assert positions == [2 * n for n in (6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1)]


def test_padding_that_all_rows_of_a_pass_share_is_left_out(model):
    """The shortest prompts come last, on their own."""
    ids, mask = prompts()
    widths = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    DiffusionSampler(model, config(max_batch_size=1, unmasking="left_to_right")).sample(ids, mask)
    hook.remove()
    lengths = sorted(mask.sum(-1).tolist(), reverse=True)
    assert len(set(lengths)) > 3
    assert widths == [length + 12 for length in lengths for _ in range(12)]


def test_waiting_rows_replace_finished_ones(model):
    sizes = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    threshold = torch.tensor([math.inf, 0.0] * 4)  # two passes, twelve passes
    trajectory = DiffusionSampler(model, config(max_batch_size=2)).sample(*prompts(), threshold=threshold)
    hook.remove()
    assert trajectory.nfe.tolist() == [2, 12] * 4
    assert max(sizes) == 2
    assert sum(sizes) == 56
    assert sizes == sorted(sizes, reverse=True)  # no place is idle before the queue is empty


def test_slack_is_zero_one_token_at_a_time_and_the_rules_bound_otherwise(model):
    ids, mask = prompts()
    one_by_one = DiffusionSampler(model, config(entropy_bound=0.0)).sample(ids, mask)
    assert one_by_one.slack.abs().max() == 0
    bounded = DiffusionSampler(model, config(entropy_bound=1.0)).sample(ids, mask)
    assert (bounded.slack <= 1.0 * bounded.nfe + 1e-4).all() and bounded.slack.max() > 0.5


def test_busy_neighbours_get_dummy_passes(model):
    """A process that is done keeps calling the model until the last one is."""
    passes, asked = [], []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(kwargs["input_ids"].shape), with_kwargs=True
    )

    def anyone_busy(busy):
        asked.append(busy)
        return len(asked) <= 20

    ids, mask = prompts(rows=2)
    trajectory = DiffusionSampler(model, config()).sample(ids, mask, seeds=torch.arange(2), anyone_busy=anyone_busy)
    empty = DiffusionSampler(model, config()).sample(
        ids[:0], mask[:0], seeds=torch.arange(0), anyone_busy=lambda busy: len(passes) < 25
    )
    hook.remove()
    assert len(passes) == 25
    assert passes[-1] == (1, 1)
    assert trajectory.nfe.max() == sum(asked)
    alone = DiffusionSampler(model, config()).sample(ids, mask, seeds=torch.arange(2))
    assert torch.equal(alone.completion_ids, trajectory.completion_ids)
    assert len(empty) == 0


def test_dropout_is_off_and_the_mode_is_restored(model):
    model.train()
    seen = []
    hook = model.register_forward_pre_hook(lambda module, args: seen.append(module.training))
    DiffusionSampler(model, config()).sample(*prompts())
    hook.remove()
    assert not any(seen) and model.training


def test_shifted_logits_are_unshifted(model):
    """A family whose logits at i predict token i + 1 decodes the same, told so."""
    from trl_diffusion.models import DiffusionSpec

    class Shifted(torch.nn.Module):
        def forward(self, input_ids, attention_mask, logits_to_keep, use_cache):
            out = model(input_ids=input_ids, attention_mask=attention_mask)
            out.logits = torch.cat([out.logits[:, 1:], out.logits[:, :1]], dim=1)[logits_to_keep]
            return out

    ids, mask = prompts()
    plain = DiffusionSampler(model, config()).sample(ids, mask, seeds=torch.arange(8))
    spec = DiffusionSpec(mask_token_id=MASK, logit_shift=1)
    shifted = DiffusionSampler(Shifted(), config(), spec).sample(ids, mask, seeds=torch.arange(8))
    assert torch.equal(plain.completion_ids, shifted.completion_ids)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        ({"block_length": 5}, "multiple of `block_length`"),
        ({"block_length": 0}, "`block_length` must be at least 1"),
        ({"unmasking": "magic"}, "'entropy_bound'"),
        ({"entropy_bound": -1.0}, "`entropy_bound` must not be negative"),
        ({"entropy_bound": math.nan}, "`entropy_bound` must not be negative"),
        ({"temperature": -0.1}, "`temperature` must not be negative"),
        ({"temperature": math.inf}, "`temperature` must be finite"),
        ({"max_denoising_steps": 5}, "multiple of the number of blocks"),
        ({"unmasking": "random", "max_denoising_steps": 5}, "multiple of the number of blocks"),
        ({"unmasking": "random", "max_denoising_steps": 24}, "at most the completion length"),
        ({"max_batch_size": 0}, "`max_batch_size` must be at least 1"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        config(**options)


def test_right_padding_is_refused(model):
    ids, mask = prompts()
    with pytest.raises(ValueError, match="padded on the left"):
        DiffusionSampler(model, config()).sample(ids, mask.flip(1))


def test_threshold_for_a_rule_without_one_is_refused(model):
    ids, mask = prompts()
    with pytest.raises(ValueError, match="`threshold` has no effect"):
        DiffusionSampler(model, config(unmasking="random")).sample(ids, mask, threshold=torch.ones(8))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("rule", RULES)
def test_a_diverged_model_is_reported_instead_of_looped_over(model, rule, temperature):
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="diverged"):
        DiffusionSampler(model, config(unmasking=rule, temperature=temperature)).sample(*prompts())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"seeds": torch.arange(7)}, "`seeds` must have one value for each of the 8 rows"),
        ({"seeds": torch.arange(9)}, "`seeds` must have one value"),
        ({"threshold": torch.ones(3)}, "`threshold` must have one value"),
        ({"threshold": torch.full((8,), math.nan)}, "`threshold` must not be negative or NaN"),
        ({"threshold": torch.full((8,), -1.0)}, "`threshold` must not be negative or NaN"),
        ({"attention_mask": torch.ones(8, 3)}, "`attention_mask` has shape (8, 3), `input_ids` (8, 7)"),
    ],
)
def test_inputs_that_do_not_fit(model, options, message):
    ids, mask = prompts()
    with pytest.raises(ValueError, match=re.escape(message)):
        DiffusionSampler(model, config()).sample(ids, **{"attention_mask": mask} | options)


def test_parts_in_eval_mode_stay_in_eval_mode(model):
    model.train()
    model.model.layers[0].eval()
    DiffusionSampler(model, config()).sample(*prompts())
    assert model.training and model.model.layers[1].mlp.training
    assert not any(module.training for module in model.model.layers[0].modules())


def test_the_mask_token_cannot_end_a_text(model):
    with pytest.raises(ValueError, match="`eos_token_ids` contains the mask token"):
        DiffusionSampler(model, config(eos_token_ids=(0, MASK)))


def test_a_model_without_mask_token_is_refused():
    with pytest.raises(ValueError, match="No mask token"):
        DiffusionSampler(make_model(mask_token_id=None), config())
    with pytest.raises(ValueError, match="outside the model's 23 embeddings"):
        DiffusionSampler(make_model(mask_token_id=23), config())


# ---------------------------------------------------------------- truncation


@torch.no_grad()
def test_truncated_sampling_draws_from_the_nucleus(model):
    """The support, its order and the probabilities, written out again for each token drawn."""
    ids, mask = prompts(rows=4)
    decoder = config(top_k=6, top_p=0.8, temperature=0.7, unmasking="random")
    trajectory = DiffusionSampler(model, decoder).sample(ids, mask, seeds=torch.arange(4))
    sizes = set()
    for row in range(4):
        prompt = ids[row, mask[row] == 1]
        for i in range(12):
            state = trajectory[row : row + 1].state_before(trajectory.unmask_step[row, i], MASK)[0]
            logits = model(input_ids=torch.cat([prompt, state])[None]).logits[0, len(prompt) + i].double()
            logits[MASK] = -math.inf
            best = sorted(range(len(logits)), key=lambda v: -float(logits[v]))[:6]
            odds = [math.exp(float(logits[v]) / 0.7) for v in best]
            nucleus = next(n for n in range(1, 7) if sum(odds[:n]) / sum(odds) >= 0.8)
            support = [v for v in trajectory.support[row, i].tolist() if v >= 0]
            assert support == best[:nucleus]
            token = int(trajectory.completion_ids[row, i])
            expected = math.log(odds[support.index(token)] / sum(odds[:nucleus]))
            assert float(trajectory.log_probs[row, i]) == pytest.approx(expected, abs=1e-5)
            sizes.add(nucleus)
    assert len(sizes) > 2


def test_top_k_larger_than_the_vocabulary_is_no_truncation(model):
    ids, mask = prompts(rows=4)
    plain, wide = (
        DiffusionSampler(model, config(top_k=top_k)).sample(ids, mask, seeds=torch.arange(4)) for top_k in (None, 100)
    )
    assert plain.support is None and wide.support.shape == (4, 12, 100)
    assert (wide.support >= 0).sum(-1).unique().tolist() == [22] and not (wide.support == MASK).any()


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_p": 0.9}])
def test_bad_truncation(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        config(**options)


def test_settings_travel_as_plain_values(tmp_path):
    """NumPy's numbers among them, which JSON does not know; how to compute is not."""
    config = DiffusionGenerationConfig(
        max_new_tokens=np.int64(8),
        block_length=np.int32(4),
        eos_token_ids=np.array([0, 3]),
        entropy_bound=np.float32(0.5),
        temperature=1,
        top_k=np.int64(5),
        max_batch_size=2,
        use_cache=False,
    )
    model = make_model()
    config.attach_to(model)
    model.save_pretrained(tmp_path)
    carried = json.loads((tmp_path / "generation_config.json").read_text())["diffusion"]
    assert carried == {
        "max_new_tokens": 8,
        "block_length": 4,
        "stop_at_eos": True,
        "eos_token_ids": [0, 3],
        "unmasking": "entropy_bound",
        "entropy_bound": 0.5,
        "confidence_threshold": 0.9,
        "learned_threshold": "off",
        "max_denoising_steps": None,
        "temperature": 1.0,
        "top_k": 5,
        "top_p": 1.0,
        "approximate_cache": None,
        "cache_refresh_interval": None,
    }
    expected = dataclasses.replace(config, max_batch_size=3, use_cache=True)
    assert DiffusionGenerationConfig.from_pretrained(tmp_path, max_batch_size=3) == expected
    assert DiffusionGenerationConfig.from_model(type(model).from_pretrained(tmp_path), max_batch_size=3) == expected
