# SPDX-License-Identifier: Apache-2.0
"""What an update takes in memory, from the architecture alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from ..models.head import MAX_LOGITS


# Bytes of a weight of a matrix with `columns` inputs. In 4 bits: blocks of 64 with a float32 scale, which TRL does not
# quantise by default; in 8 bits, one float32 scale per row.
_BYTES_PER_WEIGHT = {
    16: lambda columns: 2.0,
    8: lambda columns: 1 + 4 / columns,
    4: lambda columns: 0.5 + 4 / 64,
}


@dataclass(frozen=True)
class Update:
    """
    An update whose memory is asked for.

    Args:
        rows (`int`):
            Completions in a micro-batch.
        prompt_length (`int`):
            Tokens of their prompts.
        completion_length (`int`):
            Tokens of the completions, all of them scored.
        bits (`int`):
            Of the weights of the blocks' linear layers: 16, 8 or 4.
        targets (`tuple[str, ...]`):
            Names of these layers.
        lora_r (`int`, *optional*):
            Rank of their adapters; without it, all parameters are trained.
        processes (`int`, *optional*, defaults to `1`):
            Devices. Full training is sharded over them, as by ZeRO-3; adapters are not.
    """

    rows: int
    prompt_length: int
    completion_length: int
    bits: int
    targets: tuple[str, ...]
    lora_r: int | None = None
    processes: int = 1


@dataclass
class Memory:
    """
    Bytes on one device.

    Full training takes 16 bytes per parameter, whether the weights are in float32 (TRL's default) under autocast, or
    in bfloat16 with DeepSpeed's float32 copy.

    Args:
        weights (`float`):
            The model: float32 in full training; with adapters, bfloat16 or quantised, and the adapters in float32, on
            quantised weights in bfloat16.
        gradients (`float`):
            Of the parameters that are trained, in their precision.
        optimizer (`float`):
            AdamW's two moments of these, in the same.
        gathered (`float`):
            The whole model in bfloat16, which rollouts gather if it is sharded.
        activations (`float`):
            What the forward pass of one micro-batch keeps for the backward pass.
        checkpointed (`float`):
            The same with gradient checkpointing: the layers' inputs, and one layer while it is recomputed.
        logits (`float`):
            Of one chunk of positions, with what their scores and gradients take: in float32 four times, and once in
            bfloat16. More positions take no more.
        total (`float`):
            With gradient checkpointing, TRL's default.
    """

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    checkpointed: float
    logits: float
    total: float = field(init=False)

    def __post_init__(self) -> None:
        held = self.weights + self.gradients + self.optimizer
        self.total = held + max(self.gathered, self.checkpointed + self.logits)  # a rollout, or an update


def memory_of(model: PreTrainedModel, update: Update) -> Memory:
    """
    Bytes that an update takes, computed in bfloat16.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, on the meta device. It is given adapters, if there are to be any.
        update ([`Update`]):
            The update.
    """
    frozen, trained, processes = 0.0, sum(p.numel() for p in model.parameters()), update.processes
    gathered = 2.0 * trained if processes > 1 else 0.0
    width = 4 if update.bits == 16 else 2
    if update.lora_r is not None:
        processes, gathered = 1, 0.0
        for name, parameter in model.named_parameters():
            quantised = parameter.dim() == 2 and name.split(".")[-2] in update.targets
            frozen += parameter.numel() * _BYTES_PER_WEIGHT[update.bits if quantised else 16](parameter.shape[-1])
        lora = LoraConfig(r=update.lora_r, target_modules=list(update.targets))
        model = cast(PreTrainedModel, get_peft_model(model, lora))
        trained = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    shape = (update.rows, update.prompt_length, update.completion_length)
    vocabulary = cast(Any, model.get_output_embeddings()).out_features
    activations = kept_for_backward(model, *shape)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    inputs = kept_for_backward(model, *shape)
    return Memory(
        weights=frozen + width * trained / processes,
        gradients=width * trained / processes,
        optimizer=2 * width * trained / processes,
        gathered=gathered,
        activations=activations,
        checkpointed=inputs + (activations - inputs) / model.config.num_hidden_layers,
        logits=18 * min(update.rows * update.completion_length * vocabulary, max(MAX_LOGITS, vocabulary)),
    )


def kept_for_backward(model: torch.nn.Module, rows: int, prompt_length: int, completion_length: int) -> int:
    """
    Bytes that a forward and scoring pass keeps for its backward pass, parameters not counted.

    Args:
        model (`torch.nn.Module`):
            A model, which may be on the meta device.
        rows (`int`):
            Canvases.
        prompt_length (`int`):
            Tokens of the prompt.
        completion_length (`int`):
            Tokens of the completion, all of them scored.
    """
    model.train()
    kept: dict[int, torch.UntypedStorage] = {}
    # Not on the meta device itself, where attention would take another path than on a real one.
    with FakeTensorMode():
        own = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=tensor.requires_grad)
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        given = {tensor.untyped_storage()._cdata for tensor in own.values()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()  # views share it
            if storage._cdata not in given:
                kept[storage._cdata] = storage  # holding it keeps its address from being given away
            return tensor

        inputs = {
            "input_ids": torch.zeros(rows, prompt_length + completion_length, dtype=torch.long),
            "logits_to_keep": completion_length,
            "use_cache": False,
            "reduction": lambda logits, _: (logits.log_softmax(-1)[:, 0],),
        }
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            torch.func.functional_call(model, own, kwargs=inputs)
    return sum(storage.nbytes() for storage in kept.values())
