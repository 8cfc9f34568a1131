# SPDX-License-Identifier: Apache-2.0
"""Decoding a dataset, by the very sampler that training uses, and keeping all that was written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch.distributed.tensor import DTensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase
from trl import is_conversational

from ..generation import DiffusionGenerationConfig, DiffusionSampler, Trajectory
from ..generation.config import COMPUTATION
from ..generation.noise import derive_seed
from ..models import DiffusionSpec, end_tokens
from ..process_exit import let_gloo_finish_at_exit
from .fingerprints import content_fingerprint, environment, model_name, weights_fingerprint
from .generations import FORMAT, Generation, Generations, PartWriter, publish, read_all, sample_key


# What rewards receive beside the dataset's columns.
RESERVED_COLUMNS = {"prompts", "completions", "completion_ids", "nfe", "threshold"}


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    config: DiffusionGenerationConfig | None = None,
    path: str | os.PathLike | None = None,
    *,
    num_samples: int = 1,
    batch_size: int = 64,
    seed: int = 0,
    spec: DiffusionSpec | None = None,
    accelerator: Accelerator | PartialState | None = None,
    notes: dict[str, Any] | None = None,
) -> Generations:
    """
    Decode every prompt, once or several times.

    A sample depends on the model, its prompt, the decoder and a seed of its own; not on the batch, the number of
    processes, or whether the run was killed and started again. Only where two numbers of the model are equal but for
    rounding may a batch of another shape decide between them differently.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, whole on this process's device, possibly wrapped by PEFT.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.
        dataset ([`~datasets.Dataset`]):
            A column `prompt`, plain or conversational, and the columns that the reward needs, which are kept.
        config ([`~trl_diffusion.DiffusionGenerationConfig`], *optional*):
            Decoding settings. Defaults to those that the model carries. Without `eos_token_ids`, those of the model's
            generation configuration and of the tokenizer are used, as in training.
        path (`str` or `os.PathLike`, *optional*):
            File to keep the samples in, see [`load_generations`]. What is there is not made again: a run that was
            killed goes on, a finished one returns at once, and a larger `num_samples` adds to it. What is missing
            from a file, damaged or in it twice, is mended.
        num_samples (`int`, *optional*, defaults to `1`):
            Samples per prompt.
        batch_size (`int`, *optional*, defaults to `64`):
            Samples in one call of the sampler, after which they are on disk. `config.max_batch_size` bounds the
            forward passes within.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sampling. The noise belongs to prompt and sample: two models see the same.
        spec ([`~trl_diffusion.models.DiffusionSpec`], *optional*):
            How to read the model. Found from the model's configuration by default.
        accelerator ([`~accelerate.Accelerator`] or [`~accelerate.PartialState`], *optional*):
            Shares the prompts between its processes, each with a model of its own. All must call this, and all get
            all samples. `path` must be on a disk that they share. By default this process decodes everything.
        notes (`dict[str, Any]`, *optional*):
            What else is to be kept beside versions and device, in the header's `made_by`: which task, in which format.

    Returns:
        [`Generations`]

    Raises:
        `TypeError`, `ValueError`: If an argument has no meaning, or `path` holds something else.
    """
    config = DiffusionGenerationConfig.from_model(model) if config is None else config
    if not config.eos_token_ids:
        config = replace(config, eos_token_ids=end_tokens(model, tokenizer))
    _check(model, dataset, config, num_samples, batch_size)
    job = _Job(
        DiffusionSampler(model, config, spec), tokenizer, dataset, seed, {"batch_size": batch_size} | (notes or {})
    )
    processes, process = (1, 0) if accelerator is None else (accelerator.num_processes, accelerator.process_index)
    if processes > 1:
        let_gloo_finish_at_exit()
    header = job.header(num_samples, _dataset_name(dataset), processes)
    keys = [(i, s) for i in range(len(dataset)) for s in range(num_samples)]

    def share(missing: list[tuple[int, int]]) -> Iterator[list[Generation]]:
        """This process's samples. Those of a prompt stay together: they share canvases."""
        by_prompt = [list(group) for _, group in groupby(missing, key=lambda key: key[0])]
        mine = [key for group in by_prompt[process::processes] for key in group]
        for start in range(0, len(mine), batch_size):
            yield job.decode(mine[start : start + batch_size])

    if path is None:
        made = [sample for batch in share(keys) for sample in batch]
        return Generations(header, sorted(gather_object(made) if processes > 1 else made, key=sample_key))

    file, settings = Path(path), header["settings"]
    job.check_json()
    kept = read_all(file, settings, warn=process == 0)
    if accelerator is not None:
        accelerator.wait_for_everyone()  # all look before one of them writes
    missing = [key for key in keys if key not in kept.samples]
    if missing or kept.faults or not file.is_file():
        with PartWriter(file, header, process) as writer:
            for batch in tqdm(share(missing), desc=file.name, unit="batch", disable=None if process == 0 else True):
                writer.write(batch)
        if accelerator is not None:
            accelerator.wait_for_everyone()
        if process == 0:
            publish(file, header, keys, read_all(file, settings))
        if accelerator is not None:
            accelerator.wait_for_everyone()
        kept = read_all(file, settings)
    return Generations(kept.complete(header), [kept.samples[key] for key in keys])


