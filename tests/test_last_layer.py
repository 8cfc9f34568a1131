# SPDX-License-Identifier: Apache-2.0
"""The last layer at the positions that are asked for: the same numbers, less work."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from trl_diffusion.models import ThresholdHeadConfig, resolve_spec
from trl_diffusion.models.last_layer import LastLayerMixin
from trl_diffusion.models.spec import predict, ranks

from .conftest import in_float64
from .families import FAMILIES, WIDTH, write_checkpoint


IDS = torch.tensor([[0, 0, 3, 4, 5, 1, 1, 1], [6, 7, 8, 1, 10, 1, 12, 1]])
VISIBLE = (IDS > 0).long()
POSITIONS = IDS == 1


@pytest.fixture(params=FAMILIES)
def model(request, tmp_path):
    write_checkpoint(request.param, tmp_path)
    model = in_float64(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))
    model.add_threshold_head(ThresholdHeadConfig())
    return in_float64(model).train()


def everywhere(model):
    """The same model, whose last layer is like the others."""
    model = copy.deepcopy(model)
    model.model.layers[-1].__class__ = type(model.model.layers[0])
    return model


@pytest.mark.parametrize("threshold_positions", [None, torch.tensor([4, 2]), torch.tensor([5, 3])])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_predictions_and_gradients_are_those_of_the_whole_layer(
    model, threshold_positions, checkpointing, implementation
):
    """Also where the threshold head reads at a position that is predicted."""
    results = []
    model.set_attn_implementation(implementation)
    for variant in (model, everywhere(model)):
        if checkpointing:
            variant.gradient_checkpointing_enable({"use_reentrant": False})
        spec = resolve_spec(variant)
        (logits,), outputs = predict(
            variant, spec, IDS, VISIBLE, POSITIONS, lambda logits, _: (logits.log_softmax(-1),), threshold_positions
        )
        (logits[:, 2:] * torch.arange(logits[:, 2:].numel()).view(len(logits), -1)).sum().backward()
        gradients = {name: p.grad for name, p in variant.named_parameters() if p.grad is not None}
        results.append((logits, outputs, gradients))
    (logits, outputs, gradients), (expected, expected_outputs, expected_gradients) = results
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=0)
    assert (outputs is None) == (threshold_positions is None)
    if outputs is not None:
        torch.testing.assert_close(outputs, expected_outputs, atol=1e-12, rtol=0)
    assert gradients.keys() == expected_gradients.keys() and len(gradients) > 10
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-9, rtol=1e-9)


def test_numbers_do_not_depend_on_padding(model):
    """Rotary angles are of float32: only positions that are counted from the first token make them the same."""
    spec, model = resolve_spec(model), model.eval()
    more = torch.nn.functional.pad  # padding that all rows share, and that they do not

    def third(visible):
        return (visible.cumsum(-1) == 3).int().argmax(-1)

    results = []
    for width, rows in ((0, slice(None)), (3, slice(None)), (5, slice(0, 1))):
        ids, visible, positions = (more(x, (width, 0))[rows] for x in (IDS, VISIBLE, POSITIONS))
        (logits,), outputs = predict(
            model, spec, ids, visible, positions, lambda logits, _: (1.0 * logits,), third(visible)
        )
        results.append((logits, outputs))
    (logits, outputs), (wide, wide_outputs), (alone, alone_outputs) = results
    for found, expected in (
        (wide, logits), (wide_outputs, outputs), (alone, logits[: len(alone)]), (alone_outputs, outputs[:1]),
    ):  # fmt: skip
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    widths = shapes_seen([model.model.embed_tokens])
    predict(model, spec, more(IDS, (3, 0)), more(VISIBLE, (3, 0)), more(POSITIONS, (3, 0)), lambda x, _: (x[:, 0],))
    assert widths == [(2, 8)]  # what all rows share is not even sent


def shapes_seen(modules):
    """Of the inputs of these modules, in the order in which they are called."""
    seen = []
    for module in modules:
        module.register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    return seen


def test_the_mlp_of_the_last_layer_sees_the_positions_that_are_wanted(model):
    """The whole layer is not taken unnoticed, however the model came about."""
    spec = resolve_spec(model)
    for variant in (model, copy.deepcopy(model), type(model)(copy.deepcopy(model.config))):
        seen = shapes_seen([layer.mlp for layer in variant.model.layers])
        predict(variant, spec, IDS, VISIBLE, POSITIONS, lambda logits, _: (logits[:, 0],), torch.tensor([3, 1]))
        assert seen[-1] == (int(POSITIONS.sum()) + 2, WIDTH) and set(seen[:-1]) == {(2, 8, WIDTH)}
        assert isinstance(variant.model.layers[-1], LastLayerMixin)


def test_other_outputs_are_whole(model):
    output = model(IDS, attention_mask=VISIBLE, output_hidden_states=True)
    assert len(output.hidden_states) == len(model.model.layers) + 1
    assert {states.shape for states in output.hidden_states} == {(2, 8, WIDTH)}
    output = model(IDS, attention_mask=VISIBLE, threshold_positions=torch.tensor([0, 1]))  # logits everywhere
    assert output.logits.shape[:2] == (2, 8) and output.threshold_outputs.shape[0] == 2


def test_a_device_map_keeps_the_last_layer_whole(model):
    names = {type(layer).__name__ for layer in model.model.layers}
    assert len(names) == 2 and names <= set(model._no_split_modules)


def test_ranks():
    positions = torch.tensor([[True, False, True], [False, True, False]])
    assert [ranks(positions)[i, j].item() for i, j in positions.nonzero()] == [0, 1, 2]


def test_positions_that_are_given_are_used(model):
    ids = torch.arange(3, 9)[None]
    model = model.eval()
    position = torch.tensor([[0, 1, 2, 7, 8, 9]])
    ours, plain = (
        model(input_ids=ids, attention_mask=mask, position_ids=position).logits
        for mask in (torch.ones_like(ids), None)
    )
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=0)
    assert (ours - model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits).abs().max() > 1e-3


def test_a_mask_longer_than_the_input(model):
    """The standard call with a cache: the mask covers what the cache holds."""
    from transformers import DynamicCache

    model, ids = model.eval(), torch.arange(3, 9)[None]
    full = torch.ones_like(ids)
    full[:, :2] = 0
    if getattr(model.config, "block_size", None):
        pytest.skip("block-causal models have a cache of their own")
    cache = DynamicCache()
    model.model(input_ids=ids[:, :4], attention_mask=full[:, :4], past_key_values=cache, use_cache=True)
    positions = []
    model.model.register_forward_pre_hook(
        lambda m, a, kwargs: positions.append(kwargs["position_ids"].tolist()), with_kwargs=True
    )
    logits = model(input_ids=ids[:, 4:], attention_mask=full, past_key_values=cache, use_cache=True).logits
    assert positions == [[[2, 3]]] and logits.shape[1] == 2
