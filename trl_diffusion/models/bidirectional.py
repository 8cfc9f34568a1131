# SPDX-License-Identifier: Apache-2.0
"""
Masked diffusion LMs out of transformers' causal ones.

An architecture that differs from a causal LM by its attention mask alone needs no modelling code: transformers builds
a bidirectional mask for any model whose configuration has `is_causal = False`. What is left to do is here: the flag
that attention kernels go by where there is no mask at all, the place for a threshold head, and the refusal to generate
from left to right. A family is then a few classes of two lines, see `a2d.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import find_adapter_config_file

from .head import LMHead, Reduction, reduce_whole
from .hub import hub_options, saved_generation_config
from .last_layer import LastLayerMixin, specialise_last_layer
from .spec import ranks
from .threshold import ThresholdHeadMixin


if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object


@dataclass(repr=False, eq=False)
class MaskedDiffusionConfigMixin:
    """
    What the configuration of a masked diffusion LM says beside transformers' own. Mixed in before transformers' class.

    Args:
        mask_token_id (`int`, *optional*):
            Id of the mask token.
        logit_shift (`int`, *optional*):
            Where the logits are, if not where the family has them; see [`~trl_diffusion.models.DiffusionFamily`].
        threshold_head (`dict`, *optional*):
            Fields of the [`~trl_diffusion.models.ThresholdHeadConfig`] of the model's threshold head, if it has one.
        is_causal (`bool`, *optional*, defaults to `False`):
            Whether transformers builds a causal mask.
    """

    # Not a field: an empty map must not be written, yet TRL and the auto classes read the attribute unguarded.
    auto_map: ClassVar[dict[str, str]] = {}

    mask_token_id: int | None = None
    logit_shift: int | None = None
    threshold_head: dict | None = None
    is_causal: bool = False


def plain_rotary(config: Any, options: dict[str, Any]) -> float:
    """
    Settle the rotary embedding of a configuration that has a `rope_theta` of its own beside transformers'
    `rope_parameters`, before transformers' `__post_init__`. Returns the base.

    Raises:
        `ValueError`: If it is scaled, which no checkpoint of these families is.
    """
    parameters = dict(config.rope_parameters or {})
    parameters = {"rope_type": "default", "rope_theta": config.rope_theta} | parameters
    scaling = options.pop("rope_scaling", None)
    if scaling is not None or parameters["rope_type"] != "default":
        raise ValueError(f"`rope_scaling={scaling or parameters!r}` is not implemented: no checkpoint has it.")
    config.rope_parameters = parameters
    return float(parameters["rope_theta"])


def block_causal_mask(attention_mask: torch.Tensor, block: int) -> torch.Tensor:
    """
    Who sees whom, if a position sees its own block and those before it.

    Args:
        attention_mask (`torch.Tensor` of shape `(rows, length)`):
            `0` on padding.
        block (`int`):
            Length of the blocks, which begin at the first token that is no padding.

    Returns:
        `torch.Tensor` of shape `(rows, length, length)`, bool: queries by keys. Padding is not seen.
    """
    real = attention_mask != 0
    block_of = (real.cumsum(-1) - 1).clamp(min=0) // block
    return (block_of[:, :, None] >= block_of[:, None]) & real[:, None]


@dataclass
class DiffusionOutput(CausalLMOutput):
    """
    What a masked diffusion LM says where it is not asked for logits alone.

    Args:
        reduced (`tuple[torch.Tensor, ...]`, *optional*):
            What the reduction made of the logits.
        threshold_outputs (`torch.Tensor` of shape `(rows, num_outputs)`, *optional*):
            Of the threshold head.
    """

    reduced: tuple[torch.Tensor, ...] | None = None
    threshold_outputs: torch.Tensor | None = None


class BidirectionalMixin(_Model):
    """For backbones, the models without an LM head. Mixed in before transformers' class."""

    def post_init(self) -> None:
        if getattr(self.config, "is_causal", True) and not getattr(self.config, "block_size", None):
            raise ValueError(
                f"{type(self.config).__name__} has no `is_causal = False`: transformers would build a causal mask."
            )
        if set(getattr(self.config, "layer_types", None) or ()) - {"full_attention"}:
            raise ValueError(
                f"Sliding windows are not supported (`layer_types={self.config.layer_types}`): a position of a masked "
                "diffusion LM sees everything."
            )
        theta = getattr(self.config, "rope_theta", None)
        rotary = (getattr(self.config, "rope_parameters", None) or {}).get("rope_theta")
        if (
            theta is not None and rotary is not None and theta != rotary
        ):  # one was changed after the configuration was made
            raise ValueError(f"`rope_theta` is {theta}, and {rotary} in `rope_parameters`. Set both.")
        for module in self.modules():
            if getattr(module, "is_causal", False):
                setattr(module, "is_causal", False)  # noqa: B010  (a plain attribute, which mypy takes for a submodule)
        super().post_init()