def sample_seed(seed: int, prompt: int | str, sample: int) -> int:
    """The seed of one sample of one prompt."""
    return derive_seed(seed, "evaluate", prompt, *([sample] if sample else []))


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[Any]) -> BatchEncoding:
    """Token ids and attention mask of plain or conversational prompts, padded on the left."""
    options = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if is_conversational({"prompt": prompts[0]}):
        texts = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, tokenize=False)
        return tokenizer(texts, add_special_tokens=False, **options)
    return tokenizer(prompts, **options)


def prompt_ids_of(tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> list[list[int]]:
    """The tokens of a dataset's prompts."""
    inputs = tokenize_prompts(tokenizer, list(dataset["prompt"]))
    masks = inputs["attention_mask"].bool()
    return [ids[shown].tolist() for ids, shown in zip(inputs["input_ids"], masks, strict=True)]


def model_settings(model: PreTrainedModel, spec: DiffusionSpec) -> dict[str, Any]:
    """All that a model brings to what is written, as plain values."""
    return {
        "weights": weights_fingerprint(model),
        "dtype": str(model.dtype),
        "mask_token_id": spec.mask_token_id,
        "logit_shift": spec.logit_shift,
        "attention_block": spec.attention_block,
    }


class Decoded(NamedTuple):
    """What became of a prompt: see [`Generation`]."""

    trajectory: Trajectory
    text: str
    tokens: int
    ended: bool


def decode_ids(
    sampler: DiffusionSampler, tokenizer: PreTrainedTokenizerBase, prompt_ids: list[list[int]], seeds: list[int]
) -> list[Decoded]:
    """Complete prompts, each with its own seed, in one call of the sampler."""
    tokens = [torch.tensor(ids) for ids in prompt_ids]
    device, padding = cast(PreTrainedModel, sampler.model).device, tokenizer.pad_token_id or 0
    trajectory = sampler.sample(
        pad_sequence(tokens, True, padding, padding_side="left").to(device),
        pad_sequence([torch.ones_like(ids) for ids in tokens], True, 0, padding_side="left").to(device),
        seeds=torch.tensor(seeds),
    ).to(torch.device("cpu"))
    ends = sampler.config.eos_token_ids
    ids = trajectory.texts(ends)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    columns = trajectory.to_dict()
    rows = [Trajectory.from_dict({name: x[i : i + 1].clone() for name, x in columns.items()}) for i in range(len(ids))]
    return [Decoded(row, text, len(own), own[-1] in ends) for row, text, own in zip(rows, texts, ids, strict=True)]


def check_lengths(model: PreTrainedModel, prompt_ids: list[list[int]], length: int, what: str) -> None:
    """
    Raises:
        `ValueError`: If a prompt is empty, or leaves no room for the canvas.
    """
    limit = getattr(model.config, "max_position_embeddings", None)
    for i, ids in enumerate(prompt_ids):
        if not ids:
            raise ValueError(f"The prompt of {what} {i} is empty after tokenization. Remove it.")
        if limit is not None and len(ids) + length > limit:
            raise ValueError(
                f"The prompt of {what} {i} has {len(ids)} tokens; a canvas of `max_new_tokens={length}` makes them "
                f"more than the {limit} positions that the model was trained for. Remove or shorten the prompt, or "
                "shorten the canvas."
            )


class _Job:
    """A dataset to decode."""

    def __init__(
        self,
        sampler: DiffusionSampler,
        tokenizer: PreTrainedTokenizerBase,
        dataset: Dataset,
        seed: int,
        notes: dict[str, Any],
    ) -> None:
        self.sampler, self.tokenizer, self.seed, self.notes = sampler, tokenizer, seed, notes
        self.rows = [dict(row) for row in dataset]
        self.prompt_ids = prompt_ids_of(tokenizer, dataset)
        check_lengths(cast(PreTrainedModel, sampler.model), self.prompt_ids, sampler.config.max_new_tokens, "row")

    def decode(self, keys: list[tuple[int, int]]) -> list[Generation]:
        """Samples, by prompt and sample."""
        ids = [self.prompt_ids[prompt] for prompt, _ in keys]
        seeds = [sample_seed(self.seed, *key) for key in keys]
        started = time.perf_counter()
        decoded = decode_ids(self.sampler, self.tokenizer, ids, seeds)
        seconds = (time.perf_counter() - started) / len(keys)
        return [
            Generation(
                *key,
                seed=own_seed,
                prompt=self.rows[key[0]]["prompt"],
                columns={name: value for name, value in self.rows[key[0]].items() if name != "prompt"},
                prompt_ids=prompt_ids,
                **result._asdict(),
                seconds=seconds,
            )
            for key, own_seed, prompt_ids, result in zip(keys, seeds, ids, decoded, strict=True)
        ]

    def header(self, num_samples: int, dataset_name: str | None, processes: int) -> dict[str, Any]:
        """Of the file."""
        model, config, spec = cast(PreTrainedModel, self.sampler.model), self.sampler.config, self.sampler.spec
        policy = self.sampler.threshold_policy
        decoder = asdict(config) | {"eos_token_ids": list(config.eos_token_ids)}
        computation = {name: decoder.pop(name) for name in COMPUTATION}
        made_by = environment(model) | model_name(model) | {"dataset": dataset_name, "processes": processes}
        made_by |= self.notes
        return {
            "format": FORMAT,
            "settings": {
                "model": model_settings(model, spec)
                | {"threshold_head": None if policy is None else policy.config.to_dict()},
                "dataset": content_fingerprint(self.rows),
                "prompt_ids": content_fingerprint(self.prompt_ids),
                "decoder": decoder,
                "seed": self.seed,
            },
            "decoder": config.describe(),
            "prompts": len(self.rows),
            "num_samples": num_samples,
            "made_by": [made_by | {"computation": computation}],
        }

    def check_json(self) -> None:
        """Refuse rows that could not be written, before there are any."""
        for row in self.rows:
            for name, value in row.items():
                try:
                    json.dumps(value)
                except (TypeError, ValueError) as error:
                    raise TypeError(
                        f"Column '{name}' of `dataset` holds a {type(value).__name__}, which cannot be saved as JSON "
                        f"({error}). Convert the column, or remove it with `dataset.remove_columns('{name}')`."
                    ) from error


def _dataset_name(dataset: Dataset) -> str | None:
    info = dataset.info
    parts = (info.dataset_name or info.builder_name, info.config_name, dataset.split and str(dataset.split))
    return "/".join(part for part in parts if part) or None


def _check(
    model: torch.nn.Module, dataset: Any, config: DiffusionGenerationConfig, num_samples: int, batch_size: int
) -> None:
    if any(isinstance(parameter, DTensor) or not parameter.numel() for parameter in model.parameters()):
        raise ValueError(
            "`model` is sharded over processes, and must be whole here. Save it and load the checkpoint, or gather "
            "its parameters around this call."
        )
    if not isinstance(dataset, Dataset):
        hint = f", one of its splits: {', '.join(map(repr, dataset))}" if isinstance(dataset, dict) else ""
        raise TypeError(f"`dataset` must be a `datasets.Dataset`, got a {type(dataset).__name__}. Pass one{hint}.")
    if "prompt" not in dataset.column_names:
        raise ValueError(
            f"`dataset` has no column 'prompt', only {', '.join(map(repr, dataset.column_names))}. Rename one with "
            "`dataset.rename_column`."
        )
    if not len(dataset):
        raise ValueError("`dataset` is empty.")
    if taken := RESERVED_COLUMNS & set(dataset.column_names):
        name = min(taken)
        raise ValueError(
            f"`dataset` has a column '{name}', which rewards receive from the sampler. Rename it with "
            f"`dataset.rename_column('{name}', ...)`."
        )
    for name, value in (("num_samples", num_samples), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    random = config.temperature > 0 or config.unmasking == "random" or config.learned_threshold == "sample"
    if num_samples > 1 and not random:
        raise ValueError(
            f"`num_samples={num_samples}` would be as many times the same text: `config.temperature` is 0. Raise it, "
            "or take one sample."
        )
