# SPDX-License-Identifier: Apache-2.0
"""
Whether a line of a file of generations, or of a sweep, is what its writer wrote.

Figures of a line that is damaged would be wrong, or fail far from the file that is to blame: every line is checked
when it is read, its types and lengths too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from ..generation import DiffusionGenerationConfig


class Kind(NamedTuple):
    """What a value has to be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def whole(least: int) -> Kind:
    """A whole number that 64 bits hold."""
    return Kind(f"a whole number from {least} on", lambda x: type(x) is int and least <= x < 2**63)


def row(length: int | None, each: Callable[[Any], bool], what: str) -> Kind:
    """A list of as many values, of any number without a length."""

    def holds(value: Any) -> bool:
        return isinstance(value, list) and (length is None or len(value) == length) and all(map(each, value))

    return Kind(f"a list of {'' if length is None else f'{length} '}{what}", holds)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)  # NaN and infinity, too: a schedule has no threshold


def _is_token(value: Any) -> bool:
    return type(value) is int and -1 <= value < 2**31  # -1 pads


def _is_prompt(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(x, dict) for x in value))


TEXT = Kind("text", lambda x: isinstance(x, str))
OBJECT = Kind("an object", lambda x: isinstance(x, dict))
OBJECTS = row(None, lambda x: isinstance(x, dict), "objects")
NUMBER = Kind("a number", _is_number)
DURATION = Kind("a number of seconds", lambda x: _is_number(x) and 0 <= x < math.inf)
PAIR = row(2, _is_number, "numbers")

GENERATIONS_HEADER = {
    "settings": OBJECT,
    "decoder": OBJECT,
    "prompts": whole(1),
    "num_samples": whole(1),
    "made_by": OBJECTS,
}
SWEEP_HEADER = {"dataset": TEXT, "reward": TEXT, "num_samples": whole(1), "seed": whole(-(2**63))}
POINT = {"name": TEXT, "model": OBJECT, "prompt_ids": TEXT, "settings": OBJECT, "evaluation": OBJECT}
EVALUATION = {
    "accuracy": NUMBER,
    "interval": PAIR,
    "nfe": NUMBER,
    "tokens_per_step": NUMBER,
    "prompts": whole(1),
    "seconds": NUMBER,
    "decoder": OBJECT,
    "samples": whole(1),
    "tokens": NUMBER,
    "tokens_per_second": NUMBER,
    "truncated": NUMBER,
    "empty": NUMBER,
    "unjudged": NUMBER,
    "mean_reward": NUMBER,
    "reward_interval": PAIR,
    "pass_at": Kind(
        "an object of values with intervals, by whole numbers",
        lambda x: (
            isinstance(x, dict)
            and all(k.isdecimal() for k in x)
            and all(isinstance(v, list) and len(v) == 2 and _is_number(v[0]) and PAIR.holds(v[1]) for v in x.values())
        ),
    ),
}


def parse(line: bytes) -> dict[str, Any]:
    """
    A line as an object. A mark of the byte order, which editors put in front of a file, is no part of it.

    Raises:
        `ValueError`: If it is none.
    """
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError(f"it is no JSON object, but {_shown(record)}")
    return record


def check_fields(record: Mapping[str, Any], kinds: Mapping[str, Kind], of: str = "") -> None:
    """
    Raises:
        `ValueError`: If a field is missing, or of another kind.
    """
    for name, kind in kinds.items():
        if name not in record:
            raise ValueError(f"it has no `{of}{name}`")
        if not kind.holds(record[name]):
            raise ValueError(f"`{of}{name}` must be {kind.words}, and is {_shown(record[name])}")


def check_generations_header(header: Mapping[str, Any]) -> None:
    """
    Raises:
        `ValueError`: If it does not say what the readers of a file of generations need to know.
    """
    check_fields(header, GENERATIONS_HEADER)
    check_fields(header["settings"], {"model": OBJECT, "decoder": OBJECT}, "settings.")
    decoder = header["settings"]["decoder"]
    check_fields(decoder, {"max_new_tokens": whole(1), "block_length": whole(1)}, "settings.decoder.")
    # Names only: a rule of one's own is known where it was used, and need not be where it is scored.
    if unknown := sorted(decoder.keys() - {f.name for f in fields(DiffusionGenerationConfig)}):
        raise ValueError(f"`settings.decoder.{unknown[0]}` is no setting of this version's decoder")


def sample_kinds(decoder: Mapping[str, Any]) -> tuple[dict[str, Kind], dict[str, Kind]]:
    """The fields that a sample has under these decoding settings, and those that it may have."""
    length, blocks = decoder["max_new_tokens"], decoder["max_new_tokens"] // decoder["block_length"]
    numbers, by_block = row(length, _is_number, "numbers"), row(blocks, _is_number, "numbers")
    needed = {
        "prompt_index": whole(0),
        "sample_index": whole(0),
        "seed": whole(-(2**63)),
        "prompt": Kind("text or a list of messages", _is_prompt),
        "columns": OBJECT,
        "prompt_ids": row(None, _is_token, "tokens"),
        "text": TEXT,
        "tokens": Kind(f"a whole number from 1 to {length}", lambda x: type(x) is int and 1 <= x <= length),
        "ended": Kind("true or false", lambda x: isinstance(x, bool)),
        "seconds": DURATION,
        "completion_ids": row(length, _is_token, "tokens"),
        "unmask_step": row(length, _is_token, "steps"),
        "log_probs": numbers,
        "entropies": numbers,
        "nfe": whole(1),
        "threshold": by_block,
        "slack": NUMBER,
        "row_forwards": NUMBER,
    }
    learned = {"threshold_actions": by_block, "threshold_log_probs": by_block}
    optional = {
        "support": row(length, lambda x: isinstance(x, list) and all(map(_is_token, x)), "lists of tokens"),
        "drift": row(4, _is_number, "numbers"),
    }
    if decoder.get("learned_threshold", "off") != "off":
        return needed | learned, optional
    return needed, optional | learned


def check_sample(record: Mapping[str, Any], kinds: tuple[dict[str, Kind], dict[str, Kind]]) -> None:
    """
    Raises:
        `ValueError`: If it is no sample of these kinds, see [`sample_kinds`].
    """
    needed, optional = kinds
    check_fields(record, needed)
    check_fields(record, {name: kind for name, kind in optional.items() if name in record})
    if len({len(tokens) for tokens in record.get("support", ())}) > 1:
        raise ValueError("`support` must be lists of one length")


def check_point(point: Mapping[str, Any]) -> None:
    """
    Raises:
        `ValueError`: If it is no point of a sweep.
    """
    check_fields(point, POINT)
    check_fields(point["evaluation"], EVALUATION, "evaluation.")
    if unknown := sorted(point["evaluation"].keys() - EVALUATION.keys()):
        raise ValueError(f"`evaluation.{unknown[0]}` is no figure of this version")


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 40 else f"{said[:40]}…"
