# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint can be trained here, and what it will take: `trl-diffusion inspect`.

No weights are allocated: what an update keeps for its backward pass is counted by sending the real model through a
forward pass on tensors that have a shape and no memory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import find_adapter_config_file

from .. import DiffusionGenerationConfig
from ..models import (
    DiffusionFamily,
    end_tokens,
    get_family,
    resolve_spec,
    token_problems,
)
from ..models.hub import hub_options, model_path, saved_generation_config
from .check_options import parse
from .launch import USABLE, Run, command, engines_for, fastest, fits
from .memory import ENGINES, Memory, Update, needs_of


GIB = 2**30
USUAL = 256  # tokens of prompts and completions, where nothing says otherwise


@dataclass
class Report:
    """What is known of a checkpoint; `problems` is empty if it can be trained."""

    model: str
    facts: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    engine: str | None = None
    launch: str | None = None
    bits: int | None = None
    prompt_length: int | None = None
    completion_length: int | None = None
    problems: list[str] = field(default_factory=list)


def check(name: str, args: argparse.Namespace) -> Report:
    """Look at a checkpoint. Where no lengths are asked for, they are its own, see [`lengths_of`]."""
    report = Report(name)
    try:
        _look(report, model_path(name), argparse.Namespace(**vars(args)))
    except Exception as error:  # whatever may be wrong with a configuration, it is what this command is asked
        report.problems.append(_sentence(error))
    return report


def _look(report: Report, name: str, args: argparse.Namespace) -> None:
    model = _empty_model(name, args)
    config: Any = model.config
    family = get_family(config)
    positions, block = getattr(config, "max_position_embeddings", None), getattr(config, "block_size", None)
    report.bits = _bits(report, config, args)
    report.facts |= {
        "family": family.name,
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": f"blocks of {block}, causal" if block else "bidirectional",
        "positions": positions,
        "threshold head": _yes(getattr(config, "threshold_head", None)),
    }
    args.prompt_length, args.completion_length, canvas_block = lengths_of(model, args)
    report.prompt_length, report.completion_length = args.prompt_length, args.completion_length
    length = args.prompt_length + args.completion_length
    if length > (positions or length):
        report.problems.append(f"{length} tokens are more than the {positions} positions of the model.")
    if block and args.completion_length % block:
        report.problems.append(
            f"`completion_length={args.completion_length}` is no multiple of the blocks of {block}."
        )
    _check_tokens(report, model, name, args)
    report.lora = _lora(model, family, args.lora_r)
    if report.bits is not None:
        _plan(report, model, family, canvas_block, args)


