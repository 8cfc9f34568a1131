# SPDX-License-Identifier: Apache-2.0
"""Samples for the page of a run: their prompts, and their tokens with the steps that wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl import is_conversational

from ..evaluation import Generation, Generations
from .canvas import token_groups


Verdicts = Mapping[tuple[int, int], str]
Key = tuple[int, int]  # prompt, and which of its samples


def watchable_sets(
    samples: Mapping[str, Generations],
    tokenizer: PreTrainedTokenizerBase,
    rewards: Mapping[str, Sequence[float | None]],
    max_samples: int,
) -> dict[str, dict[str, Any]]:
    """
    What there is to watch, by name: answers to the same prompts side by side, others one set after the other.

    Args:
        samples (`Mapping[str, Generations]`):
            Samples by name.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Theirs.
        rewards (`Mapping[str, Sequence[float | None]]`):
            What a reward function says of them, by name and in their order; may be missing.
        max_samples (`int`):
            How many are shown: the first ones, and as many of those behind them that are wrong or have changed.
    """
    samples = {name: generations for name, generations in samples.items() if generations.samples}
    together = [samples] if len(samples) > 1 and _of_the_same_prompts(list(samples.values())) else None
    groups = together or [{name: generations} for name, generations in samples.items()]
    return {", ".join(group): _watchable(group, tokenizer, rewards, max_samples) for group in groups}


def _of_the_same_prompts(sets: Sequence[Generations]) -> bool:
    asked = [[(_key(sample), sample.prompt, sample.columns) for sample in made.samples] for made in sets]
    return all(other == asked[0] for other in asked)


def _key(sample: Generation) -> Key:
    return sample.prompt_index, sample.sample_index


def _watchable(
    group: Mapping[str, Generations],
    tokenizer: PreTrainedTokenizerBase,
    rewards: Mapping[str, Sequence[float | None]],
    max_samples: int,
) -> dict[str, Any]:
    answers = {name: {_key(sample): sample for sample in made.samples} for name, made in group.items()}
    verdicts: dict[str, Verdicts] = {
        name: {key: _verdict(reward) for key, reward in zip(answers[name], rewards[name])}
        for name in group
        if name in rewards
    }
    keys = list(next(iter(answers.values())))
    kinds = {key: _kind([own.get(key, "") for own in verdicts.values()]) for key in keys}
    first, behind = keys[:max_samples], keys[max_samples:]
    telling = [key for key in behind if kinds[key] in _TELLING][:max_samples]
    return {
        "note": _note(len(first), len(keys), telling, names=list(group)),
        "samples": [
            _asked(next(iter(answers.values()))[key])
            | {
                "kind": kinds[key],
                "answers": [
                    _answer(own[key], tokenizer, group[name].config.eos_token_ids)
                    | {"name": name, "verdict": verdicts.get(name, {}).get(key, "")}
                    for name, own in answers.items()
                ],
            }
            for key in sorted([*first, *telling])
        ],
    }


_TELLING = ("wrong", "lost", "gained", "still wrong")


def _note(first: int, count: int, telling: Sequence[Key], names: Sequence[str]) -> str:
    shown = f"The first {first} of {count}" if first < count else f"All {count}"
    which = "that are wrong" if len(names) < 2 else "that are wrong or were wrong before"
    shown += f", and {len(telling)} of the others {which}" if telling else ""
    return (
        f"{shown}. Side by side: {', '.join(names)}; a colour is the same pass in each."
        if len(names) > 1
        else f"{shown}."
    )


def _verdict(reward: float | None) -> str:
    return "not judged" if reward is None else "right" if reward >= 1 else "wrong"


def _kind(verdicts: Sequence[str]) -> str:
    """What became of a problem, from the first set to the last; of a single one, its verdict."""
    if len(verdicts) < 2 or "not judged" in verdicts:
        return verdicts[0] if len(verdicts) == 1 else "not judged" if verdicts else ""
    kinds = {("right", "wrong"): "lost", ("wrong", "right"): "gained", ("right", "right"): "still right"}
    return kinds.get((verdicts[0], verdicts[-1]), "still wrong")


def _asked(sample: Generation) -> dict[str, Any]:
    return {
        "problem": sample.prompt_index + 1,
        "prompt": messages(sample.prompt),
        "columns": [(name, str(value)) for name, value in sample.columns.items()],
    }


def messages(prompt: Any) -> list[tuple[str | None, str]]:
    """Role and text of each message; a plain prompt has no role."""
    if not is_conversational({"prompt": prompt}):
        return [(None, str(prompt))]
    return [(str(message["role"]), _text(message.get("content"))) for message in prompt]


def completion_text(completion: Any) -> str:
    """The text of a completion, plain or conversational."""
    return "\n".join(text for _, text in messages(completion))


def _text(content: Any) -> str:
    if isinstance(content, list):  # in parts
        return "".join(str(part.get("text", f"[{part.get('type')}]")) for part in content)
    return "" if content is None else str(content)


def _answer(sample: Generation, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]) -> dict[str, Any]:
    record = sample.trajectory
    ids, steps = record.completion_ids[0].tolist(), record.unmask_step[0].tolist()
    return {"passes": sample.nfe, "tokens": _tokens(tokenizer, ids, steps, ends)}


def _tokens(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], steps: Sequence[int], ends: Sequence[int]
) -> list[tuple[str, int, int]]:
    """
    Of each token, its text, the step that wrote it (`-1` for never), and the one that made its character whole: it may
    have several tokens, which are written in any order.
    """
    tokens = []
    words = [step >= 0 and token not in ends for token, step in zip(ids, steps, strict=True)]
    for start, end, text in token_groups(tokenizer, ids, words):
        whole = max(steps[start:end])
        texts = [""] * (end - start - 1) + ["■" if steps[start] >= 0 and ids[start] in ends else text]
        tokens += [(text, step, whole) for text, step in zip(texts, steps[start:end], strict=True)]
    return tokens
