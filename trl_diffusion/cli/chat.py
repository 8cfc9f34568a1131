# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion chat`."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from textwrap import indent
from typing import TYPE_CHECKING, Any

from .parsing import Parser, make_parser, parse


if TYPE_CHECKING:
    from .conversation import Speaker

CANVAS: dict[str, Any] = {"max_new_tokens": 256, "block_length": 32}  # of models that carry no settings
CLEAR = "/clear            begin a new conversation\n"
HELP = f"""/set name value   decode otherwise, such as: /set entropy_bound 0.3
/show             how it is decoded now
{CLEAR}/exit             leave (so does Ctrl-D)"""
NO_TEMPLATE = """This model has no chat template: what you type is completed as it is, each time anew."""
DESCRIPTION = f"""Talk to a model, and watch the canvas fill in: colours tell early from late. Within the conversation:

{indent(HELP, "    ")}

examples:
    trl-diffusion chat --model_name_or_path embedded/sudoku --temperature 0
    trl-diffusion chat --model_name_or_path GSAI-ML/LLaDA-8B-Instruct \\
        --system "Answer in one sentence." --max_new_tokens 128"""


@dataclass
class ChatArguments:
    """How to begin."""

    _argument_group_name = "conversation"

    system: str | None = field(default=None, metadata={"help": "What the model is told first."})
    seed: int = field(default=0, metadata={"help": "Seed of the sampling."})


def make() -> Parser:
    from .arguments import ModelArguments, decoding_arguments

    return make_parser("chat", DESCRIPTION, ModelArguments, ChatArguments, decoding_arguments(CANVAS))


def run(words: Sequence[str]) -> int:
    model_args, args, decoding = parse(make(), words)

    from .arguments import decoder_of, load_model
    from .conversation import Speaker

    model, tokenizer = load_model(model_args)
    if args.system is not None and not tokenizer.chat_template:
        raise ValueError("`--system` needs a chat template, which this model has not.")
    speaker = Speaker(model, tokenizer, decoder_of(model, decoding, **CANVAS))
    raw = not tokenizer.chat_template
    print(commands(raw), *([NO_TEMPLATE] if raw else []), sep="\n")
    converse(speaker, args.system, args.seed, input, raw)
    return 0


def commands(raw: bool) -> str:
    """What can be asked for. Where each line is completed by itself there is nothing to clear."""
    return HELP.replace(CLEAR, "") if raw else HELP


def converse(
    speaker: Speaker, system: str | None, seed: int, read: Callable[[str], str], raw: bool = False
) -> list[dict[str, str]]:
    """
    Read and answer, until there is nothing more to read.

    Args:
        speaker (`Speaker`):
            Who answers.
        system (`str`, *optional*):
            What it is told first.
        seed (`int`):
            Seed of the sampling.
        read (`Callable[[str], str]`):
            Reads a line.
        raw (`bool`, *optional*, defaults to `False`):
            Whether each line is completed as it is, and not as part of a conversation.

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
        if said == "/clear" and not raw:
            messages = list(beginning)
        elif said.startswith("/"):
            print(_obey(speaker, said.split(), commands(raw)))
        elif said:
            messages.append({"role": "user", "content": said})
            try:
                (answer,) = speaker.say(said if raw else messages, seed + len(messages))
            except ValueError as error:  # too long
                messages.pop()
                print(
                    f"{error} /clear begins a new conversation." if messages[len(beginning) :] and not raw else error
                )
                continue
            messages.append({"role": "assistant", "content": answer})


def _obey(speaker: Speaker, words: list[str], commands: str) -> str:
    config = speaker.sampler.config
    if words[0] == "/show":
        return "\n".join(f"{name} {value}" for name, value in config.describe().items())
    if words[0] != "/set" or len(words) != 3:
        return commands
    name, text = words[1:]
    parser = _settings()
    action = next((action for action in parser._actions if action.dest == name), None)
    if action is None:
        return f"There is no setting {name!r}, only {', '.join(action.dest for action in parser._actions)}."
    try:
        # What may be left out has no other value to say so.
        value: Any = None if text.lower() == "none" else parser._get_value(action, text)
        speaker.configure(replace(config, **{name: value}))
    except (ArgumentError, TypeError, ValueError) as error:
        return str(error)
    return f"{name} {getattr(speaker.sampler.config, name)}"


@cache
def _settings() -> Parser:
    """Reads settings as the command line does."""
    from .arguments import decoding_arguments

    return Parser([decoding_arguments()], prog="trl-diffusion chat", add_help=False)
