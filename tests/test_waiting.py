# SPDX-License-Identifier: Apache-2.0
"""A rollout's pass never waits for the device: what would make it wait happens on the host, or after the pass."""

import collections
from contextlib import ExitStack, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.generation import cache, sampler
from trl_diffusion.generation.approximate_cache import ApproximateCache
from trl_diffusion.generation.block_cache import BlockCache
from trl_diffusion.models import ThresholdHeadConfig, resolve_spec
from trl_diffusion.models.spec import predict

from .conftest import make_model


# What a GPU cannot do without telling the host a size or a number.
WAITING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}


class Waits(TorchDispatchMode):
    """Counts operations that would wait for a GPU if their tensors were there."""

    def __init__(self):
        super().__init__()
        self.found = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.split("::")[1]
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if name in INDEXING else []
        if name in WAITING or masks:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.0},
        {"top_k": 4, "top_p": 0.9},
        {"approximate_cache": "dual"},
        {"approximate_cache": "prefix", "drift_check_rate": 1.0},
        {"learned_threshold": "sample"},
        {"block_causal": True},
    ],
    ids=str,
)
def test_neither_the_layers_nor_the_draws_wait(monkeypatch, options):
    options = dict(options)
    model = make_model(block_size=4) if options.pop("block_causal", False) else make_model()
    if "learned_threshold" in options:
        model.add_threshold_head(ThresholdHeadConfig())
    waits, passes = Waits(), 0
    layers, look = model.model.forward, sampler.look

    def body(*args, **kwargs):
        nonlocal passes
        passes += 1
        with waits:
            return layers(*args, **kwargs)

    def looking(*args):
        with waits:
            return look(*args)

    monkeypatch.setattr(model.model, "forward", body)  # from here on, tensors are the device's
    monkeypatch.setattr(sampler, "look", looking)
    config = DiffusionGenerationConfig(max_new_tokens=8, block_length=4, **options)
    record = DiffusionSampler(model, config).sample(torch.randint(1, 20, (5, 6)))
    assert passes >= record.nfe.max()
    assert not waits.found


class Mixes(TorchDispatchMode):
    """Finds what makes a device wait for the host while it works: copies between them, and indices on the host."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        leaves = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in leaves if x.dim() or x.device.type != "cpu"}
        if len(devices) > 1:
            self.found.append(function._schema.name)
        return result


@pytest.mark.parametrize("head", [False, True], ids=["", "with a threshold head"])
@pytest.mark.parametrize("cache", [None, "dual", "block"])
def test_nothing_is_sent_to_a_device_that_works(monkeypatch, cache, head):
    """On PyTorch's device without data, which could not even answer."""
    device, size = torch.device("meta"), 4
    model = make_model(block_size=size) if cache == "block" else make_model()
    if head:
        model.add_threshold_head(ThresholdHeadConfig())
    spec = resolve_spec(model)
    model.to(device)
    mixes, layers, forward = Mixes(), model.model.forward, model.forward
    working = ExitStack()

    def body(*args, **kwargs):
        working.enter_context(mixes)
        return layers(*args, **kwargs)

    def whole(*args, **kwargs):
        with working:  # from the first layer to the end
            return forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", body)
    monkeypatch.setattr(model, "forward", whole)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # it does not know the device
    ids = torch.randint(2, 20, (3, 12))
    visible = torch.ones_like(ids)
    positions = torch.arange(12).expand(3, -1) >= 8
    heads = torch.full((3,), 7) if head else None

    def reduction(logits, _):
        return (logits[:, 0],)

    if cache is None:
        found, thresholds = predict(model, spec, ids, visible, positions, reduction, heads, device=device)
    else:
        what = model, spec, device, ids, visible, torch.zeros(3)
        rows, start = torch.arange(3), torch.full((3,), 8)
        if cache == "dual":
            kept = ApproximateCache(*what, kind="dual", block_length=size, refresh_interval=None)
        else:
            kept = BlockCache(*what, prompt_length=8)
        kept.admit(rows)
        for _ in range(2):
            kept.together(rows, start)
            found, thresholds = kept.predict(rows, start, positions, reduction, heads)
    assert found[0].shape == (12,) and found[0].device == device
    assert (thresholds is None) != head
    assert not mixes.found


def test_the_meter_of_waits_sees_them():
    with Waits() as waits:
        x = torch.arange(3.0)
        x[x > 1] = 0.0
        bool(x.any())
        x.nonzero()
    assert waits.found == {"index_put_": 1, "_local_scalar_dense": 1, "nonzero": 1}


@pytest.mark.parametrize("kind", ["block", "dual", "prefix"])
def test_nobody_reads_what_a_cache_keeps_of_padding(monkeypatch, kind):
    block = {"block_size": 4} if kind == "block" else {}
    approximate = {} if kind == "block" else {"approximate_cache": kind}
    model = make_model(**block)
    config = DiffusionGenerationConfig(max_new_tokens=12, block_length=4, max_batch_size=3, **approximate)
    ids = torch.randint(1, 20, (6, 9), generator=torch.Generator().manual_seed(0))
    visible = (torch.arange(9) >= torch.tensor([0, 3, 8, 1, 5, 2])[:, None]).long()
    seeds = torch.arange(6)
    clean = DiffusionSampler(model, config).sample(ids, visible, seeds=seeds)

    update = cache._States.update

    def poisoned(self, keys, values, layer_idx, *args, **kwargs):
        update(self, keys, values, layer_idx, *args, **kwargs)
        keys, values = self.stored[layer_idx]
        for states in (keys, values):
            states[:, -1] = 1e4  # the column of what is no token
        return keys[self.rows].transpose(1, 2), values[self.rows].transpose(1, 2)

    monkeypatch.setattr(cache._States, "update", poisoned)
    record = DiffusionSampler(model, config).sample(ids, visible, seeds=seeds)
    assert record.completion_ids.equal(clean.completion_ids)
    torch.testing.assert_close(record.log_probs, clean.log_probs)