def lengths_of(model: PreTrainedModel, args: argparse.Namespace) -> tuple[int, int, int]:
    """
    Tokens of prompts, of completions, and of a completion's block.

    What was not asked for is what the checkpoint carries, as training has left it; without that, 256 tokens each, or
    what there are positions for.
    """
    positions = getattr(model.config, "max_position_embeddings", None) or math.inf
    carried = DiffusionGenerationConfig.from_model(model) if DiffusionGenerationConfig.carried_by(model) else None
    block = getattr(model.config, "block_size", None) or (carried.block_length if carried else 32)
    completion = args.completion_length
    if completion is None:
        half = int(min(USUAL, max(positions // 2, 1)))
        completion = carried.max_new_tokens if carried else max(half // block * block, min(half, block))
    prompt = args.prompt_length or int(max(min(USUAL, positions - completion), 1))
    return prompt, completion, completion if completion % block else block


def _plan(
    report: Report, model: PreTrainedModel, family: DiffusionFamily, block: int, args: argparse.Namespace
) -> None:
    """What training takes under each engine, and how to launch it."""
    rank, bits = None if args.full else args.lora_r, report.bits or 16
    shape = (args.batch_size, args.prompt_length, args.completion_length)
    micro_batches = args.gradient_accumulation_steps
    rows = min(args.sampler_batch_size or args.batch_size * micro_batches, args.batch_size * micro_batches)
    run = Run(
        model=report.model,
        processes=args.num_processes,
        batch_size=args.batch_size,
        completion_length=args.completion_length,
        block_length=block,
        bits=bits,
        lora_r=rank,
        micro_batches=micro_batches,
        sampler_batch_size=args.sampler_batch_size,
        beta=args.beta,
    )
    needs = needs_of(model, Update(*shape, bits, family.lora_targets, rank, rows, reference=args.beta != 0))
    completions = args.batch_size * args.num_processes * micro_batches
    if completions < 2:
        report.problems.append(
            "A group has at least two completions, which make one update here: take a larger `--batch_size`, or more "
            "`--gradient_accumulation_steps`."
        )
        return
    report.memory = {name: needs.under(ENGINES[name], run.processes, micro_batches) for name in engines_for(run)}
    report.engine = fastest(report.memory, args.device_memory * GIB)
    if report.engine is not None:
        report.launch = command(run, report.engine)
        return
    least = min(memory.total for memory in report.memory.values()) / GIB
    report.problems.append(
        f"This takes at least {least:.1f} GiB on each device; of its {args.device_memory:g} GiB (`--device_memory`), "
        f"{100 * (1 - USABLE):.0f} % are kept in reserve. Take a "
        "smaller `--batch_size`, more devices (`--num_processes`), or train adapters (without `--full`, with "
        "`--load_in_4bit`)."
    )


def _empty_model(name: str, args: argparse.Namespace) -> PreTrainedModel:
    """The model without its weights."""
    options = hub_options(vars(args))
    if find_adapter_config_file(name, **options) is not None:
        raise ValueError("This is an adapter. Check its base model, which `adapter_config.json` names.")
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    get_family(config)  # before transformers says that it has no class for it
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = saved_generation_config(name, options) or model.generation_config
    return model


def _sentence(error: Exception) -> str:
    """The first lines of an error, with its type where the words alone would not do."""
    words = " ".join(str(error).split("\n\n")[0].split())
    return words if isinstance(error, (OSError, ValueError)) and words else f"{type(error).__name__}: {words}"


def _yes(value: Any) -> str:
    return "yes" if value else "no"


def _bits(report: Report, config: Any, args: argparse.Namespace) -> int | None:
    """Bits of a weight, by the arguments or by how the checkpoint is quantised; `None` if that is not known here."""
    quantised = getattr(config, "quantization_config", None)
    if quantised is None:
        return 4 if args.load_in_4bit else 8 if args.load_in_8bit else 16
    said = quantised if isinstance(quantised, dict) else quantised.to_dict()
    method = said.get("quant_method", "bitsandbytes")
    bits = 4 if said.get("load_in_4bit") else 8 if said.get("load_in_8bit") else None
    report.facts["quantised"] = f"{method}, {bits or '?'} bits"
    if args.full:
        report.problems.append("The checkpoint is quantised: train an adapter (without `--full`).")
    if bits is None:
        report.problems.append(f"The checkpoint is quantised by {method!r}, which has not been tried with adapters.")
    return bits


def _check_tokens(report: Report, model: PreTrainedModel, name: str, args: argparse.Namespace) -> None:
    tokenizer, spec = None, None
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **hub_options(vars(args)))
    except Exception as error:
        report.problems.append(f"No tokenizer: {_sentence(error)}")
    try:
        spec = resolve_spec(model, tokenizer, args.mask_token_id)
    except ValueError as error:
        report.problems.append(str(error))
    if spec is not None:
        report.facts["logit shift"] = spec.logit_shift
        report.facts["mask token"] = _token(spec.mask_token_id, tokenizer)
    if tokenizer is None:
        return
    ends = end_tokens(model, tokenizer)
    report.facts["ends of text"] = [_token(token, tokenizer) for token in ends]
    report.facts["chat template"] = _yes(tokenizer.chat_template)
    mask = None if spec is None else spec.mask_token_id
    report.problems += token_problems(model, tokenizer, mask, ends)


def _token(token: int, tokenizer: Any) -> str:
    return f"{token}" if tokenizer is None else f"{token} {tokenizer.convert_ids_to_tokens(token)!r}"


def _lora(model: PreTrainedModel, family: DiffusionFamily, rank: int) -> dict[str, Any]:
    """What the family's LoRA preset covers."""
    linears = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = {n: m for n, m in linears.items() if n.rsplit(".", 1)[-1] in family.lora_targets}
    total = sum(p.numel() for p in model.parameters())
    covered = sum(m.weight.numel() for m in adapted.values())
    return {
        "targets": list(family.lora_targets),
        "modules": f"{len(adapted)} of {len(linears)} linear layers",
        "covered": f"{covered:,} of {total:,} parameters ({covered / total:.1%})",
        "trained": sum(rank * (m.in_features + m.out_features) for m in adapted.values()),
    }


def lines(report: Report, args: argparse.Namespace) -> list[str]:
    """The report for people."""
    result = [report.model, ""]
    for name, value in (report.facts | {f"LoRA {n}": v for n, v in report.lora.items()}).items():
        text = ", ".join(value) if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)
        result.append(f"  {name:16} {text}")
    if report.memory:
        result += ["", *_memory_lines(report, args)]
    if report.launch is not None:
        result += ["", report.launch]
    result.append("")
    result += [f"PROBLEM: {problem}" for problem in report.problems] or ["Ready to train."]
    return result


def _memory_lines(report: Report, args: argparse.Namespace) -> list[str]:
    how = "all parameters" if args.full else f"LoRA of rank {args.lora_r}"
    bits = f" on {report.bits}-bit weights" if report.bits != 16 else ""
    where = f"each of {args.num_processes} devices" if args.num_processes > 1 else "one device"
    small = max(max(m.rollout, m.update, m.host) for m in report.memory.values()) < GIB
    unit, size = ("MiB", GIB / 1024) if small else ("GiB", GIB)
    result = [
        f"  Training {how}{bits}, {args.batch_size} completions of {report.completion_length} tokens after prompts of",
        f"  {report.prompt_length} at a time, with gradient checkpointing: {unit} on {where}; computed, not measured",
        "",
        f"  {'':16} {'rollout':>8} {'update':>8} {'host':>8}",
    ]
    for name, memory in report.memory.items():
        numbers = (memory.rollout, memory.update, memory.host)
        remark = "" if fits(memory, args.device_memory * GIB) else "  does not fit"
        result.append(f"  {name:16} " + " ".join(f"{value / size:8.2f}" for value in numbers) + remark)
    if report.engine is not None:
        result += ["", f"  Of the update under {report.engine}:"]
        parts = (
            "weights",
            "reference",
            "optimizer",
            "buckets",
            "gradients",
            "units",
            "cast",
            "checkpointed",
            "logits",
        )
        memory = report.memory[report.engine]
        result += [f"  {part:16} {getattr(memory, part) / size:8.2f}" for part in parts if getattr(memory, part)]
    return result


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 1 if there are problems."""
    return run(parse(arguments))


def run(args: argparse.Namespace) -> int:
    """The same, of a command line that has been parsed."""
    warnings.simplefilter("ignore", FutureWarning)  # transformers' names for gradient checkpointing are changing
    report = check(args.model, args)
    print(json.dumps(asdict(report)) if args.json else "\n".join(lines(report, args)))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
