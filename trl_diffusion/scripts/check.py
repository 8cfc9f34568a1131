# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint can be trained here, and what it will take. Reads its configuration and its tokenizer only.

    python -m trl_diffusion.scripts.check GSAI-ML/LLaDA-8B-Instruct
    python -m trl_diffusion.scripts.check GSAI-ML/LLaDA-8B-Instruct --lora_r 64 --load_in_4bit --batch_size 4
    python -m trl_diffusion.scripts.check Dream-org/Dream-v0-Instruct-7B --full --completion_length 512

Nothing is downloaded but these two, and no weights are allocated: what an update keeps for its backward pass is
counted by sending the real model through a forward pass on tensors that have a shape and no memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ..models import end_tokens, get_family, resolve_spec


GIB = 2**30

# Bytes of a weight in 4-bit blocks of 64 with nested quantisation of the scales.
_BYTES_4BIT = 0.5 + (1 + 4 / 256) / 64


@dataclass
class Memory:
    """
    Bytes on one device, without sharding.

    Args:
        weights (`float`):
            The model.
        gradients (`float`):
            Of the parameters that are trained.
        optimizer (`float`):
            AdamW's two moments of these, in float32.
        activations (`float`):
            What the forward pass of one micro-batch keeps for the backward pass.
        checkpointed (`float`):
            The same with gradient checkpointing: the layers' inputs, and one layer while it is recomputed.
        logits (`float`):
            What the backward pass of the scores holds beside: gradients as large as the logits, in float32 twice and
            once in bfloat16.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    checkpointed: float
    logits: float

    @property
    def total(self) -> float:
        """With gradient checkpointing, TRL's default."""
        return self.weights + self.gradients + self.optimizer + self.checkpointed + self.logits


@dataclass
class Report:
    """What is known of a checkpoint; `problems` is empty if it can be trained."""

    model: str
    facts: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    memory: Memory | None = None
    problems: list[str] = field(default_factory=list)


def check(name: str, args: argparse.Namespace) -> Report:
    """Look at a checkpoint."""
    report = Report(name)
    try:
        config = AutoConfig.from_pretrained(name, revision=args.revision, trust_remote_code=False)
        family = get_family(config)
    except (OSError, ValueError) as error:
        report.problems.append(str(error).splitlines()[0])
        return report
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    positions, block = getattr(config, "max_position_embeddings", None), getattr(config, "block_size", None)
    report.facts = {
        "family": family.name,
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": f"blocks of {block}, causal" if block else "bidirectional",
        "positions": positions,
        "threshold head": _yes(getattr(config, "threshold_head", None)),
    }
    length = args.prompt_length + args.completion_length
    if length > (positions or length):
        report.problems.append(f"{length} tokens are more than the {positions} positions of the model.")
    _check_tokens(report, model, name, args)
    report.lora = _lora(model, family.lora_targets, args.lora_r)
    report.memory = _memory(model, list(family.lora_targets), args)
    return report


def _yes(value: Any) -> str:
    return "yes" if value else "no"


def _check_tokens(report: Report, model: PreTrainedModel, name: str, args: argparse.Namespace) -> None:
    tokenizer = None
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=args.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        report.problems.append(f"No tokenizer: {str(error).splitlines()[0]}")
    try:
        spec = resolve_spec(model, tokenizer, args.mask_token_id)
        report.facts["logit shift"] = spec.logit_shift
        report.facts["mask token"] = _token(spec.mask_token_id, tokenizer)
    except ValueError as error:
        report.problems.append(str(error))
    if tokenizer is None:
        return
    ends = end_tokens(model, tokenizer)
    report.facts["ends of text"] = [_token(token, tokenizer) for token in ends]
    report.facts["chat template"] = _yes(tokenizer.chat_template)
    embeddings = cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings
    if not ends:
        report.problems.append("The tokenizer has no end-of-text token. Set its `eos_token`.")
    if len(tokenizer) > embeddings:
        report.problems.append(f"The tokenizer has {len(tokenizer)} tokens and the model {embeddings} embeddings.")


