# SPDX-License-Identifier: Apache-2.0
"""Models of every family against an independent implementation, and everything that must not depend on the family."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from trl_diffusion import DiffusionGenerationConfig, DiffusionSampler
from trl_diffusion.likelihood import ExactSteps, RolloutBatch, score_views
from trl_diffusion.models import ThresholdHeadConfig, get_family, resolve_spec

from .conftest import in_float64
from .families import CONFIGS, FAMILIES, MASK, VOCABULARY, architecture, attends, hub_name, write_checkpoint
from .reference import logits as reference_logits


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders and tensors by family."""
    folder = tmp_path_factory.mktemp("families")
    return {family: (folder / family, write_checkpoint(family, folder / family)) for family in CONFIGS}


def load(path, **options):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).eval()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("family", CONFIGS)
@torch.no_grad()
def test_logits_equal_the_architecture_written_again(checkpoints, family, implementation):
    """To 1e-9 in float64, where the softmax is not in float32; alone, and padded on either side."""
    atol = 1e-9 if implementation == "sdpa" else 1e-5
    path, tensors = checkpoints[family]
    model = in_float64(load(path, attn_implementation=implementation))
    arch = architecture(CONFIGS[family])
    generator = torch.Generator().manual_seed(1)
    for length in (1, 5, 17):
        ids = torch.randint(2, VOCABULARY, (length,), generator=generator).tolist()
        expected = reference_logits(tensors, arch, ids, attends(CONFIGS[family]))
        assert expected.abs().max() > 1
        alone = model(input_ids=torch.tensor([ids])).logits[0]
        torch.testing.assert_close(alone, expected, atol=atol, rtol=0)
        right = model(
            input_ids=torch.tensor([[*ids, 3, 4]]), attention_mask=torch.tensor([[1] * length + [0, 0]])
        ).logits[0, :length]
        torch.testing.assert_close(right, expected, atol=atol, rtol=0)
        # Positions are relative, up to the rounding of float32 angles.
        left = model(
            input_ids=torch.tensor([[3, 4, *ids]]), attention_mask=torch.tensor([[0, 0] + [1] * length])
        ).logits[0, 2:]
        torch.testing.assert_close(left, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("trust_remote_code", [None, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_loads_as_it_lies_on_the_hub(checkpoints, family, trust_remote_code):
    """Without remote code, which would be asked for by `auto_map`, and with every tensor in its place."""
    path, tensors = checkpoints[family]
    model, info = AutoModelForCausalLM.from_pretrained(
        path, trust_remote_code=trust_remote_code, output_loading_info=True
    )
    assert type(model).__name__ == CONFIGS[family]["architectures"][0]
    assert type(model).__module__.startswith("trl_diffusion.") and not any(info.values())
    parameters = dict(model.named_parameters())
    assert parameters.keys() == tensors.keys()
    assert all(torch.equal(parameters[name], tensors[name]) for name in tensors)
    assert AutoConfig.from_pretrained(path).model_type == CONFIGS[family]["model_type"]
    if family == "sdar":  # its backbone alone would not know of the blocks
        return
    ids = torch.arange(2, 12)[None]
    base = AutoModel.from_pretrained(path).eval()(ids)
    expected = model.eval()(ids, output_hidden_states=True)
    if family.startswith("dream"):  # on the Hub, too, `AutoModel` has the LM head
        torch.testing.assert_close(base.logits, expected.logits)
    else:
        torch.testing.assert_close(base.last_hidden_state, expected.hidden_states[-1])


@pytest.mark.parametrize("family", CONFIGS)
def test_what_is_saved_is_what_was_loaded(checkpoints, family, tmp_path):
    path, tensors = checkpoints[family]
    model = load(path)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == {hub_name(family, name) for name in tensors}
    assert all(torch.equal(saved[hub_name(family, name)], tensor) for name, tensor in tensors.items())
    again = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    written = json.loads((tmp_path / "config.json").read_text())
    # The remote code and other libraries read these fields; those that say "nothing" may go.
    said = {name: value for name, value in CONFIGS[family].items() if value is not None and name != "use_cache"}
    if family.startswith(("a2d", "dream", "sdar")):
        assert written["rope_parameters"]["rope_theta"] == said["rope_theta"]
        said.pop("rope_theta") if not family.startswith("dream") else None
    assert {name: written.get(name) for name in said} == said


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unmasking", ["entropy_bound", "random"])
@torch.no_grad()
def test_a_padded_batch_is_decoded_and_scored_as_each_row_alone(checkpoints, family, unmasking):
    path, _ = checkpoints[family]
    model = in_float64(load(path))
    spec = resolve_spec(model)
    prompts = [[5, 6, 7, 8, 9], [4], [10, 11]]
    bound = {"entropy_bound": 2.0} if unmasking == "entropy_bound" else {}
    decoder = DiffusionGenerationConfig(max_new_tokens=12, block_length=4, unmasking=unmasking, **bound)
    ids = torch.tensor([[0] * (5 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (5 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    together = DiffusionSampler(model, decoder).sample(ids, mask, seeds=torch.arange(3))
    batch = RolloutBatch(ids, mask, together.unmask_step >= 0, together, torch.arange(3)[:, None])
    (part,) = ExactSteps().passes(batch, 0, spec.mask_token_id)
    scores = score_views(model, spec, part.views, batch).token_log_probs
    torch.testing.assert_close(scores.float(), together.log_probs, atol=1e-5, rtol=0)
    for row, prompt in enumerate(prompts):
        alone = DiffusionSampler(model, decoder).sample(torch.tensor([prompt]), seeds=torch.tensor([row]))
        assert torch.equal(alone.completion_ids[0], together.completion_ids[row])
        torch.testing.assert_close(alone.log_probs[0], together.log_probs[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_are_read_where_the_family_puts_them(checkpoints, family):
    """The log-probability of the first token written, found by hand."""
    path, _ = checkpoints[family]
    model = in_float64(load(path))
    trajectory = DiffusionSampler(model, DiffusionGenerationConfig(max_new_tokens=4, block_length=4)).sample(
        torch.tensor([[5, 6, 7]]), seeds=torch.tensor([3])
    )
    first = int((trajectory.unmask_step[0] == 0).int().argmax())
    logits = model(input_ids=torch.tensor([[5, 6, 7] + [MASK] * 4])).logits[0]
    at = 3 + first - (1 if family == "dream" else 0)
    words = torch.arange(VOCABULARY) != MASK
    expected = logits[at] - logits[at, words].logsumexp(-1)
    token = int(trajectory.completion_ids[0, first])
    assert trajectory.log_probs[0, first].item() == pytest.approx(expected[token].item(), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_bidirectional_and_generation_refused(checkpoints, family):
    model = load(checkpoints[family][0])
    one, other = torch.tensor([[2, 3, 4, 5]]), torch.tensor([[2, 3, 4, 9]])
    assert not torch.allclose(model(one).logits[0, 0], model(other).logits[0, 0])
    with pytest.raises(NotImplementedError, match="DiffusionSampler"):
        model.generate(one)
    with pytest.raises(ValueError, match="`labels`"):
        model(one, labels=one)
    # What kernels that take no mask go by.
    assert not any(getattr(module, "is_causal", False) for module in model.modules()) or family == "sdar"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, "`rope_scaling"),
        ({"use_mrope": True}, "`use_mrope`"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e6}}, "`rope_scaling"),
    ],
)
def test_what_no_dream_checkpoint_has_is_refused(checkpoints, tmp_path, change, words):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["dream"] | change))
    with pytest.raises((ValueError, StrictDataclassError), match=words):
        AutoConfig.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`rope_theta` is 99.0, and 1000000.0 .* Set both"):
        AutoModelForCausalLM.from_pretrained(checkpoints["dream"][0], rope_theta=99.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_threshold_head_is_loaded_in_float32(checkpoints, tmp_path, family, dtype):
    model = load(checkpoints[family][0])
    model.add_threshold_head(ThresholdHeadConfig())
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    types = {name: parameter.dtype for name, parameter in again.named_parameters()}
    assert {n for n, kind in types.items() if kind != dtype} == {n for n in types if "threshold_head" in n}
    assert all(types[name] == torch.float32 for name in types if "threshold_head" in name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_device_map_loads_the_same(checkpoints, family):
    ids = torch.arange(2, 9)[None]
    mapped = load(checkpoints[family][0], device_map="auto")
    assert torch.equal(mapped(ids).logits, load(checkpoints[family][0])(ids).logits)


@pytest.mark.parametrize("family", [*FAMILIES, "llada-wide", "llada-tied"])
@pytest.mark.parametrize("size", [VOCABULARY + 7, VOCABULARY + 2])
def test_embeddings_can_be_resized(checkpoints, tmp_path, family, size):
    model = load(checkpoints[family][0])
    model.resize_token_embeddings(size)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    ids = torch.tensor([[2, 3, size - 1]])
    assert again.get_input_embeddings().num_embeddings == size and again(ids).logits.shape == (1, 3, size)
    assert torch.equal(again(ids).logits, model(ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_targets_are_all_linear_layers_of_the_blocks(checkpoints, family):
    model = load(checkpoints[family][0])
    linears = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    }
    assert linears == set(get_family(model.config).lora_targets)


# The indices of the Hub's checkpoints: tensors, bytes in bfloat16, and what they are made of.
HUB = {
    "llada": (
        {"model_type": "llada", "d_model": 4096, "n_heads": 32, "n_kv_heads": 32, "n_layers": 32,
         "mlp_hidden_size": 12288, "vocab_size": 126464, "embedding_size": 126464, "mask_token_id": 126336},
        291, 16_031_162_368,
    ),
    "dream": (
        {"model_type": "Dream", "hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4,
         "num_hidden_layers": 28, "intermediate_size": 18944, "vocab_size": 152064, "mask_token_id": 151666},
        339, 15_231_233_024,
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", HUB)
def test_the_checkpoints_on_the_hub_have_these_tensors(family):
    """At full size, on the meta device."""
    described, count, size = HUB[family]
    config = AutoConfig.for_model(**described)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    parameters = dict(model.named_parameters())
    assert len(parameters) == count and sum(2 * p.numel() for p in parameters.values()) == size


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_sample_without_a_prompt_does_not_depend_on_its_batch(family, tmp_path):
    """Shifted logits of its first token come from a column that is padding in every row, if it is alone."""
    write_checkpoint(family, tmp_path)
    model = in_float64(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)).eval()
    ids, mask = torch.tensor([[0, 0, 0], [5, 6, 7]]), torch.tensor([[0, 0, 0], [1, 1, 1]])
    # On a canvas of masks alone all positions look alike: the rule must not choose by rounding.
    options = {"max_new_tokens": 8, "block_length": 4, "unmasking": "left_to_right"}
    found = [
        DiffusionSampler(model, DiffusionGenerationConfig(max_batch_size=size, **options)).sample(
            ids[rows], mask[rows], seeds=torch.arange(rows.stop)
        )
        for size, rows in ((None, slice(0, 2)), (1, slice(0, 2)), (None, slice(0, 1)))
    ]
    for other in found[1:]:
        assert torch.equal(other.completion_ids[0], found[0].completion_ids[0])
        torch.testing.assert_close(other.log_probs[0], found[0].log_probs[0], atol=1e-6, rtol=0)
