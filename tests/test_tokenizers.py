# SPDX-License-Identifier: Apache-2.0
"""Tokenizers and chat templates as they lie on the Hub: what is masked, what ends a text, what ends a turn."""

import copy
import json

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

from trl_diffusion.evaluation.generate import tokenize_prompts
from trl_diffusion.models import DreamTokenizer, end_of_turn_token, end_tokens, resolve_spec

from .families import CONFIGS, write_checkpoint
from .trainers import make_trainer


# One header per message, always followed by that of the answer, as LLaDA's has it.
LLADA_TEMPLATE = (
    "{% for m in messages %}{% if loop.index0 == 0 %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_vocabulary():
    return {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def llada_tokenizer(path):
    """`tokenizer.json`, no mask token declared."""
    tokenizer = Tokenizer(models.BPE(vocab=byte_vocabulary(), merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = [
        "<|startoftext|>",
        "<|endoftext|>",
        "<|mdm_mask|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1], pad_token=special[1]
    )
    fast.add_special_tokens({"additional_special_tokens": special[2:]})
    fast.chat_template = LLADA_TEMPLATE
    fast.save_pretrained(path)
    return {token: fast.convert_tokens_to_ids(token) for token in special}


def dream_tokenizer(path):
    """`vocab.json` and `merges.txt`, with a class of its own that asks for remote code."""
    vocabulary, merges = byte_vocabulary(), [("t", "h"), ("th", "e")]
    vocabulary |= {a + b: len(vocabulary) + i for i, (a, b) in enumerate(merges)}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
    ids = {token: len(vocabulary) + i for i, token in enumerate(special)}
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    config = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "added_tokens_decoder": {
            str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                     "special": True}
            for t, i in ids.items()
        },
        "bos_token": "<|beginoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
        "mask_token": "<|mask|>", "chat_template": CHATML, "model_max_length": 131072,
    }  # fmt: skip
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return ids


def checkpoint(family, path, monkeypatch):
    """A whole checkpoint with its own tokenizer; the ids of its special tokens."""
    ids = {"llada": llada_tokenizer, "dream": dream_tokenizer}[family](path)
    end = ids["<|endoftext|>"]
    changed = {"vocab_size": 270, "mask_token_id": ids.get("<|mask|>", ids.get("<|mdm_mask|>"))}
    changed |= {"pad_token_id": end, "eos_token_id": end} | ({"embedding_size": 270} if family == "llada" else {})
    monkeypatch.setitem(CONFIGS, family, CONFIGS[family] | changed)
    monkeypatch.setattr("tests.families.VOCABULARY", 270)
    write_checkpoint(family, path)
    return ids


@pytest.mark.parametrize("trust_remote_code", [None, True])
def test_dreams_tokenizer_needs_no_remote_code(tmp_path, monkeypatch, trust_remote_code):
    ids = checkpoint("dream", tmp_path, monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=trust_remote_code)
    assert isinstance(tokenizer, DreamTokenizer)
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in ids} == ids
    assert (tokenizer.mask_token_id, tokenizer.eos_token_id) == (ids["<|mask|>"], ids["<|endoftext|>"])
    text = "<|im_start|>user\nthe other 12+3=?<|im_end|>"
    encoded = tokenizer(text).input_ids
    assert encoded == Qwen2Tokenizer.from_pretrained(tmp_path)(text).input_ids
    assert tokenizer.decode(encoded) == text and len(tokenizer("the").input_ids) == 1
    tokenizer.save_pretrained(tmp_path / "again")
    AutoModelForCausalLM.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert isinstance(again, DreamTokenizer) and again(text).input_ids == encoded


@pytest.mark.parametrize(("family", "turn"), [("llada", "<|eot_id|>"), ("dream", "<|im_end|>")])
def test_what_ends_a_text_is_what_the_checkpoint_says(tmp_path, monkeypatch, family, turn):
    ids = checkpoint(family, tmp_path, monkeypatch)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert end_of_turn_token(tokenizer) == ids[turn]
    assert end_tokens(model, tokenizer) == (ids["<|endoftext|>"], ids[turn])
    assert resolve_spec(model, tokenizer).mask_token_id == ids["<|mdm_mask|>" if family == "llada" else "<|mask|>"]
    model.generation_config.eos_token_id = [ids["<|endoftext|>"], 7]
    assert end_tokens(model, tokenizer) == (ids["<|endoftext|>"], 7, ids[turn])
    model.generation_config.eos_token_id = 7
    assert end_tokens(model, tokenizer) == (ids["<|endoftext|>"], 7, ids[turn])


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{{ messages[0]['content'] }}",
        "{{ raise_exception('no') }}",
        "{{ bos_token + none }}",
        "{% for m in messages %}{{ m.content / 0 }}{% endfor %}",
        "{% for m in messages %}{{ m.content }} end{% endfor %}",
    ],
)
def test_templates_without_an_end_of_turn(tokenizer, template):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    assert end_of_turn_token(tokenizer) is None


@pytest.mark.parametrize("conversational", [False, True])
@pytest.mark.parametrize(("family", "turn"), [("llada", "<|eot_id|>"), ("dream", "<|im_end|>")])
def test_training_ends_texts_at_the_end_of_a_turn(tmp_path, monkeypatch, family, turn, conversational):
    """Of plain and of conversational prompts, which are tokenized as the chat template has them."""
    ids = checkpoint(family, tmp_path / "model", monkeypatch)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    prompts = ["1+1=", "the other"]
    if conversational:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]
    seen = []

    def reward(completions, **kwargs):
        seen.extend(c[0]["content"] if conversational else c for c in completions)
        return [float(len(c)) for c in seen[-len(completions) :]]

    trainer = make_trainer(
        "diffpo",
        tmp_path / "out",
        tokenizer,
        str(tmp_path / "model"),
        reward=reward,
        max_completion_length=16,
        block_length=16,
        per_device_train_batch_size=128,
        temperature=50.0,
        max_steps=1,
        train_dataset=Dataset.from_dict({"prompt": prompts * 40}),
    )
    tokenized, sampled = [], []
    rollout = trainer.rollout
    trainer.rollout = lambda x: tokenized.extend(x) or sampled.append(rollout(x)) or sampled[-1]
    trainer.train()
    assert trainer.eos_token_ids == [ids["<|endoftext|>"], ids[turn]]
    expected = tokenize_prompts(tokenizer, prompts)
    expected = {tuple(i[m == 1].tolist()) for i, m in zip(expected.input_ids, expected.attention_mask)}
    assert set(map(tuple, tokenized)) == expected
    trajectory = sampled[0].trajectory
    ends = (trajectory.completion_ids == ids[turn]).any(-1)
    texts = trajectory.texts(trainer.eos_token_ids)
    assert ends.any() and any(text[-1] == ids[turn] for text in texts)
    assert all(ids[turn] not in text[:-1] for text in texts)
    assert not any("<|" in text for text in seen)  # special tokens are not shown to rewards
    assert torch.isfinite(torch.tensor(trainer.state.log_history[0]["loss"]))
