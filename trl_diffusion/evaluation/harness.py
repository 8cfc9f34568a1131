# SPDX-License-Identifier: Apache-2.0
"""
Diffusion models in EleutherAI's lm-evaluation-harness, decoded as in training. Needs `trl-diffusion[lm-eval]`.

    python -m trl_diffusion.scripts.lm_eval --model trl-diffusion --tasks gsm8k --apply_chat_template \\
        --model_args pretrained=GSAI-ML/LLaDA-8B-Instruct,max_new_tokens=256,block_length=32 --batch_size 16

`accelerate launch -m trl_diffusion.scripts.lm_eval …` shares the documents between processes.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from dataclasses import fields, replace
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..generation import DiffusionGenerationConfig, DiffusionSampler
from ..models import end_tokens, resolve_spec
from .generate import check_lengths, decode_ids, sample_seed
from .likelihood_bound import likelihood_bound


logger = logging.getLogger(__name__)

_SETTINGS = {f.name for f in fields(DiffusionGenerationConfig)}


@register_model("trl-diffusion")
class DiffusionLM(TemplateLM):
    """
    A masked diffusion LM for the harness.

    Decoding settings come from the arguments, else from the model (the trainers save theirs with it), else from the
    task (`max_gen_toks`, rounded up to whole blocks), else from the defaults. Tokens are drawn greedily, unless the
    arguments or the task say otherwise (`temperature`, `do_sample`).

    `loglikelihood` is a lower bound, see [`~trl_diffusion.evaluation.likelihood_bound`]; its second value tells
    whether the model, writing the most confident token first, writes that very continuation. That takes as many passes
    as the continuation has tokens, for each context and length, and the accuracy of multiple choice does not read it:
    `check_greedy=False` leaves it out.

    Args:
        pretrained (`str` or [`~transformers.PreTrainedModel`]):
            Id on the Hub or folder, also of an adapter; or the model itself.
        tokenizer (`str` or [`~transformers.PreTrainedTokenizerBase`], *optional*):
            The tokenizer. Defaults to that beside the model.
        revision (`str`, *optional*):
            Branch, tag or commit on the Hub.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights.
        device (`str`, *optional*):
            Device. Defaults to that of the process.
        batch_size (`int`, *optional*, defaults to `1`):
            Canvases in a forward pass.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sampling and of the likelihood's masks.
        likelihood_samples (`int`, *optional*, defaults to `32`):
            Masks per continuation, an even number.
        check_greedy (`bool`, *optional*, defaults to `True`):
            Whether `loglikelihood` decodes its contexts for its second value. If not, that is always `False`,
            and what the harness makes of it is 0: LAMBADA's accuracy, `exact_match` of multiple choice.
        mask_token_id (`int`, *optional*):
            The mask token, if neither the model nor the tokenizer names it.
        decoder:
            Fields of [`~trl_diffusion.DiffusionGenerationConfig`].
    """

    def __init__(
        self,
        pretrained: str | PreTrainedModel,
        tokenizer: str | PreTrainedTokenizerBase | None = None,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        seed: int = 0,
        likelihood_samples: int = 32,
        check_greedy: bool = True,
        mask_token_id: int | None = None,
        **decoder: Any,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdigit() or int(batch_size) < 1:
            raise ValueError(f"`batch_size` must be a positive number, got {batch_size!r}: 'auto' is not supported.")
        if not isinstance(check_greedy, bool):  # any text would be true
            raise ValueError(f"`check_greedy` must be True or False, got {check_greedy!r}.")
        if unknown := set(decoder) - _SETTINGS:
            raise ValueError(
                f"`model_args`: {', '.join(sorted(unknown))} is unknown. Decoding settings are "
                f"{', '.join(sorted(_SETTINGS))}."
            )
        if device is None or not torch.accelerator.is_available():  # the harness's default is a GPU
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            state = PartialState(cpu=device == "cpu")
            self._rank, self._world_size, device = state.process_index, state.num_processes, str(state.device)
        if isinstance(pretrained, str):
            model: Any = AutoModelForCausalLM.from_pretrained(pretrained, revision=revision, dtype=dtype)
            self.model: PreTrainedModel = model.to(device).eval()
            tokenizer = tokenizer or pretrained
        else:
            self.model = pretrained
        if tokenizer is None:
            raise ValueError("`tokenizer` is needed where `pretrained` is a model.")
        if isinstance(tokenizer, str):
            tokenizer = AutoTokenizer.from_pretrained(tokenizer, revision=revision)
        self.tokenizer, self._device = cast(Any, tokenizer), self.model.device
        self.spec = resolve_spec(self.model, self.tokenizer, mask_token_id)
        self.batch_size, self.seed, self.likelihood_samples = int(batch_size), seed, likelihood_samples
        self.check_greedy = check_greedy
        self._arguments = decoder
        carried = DiffusionGenerationConfig.carried_by(self.model)
        self._length_is_set = carried or "max_new_tokens" in decoder
        decoder = {"max_batch_size": self.batch_size} | decoder
        if carried:
            self.config = DiffusionGenerationConfig.from_model(self.model, **decoder)
        else:
            block = decoder.get("block_length", DiffusionGenerationConfig.block_length)
            length = _whole_blocks(DiffusionGenerationConfig.max_new_tokens, block)
            defaults: dict[str, Any] = {"max_new_tokens": length}
            self.config = DiffusionGenerationConfig(**defaults | decoder)
        if not self.config.eos_token_ids:
            self.config = replace(self.config, eos_token_ids=end_tokens(self.model, self.tokenizer))

    # ---------------------------------------------------------------- what the harness asks for

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The model's text after each context, cut where the first of the task's stop strings begins."""
        answers = [""] * len(requests)
        seen: Counter[str] = Counter()
        groups: dict[str, list[tuple[int, str, int, list[str]]]] = defaultdict(list)
        configs: dict[str, DiffusionGenerationConfig] = {}
        for index, request in enumerate(requests):
            context, options = request.args
            config, until = self._settings(options)
            configs[repr(config)] = config
            # A context that is asked for again is another sample of it.
            groups[repr(config)].append((index, context, sample_seed(self.seed, context, seen[context]), until))
            seen[context] += 1
        for key, group in groups.items():
            sampler = DiffusionSampler(self.model, configs[key], self.spec)
            # Rows that finish are replaced by waiting ones: more of them than fit into a forward pass.
            size = 8 * self.batch_size
            for start in range(0, len(group), size):
                part = group[start : start + size]
                ids = [self.tok_encode(context) for _, context, _, _ in part]
                check_lengths(self.model, ids, configs[key].max_new_tokens, "context")
                decoded = decode_ids(sampler, self.tokenizer, ids, [own_seed for _, _, own_seed, _ in part])
                for (index, _, _, until), result in zip(part, decoded, strict=True):
                    answers[index] = _cut(result.text, until)
                    self.cache_hook.add_partial("generate_until", requests[index].args, answers[index])
        return answers

    def _loglikelihood_tokens(self, requests: list[Any], **kwargs: Any) -> list[tuple[float, bool]]:
        prompts, texts = [ids for _, ids, _ in requests], [ids for _, _, ids in requests]
        bounds = likelihood_bound(
            self.model,
            self.spec,
            prompts,
            texts,
            num_samples=self.likelihood_samples,
            batch_size=max(2, self.batch_size),
            seed=self.seed,
        )
        written = self._would_write(prompts, texts) if self.check_greedy else [False] * len(texts)
        return list(zip(bounds, written, strict=True))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """
        Raises:
            `NotImplementedError`: Always.
        """
        raise NotImplementedError(
            "Perplexity needs the likelihood of whole documents, of which a diffusion model has no more than a bound, "
            "which pieces of a document do not add up to. Choose tasks with `generate_until` or `loglikelihood`."
        )

    # ---------------------------------------------------------------- text and tokens

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text; without special ones if it begins with one, as after a chat template."""
        bos = self.tokenizer.bos_token
        if add_special_tokens is None:
            add_special_tokens = not (bos and string.startswith(bos))
        return self.tokenizer(string, add_special_tokens=add_special_tokens).input_ids

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    # ---------------------------------------------------------------- several processes

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return gather(tensor) if self.world_size > 1 else tensor

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        objects = gather_object([obj]) if self.world_size > 1 else [obj]
        return objects if self.rank == dst else None

    def barrier(self) -> None:
        if self.world_size > 1:
            PartialState().wait_for_everyone()

    # ---------------------------------------------------------------- decoding

    def _settings(self, options: dict[str, Any]) -> tuple[DiffusionGenerationConfig, list[str]]:
        """The decoder and the stop strings for a request."""
        options = dict(normalize_gen_kwargs(options, self.config.max_new_tokens))
        until, length = options.pop("until"), options.pop("max_gen_toks")
        drawn = {"temperature": options.pop("temperature", 0.0)}
        sampling = options.pop("do_sample", False)
        truncation = {name: options.pop(name) for name in ("top_k", "top_p") if name in options}
        if options:
            raise ValueError(
                f"The task's `generation_kwargs` have no meaning for a diffusion model: {', '.join(sorted(options))}. "
                "Remove them, with `--gen_kwargs` or in the task's file."
            )
        config = self.config
        if not self._length_is_set:
            config = replace(config, max_new_tokens=_whole_blocks(length, config.block_length))
        drawn |= {name: value for name, value in truncation.items() if sampling}
        return replace(config, **{name: x for name, x in drawn.items() if name not in self._arguments}), list(until)

    def _would_write(self, prompts: list[list[int]], texts: list[list[int]]) -> list[bool]:
        """Whether the model, greedily and one token per pass, writes these texts."""
        contexts: dict[int, set[tuple[int, ...]]] = defaultdict(set)
        for prompt, text in zip(prompts, texts, strict=True):
            contexts[len(text)].add(tuple(prompt))
        written: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for length, distinct in contexts.items():
            block = self.spec.attention_block or length
            config = DiffusionGenerationConfig(
                max_new_tokens=_whole_blocks(length, block),
                block_length=block,
                unmasking="low_confidence",
                temperature=0.0,
                max_batch_size=self.batch_size,
            )
            sampler, ids = DiffusionSampler(self.model, config, self.spec), sorted(distinct)
            decoded = decode_ids(sampler, self.tokenizer, list(map(list, ids)), [0] * len(ids))
            for context, result in zip(ids, decoded, strict=True):
                written[length, context] = result.trajectory.completion_ids[0, :length].tolist()
        return [written[len(text), tuple(prompt)] == text for prompt, text in zip(prompts, texts, strict=True)]


def _cut(text: str, until: list[str]) -> str:
    """The text before the first of the stop strings."""
    return min((text.split(stop)[0] for stop in until if stop), default=text, key=len)


def _whole_blocks(length: int, block: int) -> int:
    """The length, rounded up."""
    return -(-length // block) * block
