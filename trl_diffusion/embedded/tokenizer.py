# SPDX-License-Identifier: Apache-2.0
"""The character tokenizer of the embedded models."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


# As in LLaDA's tokenizer, the end-of-text token also pads.
SPECIAL_TOKENS = ("<|endoftext|>", "<|mask|>", "<|unk|>")
CHARACTERS = "0123456789.=:+-*/() "


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, for digits, arithmetic and Sudoku grids; pads on the left."""
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        mask_token="<|mask|>",
        unk_token="<|unk|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