def _token(token: int, tokenizer: Any) -> str:
    return f"{token}" if tokenizer is None else f"{token} {tokenizer.convert_ids_to_tokens(token)!r}"


def _lora(model: PreTrainedModel, targets: tuple[str, ...], rank: int) -> dict[str, Any]:
    """What the family's LoRA preset covers."""
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = {n: m for n, m in linears.items() if n.rsplit(".", 1)[-1] in targets}
    total = sum(p.numel() for p in model.parameters())
    covered = sum(m.weight.numel() for m in adapted.values())
    return {
        "targets": list(targets),
        "modules": f"{len(adapted)} of {len(linears)} linear layers",
        "covered": f"{covered:,} of {total:,} parameters ({covered / total:.1%})",
        "trained": sum(rank * (m.in_features + m.out_features) for m in adapted.values()),
    }


def _memory(model: PreTrainedModel, targets: list[str], args: argparse.Namespace) -> Memory:
    parameters = dict(model.named_parameters())
    is_4bit = {n: args.load_in_4bit and n.split(".")[-2] in targets and p.dim() == 2 for n, p in parameters.items()}
    weights = sum(p.numel() * (_BYTES_4BIT if is_4bit[n] else 2) for n, p in parameters.items())
    trained, trained_bytes = sum(p.numel() for p in parameters.values()), 2
    if not args.full:
        model = cast(PreTrainedModel, get_peft_model(model, LoraConfig(r=args.lora_r, target_modules=targets)))
        trained, trained_bytes = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n), 4
        weights += trained * trained_bytes
    activations = kept_for_backward(model, args.batch_size, args.prompt_length, args.completion_length)
    layers = model.config.num_hidden_layers
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    inputs = kept_for_backward(model, args.batch_size, args.prompt_length, args.completion_length)
    return Memory(
        weights=weights,
        gradients=trained * trained_bytes,
        optimizer=8 * trained,
        activations=activations,
        checkpointed=inputs + max(0.0, activations - inputs) / layers,
        logits=10 * args.batch_size * args.completion_length * cast(Any, model.get_output_embeddings()).out_features,
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
        }
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = torch.func.functional_call(model, own, kwargs=inputs).logits
            logits.float().log_softmax(-1)
    return sum(storage.nbytes() for storage in kept.values())


def lines(report: Report, args: argparse.Namespace) -> list[str]:
    """The report for people."""
    result = [report.model, ""]
    for name, value in (report.facts | {f"LoRA {n}": v for n, v in report.lora.items()}).items():
        text = ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)
        result.append(f"  {name:16} {text}")
    if report.memory is not None:
        how = "all parameters" if args.full else f"LoRA of rank {args.lora_r}"
        result += [
            "",
            f"  An update of {how}{' on 4-bit weights' * args.load_in_4bit}, {args.batch_size} completions of",
            f"  {args.completion_length} tokens after prompts of {args.prompt_length}, in bfloat16, on one device:",
            *(f"  {name:16} {value / GIB:8.2f} GiB" for name, value in asdict(report.memory).items()),
            f"  {'total':16} {report.memory.total / GIB:8.2f} GiB with gradient checkpointing; computed, not measured",
        ]
    result.append("")
    result += [f"PROBLEM: {problem}" for problem in report.problems] or ["Ready to train."]
    return result


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 1 if there are problems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="A model's id on the Hub, or a folder.")
    parser.add_argument("--revision")
    parser.add_argument("--mask_token_id", type=int, help="If neither the model nor the tokenizer names it.")
    parser.add_argument("--batch_size", type=int, default=8, help="Completions in a micro-batch.")
    parser.add_argument("--prompt_length", type=int, default=256)
    parser.add_argument("--completion_length", type=int, default=256)
    parser.add_argument("--lora_r", type=int, default=16)
    parser.add_argument("--load_in_4bit", action="store_true")
    parser.add_argument("--full", action="store_true", help="Train all parameters instead of LoRA.")
    parser.add_argument("--json", action="store_true", help="For programs.")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore", FutureWarning)  # transformers' names for gradient checkpointing are changing
    report = check(args.model, args)
    print(json.dumps(asdict(report)) if args.json else "\n".join(lines(report, args)))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
