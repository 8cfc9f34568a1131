# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion chat`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from trl import TrlParser

from .parsing import make_parser, parse


if TYPE_CHECKING:
    from .conversation import Speaker

HELP = """/set name value   decode otherwise, such as: /set entropy_bound 0.3
/show             how it is decoded now
/clear            begin a new conversation
/exit             leave (so does Ctrl-D)"""
DESCRIPTION = f"""Talk to a model. Within the conversation:

{HELP}

    trl-diffusion chat --model_name_or_path GSAI-ML/LLaDA-8B-Instruct --max_new_tokens 256 --block_length 32"""


@dataclass
class ChatArguments:
    """How to begin."""

    system: str | None = field(default=None, metadata={"help": "What the model is told first."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampling."})


def make() -> TrlParser:
    from .arguments import DecodingArguments, ModelArguments

    return make_parser("chat", DESCRIPTION, ModelArguments, ChatArguments, DecodingArguments)


def run(words: Sequence[str]) -> int:
    model_args, args, decoding = parse(make(), words)

    from .arguments import decoder_of, load_model
    from .conversation import Speaker

    model, tokenizer = load_model(model_args)
    if not tokenizer.chat_template:
        raise ValueError("The tokenizer has no chat template: use `trl-diffusion generate --raw`.")
    speaker = Speaker(model, tokenizer, decoder_of(model, decoding, max_new_tokens=256, block_length=32))
    print(HELP)
    converse(speaker, args.system, args.seed, input)
    return 0


def converse(speaker: Speaker, system: str | None, seed: int, read: Callable[[str], str]) -> list[dict[str, str]]:
    """
    Read and answer, until there is nothing more to read.

    Returns:
        `list[dict[str, str]]`: the conversation.
    """
    beginning = [] if system is None else [{"role": "system", "content": system}]
    messages = list(beginning)
    while True:
        try:
            said = read("> ").strip()
        except EOFError:
            return messages
        if said == "/exit":
            return messages
        if said == "/clear":
            messages = list(beginning)
        elif said.startswith("/"):
            print(_obey(speaker, said.split()))
        elif said:
            messages.append({"role": "user", "content": said})
            try:
                (answer,) = speaker.say(messages, seed + len(messages))
            except ValueError as error:  # too long
                print(f"{error} /clear begins a new conversation.")
                messages.pop()
                continue
            messages.append({"role": "assistant", "content": answer})


def _obey(speaker: Speaker, words: list[str]) -> str:
    config = speaker.sampler.config
    if words[0] == "/show":
        return "\n".join(f"{name} {value}" for name, value in config.describe().items())
    if words[0] != "/set" or len(words) != 3:
        return HELP
    known = {f.name: str(f.type).removesuffix(" | None") for f in fields(config)}
    if words[1] not in known:
        return f"There is no setting {words[1]!r}, only {', '.join(known)}."
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": lambda text: text.lower() == "true"}
    try:
        speaker.configure(replace(config, **{words[1]: kinds.get(known[words[1]], str)(words[2])}))
    except (TypeError, ValueError) as error:
        return str(error)
    return f"{words[1]} {words[2]}"
