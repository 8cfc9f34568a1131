# SPDX-License-Identifier: Apache-2.0
r"""
Prompts for instruction-tuned models: conversations, to which TRL applies the model's chat template.

| style | the model is asked for |
|---|---|
| `"instruct"` | the answer between `<answer>` and `</answer>` |
| `"reasoning"` | `<reasoning>…</reasoning>`, then `<answer>…</answer>` |
| `"boxed"` | its steps, and the answer in `\boxed{}` |

Worked examples are earlier turns of the conversation, in the same style.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


STYLES = ("instruct", "reasoning", "boxed")


@dataclass(frozen=True)
class WorkedExample:
    """
    A problem with its solution, for few-shot prompts.

    Args:
        question (`str`):
            The problem, without instructions.
        reasoning (`str`):
            The way to the answer.
        answer (`str`):
            The answer alone.
    """

    question: str
    reasoning: str
    answer: str


def instruction(what: str, style: str) -> str:
    """
    How to give the answer.

    Args:
        what (`str`):
            What the answer is, as in `"the final number"`.
        style (`str`):
            One of `STYLES`.

    Raises:
        `ValueError`: If the style does not exist.
    """
    if style == "instruct":
        return f"Put {what} alone between <answer> and </answer>."
    if style == "reasoning":
        return (
            "Think step by step between <reasoning> and </reasoning>. "
            f"Then put {what} alone between <answer> and </answer>."
        )
    if style == "boxed":
        return f"Think step by step. Put {what} inside \\boxed{{}}."
    raise ValueError(f"`style` must be one of {', '.join(map(repr, STYLES))}, got {style!r}.")


def solution_text(example: WorkedExample, style: str) -> str:
    """A worked example's solution, as a model should write it in this style."""
    if style == "boxed":
        return f"{example.reasoning}\n\nThe answer is $\\boxed{{{example.answer}}}$."
    if style == "reasoning":
        return f"<reasoning>\n{example.reasoning}\n</reasoning>\n<answer>\n{example.answer}\n</answer>"
    return f"{example.reasoning}\n<answer>{example.answer}</answer>"


def conversation(question: str, ask: str, style: str, examples: Sequence[WorkedExample] = ()) -> list[dict[str, str]]:
    """
    The prompt for one problem.

    Args:
        question (`str`):
            The problem.
        ask (`str`):
            How to give the answer, see [`instruction`], with the space before it.
        style (`str`):
            One of `STYLES`, for the answers of the examples.
        examples (`Sequence[WorkedExample]`, *optional*):
            Problems that the model has solved already, it seems.

    Returns:
        `list[dict[str, str]]`: messages, the last one from the user.
    """
    messages = []
    for example in examples:
        messages.append({"role": "user", "content": example.question + ask})
        messages.append({"role": "assistant", "content": solution_text(example, style)})
    return [*messages, {"role": "user", "content": question + ask}]


def choose(examples: Sequence[WorkedExample], shots: int, why: str = "") -> Sequence[WorkedExample]:
    """
    The first worked examples of a task.

    Args:
        examples (`Sequence[WorkedExample]`):
            All there are.
        shots (`int`):
            How many.
        why (`str`, *optional*):
            Why there are no more, for the message.

    Raises:
        `ValueError`: If there are not as many.
    """
    if not 0 <= shots <= len(examples):
        reason = f": {why}" if why else ""
        raise ValueError(f"`shots` must be between 0 and {len(examples)}, got {shots}{reason}.")
    return examples[:shots]
