# SPDX-License-Identifier: Apache-2.0
"""What rollouts and updates take in memory, from the architecture alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakSet, finalize

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
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
        rollout_rows (`int`, *optional*):
            Completions that are decoded at a time; as many as in a micro-batch without it.
        reference (`bool`, *optional*):
            Whether there is a reference model. That of adapters is the model without them, and takes nothing.
    """

    rows: int
    prompt_length: int
    completion_length: int
    bits: int
    targets: tuple[str, ...]
    lora_r: int | None = None
    rollout_rows: int | None = None
    reference: bool = False


@dataclass(frozen=True)
class Engine:
    """
    What an engine divides between the devices.

    Args:
        parameters (`bool`, *optional*):
            Whether it divides the parameters. They are gathered for rollouts.
        gradients (`bool`, *optional*):
            Whether it divides the gradients.
        optimizer (`bool`, *optional*):
            Whether it divides what the optimizer keeps.
        deepspeed (`bool`, *optional*):
            DeepSpeed holds weights and gradients in bfloat16, and lets the optimizer keep a float32 copy of weights.
            Others hold float32, TRL's default, of what is trained.
        offload (`bool`, *optional*):
            Whether what is divided lies in the memory of the host.
    """

    parameters: bool = False
    gradients: bool = False
    optimizer: bool = False
    deepspeed: bool = False
    offload: bool = False


# By the name of their file in examples/accelerate_configs. The first that fits is the fastest.
ENGINES = {
    "multi_gpu": Engine(),
    "zero1": Engine(optimizer=True, deepspeed=True),
    "zero2": Engine(optimizer=True, gradients=True, deepspeed=True),
    "fsdp2": Engine(optimizer=True, gradients=True, parameters=True),
    "zero3": Engine(optimizer=True, gradients=True, parameters=True, deepspeed=True),
    "zero3_offload": Engine(optimizer=True, gradients=True, parameters=True, deepspeed=True, offload=True),
}


@dataclass
class Memory:
    """
    Bytes on one device.

    Args:
        weights (`float`):
            The model: with adapters, bfloat16 or quantised, and the adapters in float32, on quantised weights in
            bfloat16.
        reference (`float`):
            The reference model, in the type of the weights.
        optimizer (`float`):
            AdamW's two moments of what is trained, and DeepSpeed's copy of it.
        gradients (`float`):
            Of what is trained. FSDP does not divide them before the last micro-batch of an update: they are there in
            whole, in bfloat16.
        buckets (`float`):
            In which DDP sends gradients: as large again, and there from the first update on.
        gathered (`float`):
            The whole model in bfloat16, which rollouts gather if it is divided.
        units (`float`):
            Two of what an update gathers at a time (a layer or an embedding): the one in use, and the next.
        cast (`float`):
            The copies in bfloat16 that autocast keeps of float32 weights during a pass.
        decoding (`float`):
            The most that a forward pass of a rollout holds at once, without the logits.
        step (`float`):
            The float32 gradients that DeepSpeed's optimizer makes for its step, when activations are gone.
        activations (`float`):
            What the forward pass of one micro-batch keeps for the backward pass.
        checkpointed (`float`):
            The same with gradient checkpointing: the layers' inputs, and one layer while it is recomputed.
        logits (`float`):
            Of one chunk of positions, with what their scores and gradients take: in float32 four times, and once in
            bfloat16. More positions take no more.
        host (`float`):
            What is offloaded: in the memory of the host, for each device.
        accumulates (`bool`):
            Whether gradients of earlier micro-batches are there while the next one is computed.
        rollout (`float`):
            The most that a rollout takes: what is held, gathered and cast, a forward pass, and one chunk of logits.
        update (`float`):
            The most that an update takes, with gradient checkpointing, TRL's default.
    """

    weights: float
    reference: float
    optimizer: float
    gradients: float
    buckets: float
    gathered: float
    units: float
    cast: float
    decoding: float
    step: float
    activations: float
    checkpointed: float
    logits: float
    host: float
    accumulates: bool
    rollout: float = field(init=False)
    update: float = field(init=False)

    def __post_init__(self) -> None:
        held = self.weights + self.reference + self.optimizer + self.buckets
        self.rollout = held + self.gathered + self.cast + self.decoding + self.logits
        passing = self.units + self.cast + self.checkpointed + self.logits
        if self.accumulates:
            passing += self.gradients
        self.update = held + max(passing, self.gradients + self.step)

    @property
    def total(self) -> float:
        """The most of both."""
        return max(self.rollout, self.update)


