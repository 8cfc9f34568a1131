# SPDX-License-Identifier: Apache-2.0
"""The tokens that end a text, found in what a checkpoint says about itself."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase


_ANSWER = "ANSWER"


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """
    The tokens that end a text: the tokenizer's end of text, those of the model's generation configuration, and the
    token that closes a message in the chat template.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            The model, possibly wrapped by PEFT.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Its tokenizer.

    Returns:
        `tuple[int, ...]`: without repetition.
    """
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named]), end_of_turn_token(tokenizer)]
    return tuple(dict.fromkeys(i for i in ids if i is not None))


def end_of_turn_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """
    The special token that follows an assistant's message in the chat template, such as `<|eot_id|>` or `<|im_end|>`.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            The tokenizer.

    Returns:
        `int`, *optional*: `None` without a template, or if no special token follows.
    """
    if tokenizer.chat_template is None:
        return None
    messages = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception:  # a template is a program by somebody else, and can fail in any way
        return None
    _, answer, rest = text.rpartition(_ANSWER)
    ids = tokenizer(rest.lstrip(), add_special_tokens=False).input_ids if answer else []
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return ids[0] if ids and ids[0] in special - {tokenizer.unk_token_id} else None
