# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion generate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trl import TrlParser

from .parsing import make_parser, parse


CANVAS: dict[str, Any] = {"max_new_tokens": 128, "block_length": 32}  # of models that carry no settings
DESCRIPTION = """Complete a prompt. In a terminal, you can watch the canvas fill in: colours tell early from late.

examples:
    trl-diffusion generate --model_name_or_path embedded/sudoku \\
        --prompt ".4....42.3.....1=" --temperature 0
    echo "Why is the sky blue?" | trl-diffusion generate \\
        --model_name_or_path GSAI-ML/LLaDA-8B-Instruct"""


@dataclass
class GenerateArguments:
    """What to complete."""

    _argument_group_name = "prompt"

    prompt: str | None = field(default=None, metadata={"help": "The prompt. By default what comes in by a pipe."})
    raw: bool = field(default=False, metadata={"help": "Complete the text as it is, without the chat template."})
    num_samples: int = field(default=1, metadata={"help": "How many completions."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampling."})
    plain: bool = field(default=False, metadata={"help": "Text alone, without colours and numbers."})


def make() -> TrlParser:
    from .arguments import ModelArguments, decoding_arguments

    return make_parser("generate", DESCRIPTION, ModelArguments, GenerateArguments, decoding_arguments(CANVAS))


def run(words: Sequence[str]) -> int:
    model_args, args, decoding = parse(make(), words)

    from .arguments import decoder_of, load_model
    from .conversation import Speaker

    if args.num_samples < 1:
        raise ValueError(f"`--num_samples` must be at least 1, got {args.num_samples}.")
    prompt = args.prompt
    if prompt is None:
        if sys.stdin.isatty():
            raise ValueError("`--prompt` says what to complete.")
        prompt = sys.stdin.read().removesuffix("\n")
    if not prompt:
        raise ValueError("`--prompt` is empty." if args.prompt is not None else "Nothing came in by the pipe.")
    model, tokenizer = load_model(model_args)
    decoder = decoder_of(model, decoding, **CANVAS)
    speaker = Speaker(model, tokenizer, decoder, plain=args.plain)
    messages = prompt if args.raw or not tokenizer.chat_template else [{"role": "user", "content": prompt}]
    speaker.say(messages, args.seed, args.num_samples)
    return 0
