# SPDX-License-Identifier: Apache-2.0
"""
Masked diffusion LMs out of transformers' causal ones.

An architecture that differs from a causal LM by its attention mask alone needs no modelling code: transformers builds
a bidirectional mask for any model whose configuration has `is_causal = False`. What is left to do is here: the flag
that attention kernels go by where there is no mask at all, the place for a threshold head, and the refusal to generate
from left to right. A family is then a few classes of two lines, see `a2d.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.modeling_utils import slice_logits_to_keep

from .threshold import ThresholdHeadMixin, ThresholdOutput


if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object


class BidirectionalMixin(_Model):
    """For backbones, the models without an LM head. Mixed in before transformers' class."""

    def post_init(self) -> None:
        if getattr(self.config, "is_causal", True):
            raise ValueError(
                f"{type(self.config).__name__} has no `is_causal = False`: transformers would build a causal mask."
            )
        for module in self.modules():
            if getattr(module, "is_causal", False):
                setattr(module, "is_causal", False)  # noqa: B010  (a plain attribute, which mypy takes for a submodule)
        super().post_init()


class MaskedDiffusionMixin(BidirectionalMixin, ThresholdHeadMixin):
    """For models with their LM head, whose backbone is `self.model`. Mixed in before transformers' class."""

    def post_init(self) -> None:
        self._make_threshold_head()
        super().post_init()

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
        **kwargs,
    ):
        """
        transformers' own, with the threshold head where it is asked for.

        Args:
            threshold_positions (`torch.Tensor` of shape `(rows,)`, *optional*):
                Position whose hidden state the threshold head reads in each row. The output then has
                `threshold_outputs`.
        """
        if threshold_positions is None:
            return super().forward(
                input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep, **kwargs
            )
        if self.threshold_head is None:
            raise ValueError("`threshold_positions` needs a threshold head; see `add_threshold_head`.")
        hidden_states = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        rows = torch.arange(len(threshold_positions), device=threshold_positions.device)
        return ThresholdOutput(
            logits=self.lm_head(slice_logits_to_keep(hidden_states, logits_to_keep)),
            threshold_outputs=self.threshold_head(hidden_states[rows, threshold_positions]),
        )

    def generate(self, *args, **kwargs):
        """Refuses: left-to-right generation of a bidirectional model returns fluent-looking noise."""
        raise NotImplementedError(
            "A masked diffusion language model does not generate from left to right. Decode it with "
            "`trl_diffusion.DiffusionSampler(model, DiffusionGenerationConfig(...)).sample(input_ids)`."
        )
