# SPDX-License-Identifier: Apache-2.0
"""What the library needs to know about a masked diffusion LM, and the one place that asks "which family?"."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from .head import IMPOSSIBLE, Reduction, reduce_whole


if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class DiffusionFamily:
    """
    A family of masked diffusion LMs.

    Args:
        name (`str`):
            Name for people.
        lora_targets (`tuple[str, ...]`):
            Names of the linear layers of the transformer blocks, all of them and never the LM head.
        logit_shift (`int`, *optional*, defaults to `0`):
            `0` if the logits at position `i` predict the token at `i`, `1` if they predict the token at `i + 1`. A
            checkpoint's configuration may say otherwise, in a field of this name.
    """

    name: str
    lora_targets: tuple[str, ...]
    logit_shift: int = 0


_LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# Keyed by the `model_type` of the configuration.
_FAMILIES: dict[str, DiffusionFamily] = {
    "llada": DiffusionFamily("LLaDA", lora_targets=_LLAMA_LINEARS),
    "Dream": DiffusionFamily("Dream", lora_targets=_LLAMA_LINEARS, logit_shift=1),
    "a2d-llama": DiffusionFamily("A2D Llama", lora_targets=_LLAMA_LINEARS),
    "a2d-qwen2": DiffusionFamily("A2D Qwen2", lora_targets=_LLAMA_LINEARS),
    "a2d-qwen3": DiffusionFamily("A2D Qwen3", lora_targets=_LLAMA_LINEARS),
    "sdar": DiffusionFamily("SDAR", lora_targets=_LLAMA_LINEARS),
}


def register_family(model_type: str, family: DiffusionFamily) -> None:
    """Make models whose configuration has this `model_type` known to samplers and trainers."""
    _FAMILIES[model_type] = family


def get_family(config: PreTrainedConfig) -> DiffusionFamily:
    """
    The family of a model, by the `model_type` of its configuration.

    Raises:
        `ValueError`: If the model is not a masked diffusion LM that this library knows.
    """
    family = _FAMILIES.get(config.model_type)
    if family is None:
        raise ValueError(
            f"`model_type={config.model_type!r}` is not a known masked diffusion language model (known: "
            f"{', '.join(sorted(_FAMILIES))}). An autoregressive model cannot be trained with a diffusion trainer; "
            "for a masked diffusion model of another family, call `trl_diffusion.models.register_family` first."
        )
    return family


@dataclass(frozen=True)
class DiffusionSpec:
    """
    How to read one particular masked diffusion LM.

    Args:
        mask_token_id (`int`):
            Id that stands for "nothing written here yet". It is never sampled and never scored.
        logit_shift (`int`, *optional*, defaults to `0`):
            See [`DiffusionFamily`].
        attention_block (`int`, *optional*):
            Length of the blocks of a block-causal model, counted from the first token of the prompt: `block_size` in
            its configuration.
        reduces_logits (`bool`, *optional*, defaults to `False`):
            Whether the model's `forward` takes a `reduction`, so that logits are never there in full.
    """

    mask_token_id: int
    logit_shift: int = 0
    attention_block: int | None = None
    reduces_logits: bool = False


def resolve_spec(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase | None = None,
    mask_token_id: int | None = None,
) -> DiffusionSpec:
    """
    Find out how to read a model: its family from the configuration, its mask token from the first that names one: the
    argument, what a trainer has saved in the generation configuration, the configuration, the tokenizer.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, possibly wrapped by PEFT.
        processing_class ([`~transformers.PreTrainedTokenizerBase`], *optional*):
            Its tokenizer, the last resort for the mask token.
        mask_token_id (`int`, *optional*):
            The mask token, if the caller knows better than the checkpoint.

    Raises:
        `ValueError`: If the model is no known masked diffusion LM, or no mask token can be found, or it lies outside
            the model's vocabulary, or its configuration says what cannot be.
    """
    family = get_family(model.config)
    for source in (getattr(model, "generation_config", None), model.config, processing_class):
        if mask_token_id is None:
            mask_token_id = getattr(source, "mask_token_id", None)
    if mask_token_id is None:
        raise ValueError(
            "No mask token: neither the model's configuration nor the tokenizer defines `mask_token_id`. Pass "
            "`mask_token_id=...` (126336 for the LLaDA checkpoints on the Hub)."
        )
    rows = num_embeddings(model)
    if type(mask_token_id) is not int or not 0 <= mask_token_id < rows:
        raise ValueError(f"`mask_token_id={mask_token_id!r}` is outside the model's {rows} embeddings.")
    logit_shift = getattr(model.config, "logit_shift", None)
    if logit_shift is None:
        logit_shift = family.logit_shift
    if type(logit_shift) is not int or logit_shift not in (0, 1):
        raise ValueError(f"`logit_shift` of the model's configuration must be 0 or 1, got {logit_shift!r}.")
    block = getattr(model.config, "block_size", None)
    if block is not None and (type(block) is not int or block < 1):
        raise ValueError(f"`block_size` of the model's configuration must be at least 1, got {block!r}.")
    reduces = any("reduction" in inspect.signature(part.forward).parameters for part in _wrapped(model))
    return DiffusionSpec(mask_token_id, logit_shift, block, reduces)


def num_embeddings(model: PreTrainedModel) -> int:
    """Rows of a model's embedding, which PEFT may have wrapped, and whose weight an engine may have emptied."""
    modules = model.get_input_embeddings().modules()
    return next(module for module in modules if isinstance(module, torch.nn.Embedding)).num_embeddings


