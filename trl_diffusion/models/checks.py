# SPDX-License-Identifier: Apache-2.0
"""Whether a model, its tokenizer and a length fit together. Trainers refuse what the check command reports."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .spec import DiffusionSpec, num_embeddings


def token_problems(
    model: PreTrainedModel,
    processing_class: PreTrainedTokenizerBase,
    mask_token_id: int | None,
    ends: Sequence[int],
) -> list[str]:
    """
    What is wrong with a tokenizer for a model.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, possibly wrapped by PEFT.
        processing_class ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.
        mask_token_id (`int`, *optional*):
            The mask token, if it is known.
        ends (`Sequence[int]`):
            Tokens that end a text, see [`end_tokens`].

    Returns:
        `list[str]`: sentences that say what to change.
    """
    problems = []
    embeddings = num_embeddings(model)
    if not ends:
        problems.append(
            "`processing_class` has no end-of-text token, so that no completion would end. Set its `eos_token`."
        )
    if outside := [end for end in ends if type(end) is not int or not 0 <= end < embeddings]:
        problems.append(
            f"End-of-text tokens outside the model's {embeddings} embeddings: {', '.join(map(repr, outside))}. "
            "Correct `eos_token_id` of the generation configuration."
        )
    if mask_token_id in ends:
        problems.append(f"`mask_token_id={mask_token_id}` is also an end-of-text token.")
    if len(processing_class) > embeddings:
        problems.append(
            f"`processing_class` has {len(processing_class)} tokens and the model only {embeddings} embeddings: they "
            "do not belong together."
        )
    return problems


def length_problems(spec: DiffusionSpec, block_length: int) -> list[str]:
    """
    What is wrong with the length of the blocks that are decoded one after the other.

    Args:
        spec ([`DiffusionSpec`]):
            How the model is read.
        block_length (`int`):
            Tokens per block.

    Returns:
        `list[str]`: sentences that say what to change.
    """
    if spec.attention_block in (None, block_length):
        return []
    return [
        f"`block_length={block_length}`: the model's attention has blocks of {spec.attention_block} tokens, which are "
        f"decoded one after the other. Set `block_length={spec.attention_block}`."
    ]