def _is_without_head(name: Any, config: Any, options: dict[str, Any]) -> bool:
    """Whether a checkpoint has no threshold head, and is to be loaded with one."""
    head = options.get("threshold_head") if config is None else getattr(config, "threshold_head", None)
    if head is None or name is None:
        return False
    try:
        return PreTrainedConfig.get_config_dict(name, **hub_options(options))[0].get("threshold_head") is None
    except OSError:  # weights without a configuration
        return False


class MaskedDiffusionMixin(BidirectionalMixin, ThresholdHeadMixin):
    """
    For models with their LM head, whose backbone is `self.model`. Mixed in before transformers' class.

    If the configuration has a `block_size`, attention is block-causal.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, config=None, adapter_kwargs=None, **kwargs):
        """
        transformers' own, of safetensors unless something else is asked for. An adapter that was trained with a
        threshold head has its description in its generation configuration: its base model is given a head before the
        adapter is loaded into it. That a head which is not the checkpoint's own has no weights there is not reported.
        """
        if kwargs.get("use_safetensors") is None:
            kwargs["use_safetensors"] = True
        name, adapter = pretrained_model_name_or_path, (adapter_kwargs or {}).get("_adapter_model_path")
        if adapter is None and name is not None and find_adapter_config_file(name, **hub_options(kwargs)) is not None:
            adapter = name
        carried = None if adapter is None else saved_generation_config(adapter, kwargs | (adapter_kwargs or {}))
        described = getattr(carried, "threshold_head", None)
        if described is not None and config is None:
            kwargs["threshold_head"] = described
        elif described is not None:
            config.threshold_head = described
        is_new = described is not None or _is_without_head(name, config, kwargs)
        with cls.head_may_be_missing(is_new):
            model = super().from_pretrained(name, *args, config=config, adapter_kwargs=adapter_kwargs, **kwargs)
        if carried is not None:
            model.generation_config = carried
        return model

    def post_init(self) -> None:
        self._make_threshold_head()
        self.lm_head = LMHead.of(self.lm_head)
        name = specialise_last_layer(self.model.layers)
        super().post_init()
        self._no_split_modules = set(self._no_split_modules or ()) | name

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        super().set_output_embeddings(LMHead.of(new_embeddings))

    def _init_weights(self, module: nn.Module) -> None:
        head = getattr(self, "threshold_head", None)
        if head is not None and module is head.output:
            head.reset_output()
        else:
            super()._init_weights(module)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        threshold_positions: torch.Tensor | None = None,
        reduction: Reduction | None = None,
        **kwargs,
    ):
        """
        transformers' own, with the threshold head where it is asked for, and without the logits where they are not.

        Args:
            threshold_positions (`torch.Tensor` of shape `(rows,)`, *optional*):
                Position whose hidden state the threshold head reads in each row. The output then has
                `threshold_outputs`.
            reduction (`Callable`, *optional*):
                What is wanted of the logits, in their place: see [`~trl_diffusion.models.head.reduce_logits`]. The
                output then has `reduced`, for the positions in `logits_to_keep`.
        """
        if kwargs.get("labels") is not None:
            raise ValueError(
                "`labels`: the loss of a causal LM, the cross-entropy of the next token, means nothing for a masked "
                "diffusion LM. Mask the tokens, and compute the loss from the logits at their positions."
            )
        if attention_mask is not None and attention_mask.dim() == 2 and kwargs.get("position_ids") is None:
            # Counted from the first token: the angles, which are of float32, do not depend on a row's padding.
            visible = attention_mask != 0
            columns = torch.arange(visible.shape[1], device=visible.device)
            position = columns - visible.int().argmax(-1, keepdim=True)
            inputs = cast(torch.Tensor, kwargs.get("inputs_embeds") if input_ids is None else input_ids)
            kwargs["position_ids"] = position[:, -inputs.shape[1] :]  # the others are in a cache
        block = getattr(self.config, "block_size", None)
        if block and (attention_mask is None or attention_mask.dim() == 2):
            inputs = cast(torch.Tensor, kwargs.get("inputs_embeds") if input_ids is None else input_ids)
            real = torch.ones(inputs.shape[:2], device=inputs.device) if attention_mask is None else attention_mask
            # Padding sees itself, lest its softmax be over nothing.
            diagonal = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
            attention_mask = (block_causal_mask(real, block) | diagonal)[:, None]
        if attention_mask is not None and attention_mask.dim() == 4:
            attention_mask = self._pattern(attention_mask)
        if threshold_positions is None and reduction is None:
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep, **kwargs
            )
        if threshold_positions is not None and self.threshold_head is None:
            raise ValueError("`threshold_positions` needs a threshold head; see `add_threshold_head`.")
        kwargs |= {"input_ids": input_ids, "attention_mask": attention_mask}
        hidden_states, for_thresholds = self._hidden_states(kwargs, logits_to_keep, threshold_positions)
        output = DiffusionOutput()
        if self.threshold_head is not None and for_thresholds is not None:
            output.threshold_outputs = self.threshold_head(for_thresholds)
        if reduction is None:
            output.logits = self.lm_head(hidden_states)
        elif isinstance(self.lm_head, LMHead):
            output.reduced = self.lm_head(hidden_states.flatten(0, -2), reduction)
        else:
            output.reduced = reduce_whole(self.lm_head(hidden_states.flatten(0, -2)), reduction)
        return output

    def _hidden_states(
        self, inputs: dict[str, Any], logits_to_keep: int | torch.Tensor, threshold_positions: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the LM head reads, and what the threshold head does."""
        chosen = isinstance(logits_to_keep, torch.Tensor) and logits_to_keep.dtype == torch.bool
        rows = None
        if threshold_positions is not None:
            rows = torch.arange(len(threshold_positions), device=threshold_positions.device)
        if not (chosen and any(isinstance(layer, LastLayerMixin) for layer in self.model.layers)):
            hidden_states = self.model(**inputs).last_hidden_state
            kept = slice_logits_to_keep(hidden_states, logits_to_keep)
            return kept, None if rows is None else hidden_states[rows, threshold_positions]
        wanted = kept = cast(torch.Tensor, logits_to_keep)
        if rows is not None:
            kept = wanted.index_put((rows, threshold_positions), torch.tensor(True, device=rows.device))
        # Sent before there is work on the device, which the host would otherwise wait for.
        device = (inputs["input_ids"] if inputs["input_ids"] is not None else inputs["inputs_embeds"]).device
        places = kept.flatten().nonzero()[:, 0].to(device)
        if rows is None:
            return self.model(**inputs, kept=places).last_hidden_state[0], None
        wanted, place = wanted[kept].nonzero()[:, 0].to(device), ranks(kept)[rows, threshold_positions].to(device)
        hidden_states = self.model(**inputs, kept=places).last_hidden_state[0]
        device = hidden_states.device  # the last layer's, under a device map
        return hidden_states[wanted.to(device)], hidden_states[place.to(device)]

    def _pattern(self, mask: torch.Tensor) -> torch.Tensor:
        """A mask of who sees whom, as the attention implementation takes it."""
        implementation = self.config._attn_implementation
        if implementation == "eager" and mask.dtype == torch.bool:
            return torch.zeros_like(mask, dtype=self.dtype).masked_fill(~mask, torch.finfo(self.dtype).min)
        if implementation not in ("eager", "sdpa"):
            raise ValueError(
                f"`attn_implementation={implementation!r}` takes no mask of who sees whom, which block-causal "
                "attention and caches need. Load the model with 'sdpa' or 'eager'."
            )
        return mask

    def generate(self, *args, **kwargs):
        """Refuses: left-to-right generation of a bidirectional model returns fluent-looking noise."""
        raise NotImplementedError(
            "A masked diffusion language model does not generate from left to right. Decode it with "
            "`trl_diffusion.DiffusionSampler(model, DiffusionGenerationConfig(...)).sample(input_ids)`."
        )