@dataclass(frozen=True)
class Needs:
    """
    What an update takes wherever it runs.

    Args:
        frozen (`float`):
            Bytes of the parameters that are not trained.
        trained (`int`):
            Number of those that are.
        reference (`int`):
            Number of those of a reference model.
        width (`int`):
            Bytes of each, where the engine does not change that.
        largest (`int`):
            Number of parameters of the largest layer or embedding.
        decoding, activations, checkpointed, logits (`float`):
            See [`Memory`].
    """

    frozen: float
    trained: int
    reference: int
    width: int
    largest: int
    decoding: float
    activations: float
    checkpointed: float
    logits: float

    def under(self, engine: Engine, processes: int, micro_batches: int = 1) -> Memory:
        """
        Bytes on each of so many devices.

        Args:
            engine ([`Engine`]):
                What is divided between them.
            processes (`int`):
                Their number.
            micro_batches (`int`, *optional*, defaults to `1`):
                Of an update, on each of them.
        """

        def share(is_divided: bool) -> float:
            return 1 / processes if is_divided else 1.0

        width = 2 if engine.deepspeed else self.width
        weights = (self.frozen + width * self.trained) * share(engine.parameters)
        reference = width * self.reference * share(engine.parameters)
        # Two moments, and DeepSpeed's copy, all in float32.
        optimizer = (12 if engine.deepspeed else 2 * width) * self.trained * share(engine.optimizer)
        gradients = width * self.trained * share(engine.gradients)
        if engine.parameters and not engine.deepspeed and micro_batches > 1:
            gradients = max(gradients, 2.0 * self.trained)
        is_ddp = not engine.deepspeed and not engine.parameters
        # A copy of the gradients that it is to divide, and these in float32.
        step = (4 + 2 * engine.gradients) * self.trained * share(engine.optimizer) if engine.deepspeed else 0.0
        return Memory(
            weights=0.0 if engine.offload else weights,
            reference=0.0 if engine.offload else reference,
            optimizer=0.0 if engine.offload else optimizer,
            gradients=0.0 if engine.offload else gradients,
            buckets=gradients if is_ddp and processes > 1 else 0.0,
            gathered=self.frozen + 2.0 * self.trained if engine.parameters else 0.0,
            units=2 * 2.0 * self.largest if engine.parameters else 0.0,
            cast=2.0 * self.trained if is_ddp and width == 4 else 0.0,
            decoding=self.decoding,
            step=0.0 if engine.offload else step,
            activations=self.activations,
            checkpointed=self.checkpointed,
            logits=self.logits,
            host=weights + reference + optimizer + gradients + step if engine.offload else 0.0,
            accumulates=micro_batches > 1,
        )


def needs_of(model: PreTrainedModel, update: Update) -> Needs:
    """
    What an update takes, computed in bfloat16.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, on the meta device. It is given adapters, if there are to be any.
        update ([`Update`]):
            The update.
    """
    frozen, trained = 0.0, sum(p.numel() for p in model.parameters())
    reference = trained if update.reference and update.lora_r is None else 0
    layers = (sum(p.numel() for p in layer.parameters()) for layer in cast(Any, model).model.layers)
    largest = max(*layers, *(p.numel() for p in model.parameters()))
    if update.lora_r is not None:
        for name, parameter in model.named_parameters():
            quantised = parameter.dim() == 2 and name.split(".")[-2] in update.targets
            frozen += parameter.numel() * _BYTES_PER_WEIGHT[update.bits if quantised else 16](parameter.shape[-1])
        lora = LoraConfig(r=update.lora_r, target_modules=list(update.targets))
        model = cast(PreTrainedModel, get_peft_model(model, lora))
        trained = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    shape = (update.rows, update.prompt_length, update.completion_length)
    vocabulary = cast(Any, model.get_output_embeddings()).out_features
    trunk, rows = cast(Any, model).model, update.rollout_rows or update.rows
    decoding = held_while_decoding(trunk, rows, update.prompt_length + update.completion_length)
    activations = kept_for_backward(model, *shape)
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    inputs = kept_for_backward(model, *shape)
    return Needs(
        frozen=frozen,
        trained=trained,
        reference=reference,
        width=4 if update.bits == 16 else 2,
        largest=largest,
        decoding=decoding,
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
    with FakeTensorMode():
        own = _without_memory(model)
        given = {tensor.untyped_storage()._cdata for tensor in own.values()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()  # views share it
            if storage._cdata not in given:
                kept[storage._cdata] = storage  # holding it keeps its address from being given away
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            inputs = {
                "input_ids": torch.zeros(rows, prompt_length + completion_length, dtype=torch.long),
                "logits_to_keep": completion_length,
                "use_cache": False,
                "reduction": lambda logits, _: (logits.log_softmax(-1)[:, 0],),
            }
            torch.func.functional_call(model, own, kwargs=inputs)
    return sum(storage.nbytes() for storage in kept.values())


def held_while_decoding(trunk: torch.nn.Module, rows: int, length: int) -> int:
    """
    The most bytes that a forward pass without gradient has at once, parameters not counted.

    Args:
        trunk (`torch.nn.Module`):
            A model without its LM head, which may be on the meta device.
        rows (`int`):
            Canvases.
        length (`int`):
            Their tokens, with the prompt's.
    """
    trunk.eval()
    with FakeTensorMode(), torch.no_grad():
        own = _without_memory(trunk)
        input_ids = torch.zeros(rows, length, dtype=torch.long)
        with _LiveBytes(own.values()) as live:
            torch.func.functional_call(trunk, own, kwargs={"input_ids": input_ids, "use_cache": False})
    return live.most


class _LiveBytes(TorchDispatchMode):
    """Counts the memory of what operations return, as long as it is there, and if it is not that of given tensors."""

    def __init__(self, given: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = WeakSet(tensor.untyped_storage() for tensor in given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self.known:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self.now -= size


def _without_memory(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """
    Parameters and buffers with shapes alone, in a `FakeTensorMode`; not on the meta device itself, where attention
    would take another path than on a real one.
    """
    return {
        name: torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=tensor.requires_grad)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