def _wrapped(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The model, and what `torch.compile` and PEFT have wrapped."""
    model = getattr(model, "_orig_mod", model)
    return [model, cast(Any, model).get_base_model()] if hasattr(model, "get_base_model") else [model]


def ranks(positions: torch.Tensor) -> torch.Tensor:
    """The place of each `True` in `positions.nonzero()`, in the shape of `positions`."""
    return (positions.flatten().cumsum(0) - 1).view_as(positions)


class Prediction(NamedTuple):
    """
    What a model says about masked positions.

    Args:
        reduced (`tuple[torch.Tensor, ...]`):
            What the reduction made of the logits, in the order of the positions.
        threshold_outputs (`torch.Tensor` of shape `(rows, num_outputs)`, *optional*):
            Of the threshold head, if it was asked.
    """

    reduced: Sequence[torch.Tensor]
    threshold_outputs: torch.Tensor | None


def predict(
    model: torch.nn.Module,
    spec: DiffusionSpec,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    positions: torch.Tensor,
    reduction: Reduction,
    threshold_positions: torch.Tensor | None = None,
    *,
    device: torch.device | None = None,
    **options: Any,
) -> Prediction:
    """
    Predict the tokens at chosen positions, and compute logits at no others, nor at all of these at a time. Of models
    that are the library's own, columns in front that are padding in all rows are left out.

    Args:
        model (`torch.nn.Module`):
            The model, wrapped or not. It is called once, so that every engine's hooks run.
        spec ([`DiffusionSpec`]):
            How to read it.
        input_ids (`torch.Tensor` of shape `(rows, length)`):
            Canvases.
        attention_mask (`torch.Tensor` of shape `(rows, length)`):
            `0` hides a position (padding) from the others. Or, of shape `(rows, 1, length, keys)` and bool, who sees
            whom.
        positions (`torch.Tensor` of shape `(rows, length)`, bool):
            Positions to predict.
        reduction (`Callable`):
            What is wanted of the logits, see [`~trl_diffusion.models.head.reduce_logits`]. The mask token has
            probability zero.
        threshold_positions (`torch.Tensor` of shape `(rows,)`, *optional*):
            Where the threshold head reads.
        device (`torch.device`, *optional*):
            Where the model is, if the tensors above are not there but on the host, where looking at them makes nobody
            wait.
        options:
            For the model's `forward`.

    Returns:
        [`Prediction`]: in the order of `positions.nonzero()`.
    """
    device = input_ids.device if device is None else device
    if spec.reduces_logits and attention_mask.dim() == 2:
        first, predicted = ((x != 0).any(0).int().argmax() for x in (attention_mask, positions))
        # The column before the first prediction stays: shifted logits and the threshold head look there.
        padding = int(torch.minimum(first, predicted - 1).clamp(min=0))
        input_ids, attention_mask, positions = (x[:, padding:] for x in (input_ids, attention_mask, positions))
        threshold_positions = None if threshold_positions is None else threshold_positions - padding
    if not spec.reduces_logits:  # the library's models count the places, and then send these
        positions = positions.to(device)
    if spec.logit_shift:
        positions = positions.roll(-spec.logit_shift, dims=1)
    if threshold_positions is not None:
        options["threshold_positions"] = threshold_positions

    def without_mask(logits: torch.Tensor, rows: slice) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():  # autograd would copy the gradient of all logits to write a zero
            logits[:, spec.mask_token_id] = IMPOSSIBLE
        return reduction(logits, rows)

    if spec.reduces_logits:
        options["reduction"] = without_mask
    # transformers would ask the device whether anything is hidden.
    nothing_hidden = spec.reduces_logits and attention_mask.dim() == 2 and bool((attention_mask != 0).all())
    output = model(
        input_ids=input_ids.to(device),
        attention_mask=None if nothing_hidden else attention_mask.to(device),
        logits_to_keep=positions,
        use_cache=False,
        **options,
    )
    reduced = output.reduced if spec.reduces_logits else reduce_whole(output.logits, without_mask)
    return Prediction(reduced, None if threshold_positions is None else output.threshold_outputs)
