# SPDX-License-Identifier: Apache-2.0
"""The command that looks at a checkpoint before anything is trained."""

import argparse
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

from trl_diffusion.scripts.check import kept_for_backward, main

from .families import CONFIGS, FAMILIES, VOCABULARY, shapes, write_checkpoint


SMALL = ["--prompt_length", "16", "--completion_length", "16", "--batch_size", "2"]


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    def write(family):
        write_checkpoint(family, tmp_path / family)
        tokenizer.save_pretrained(tmp_path / family)
        return tmp_path / family

    return write


def report_of(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == bool(report["problems"])
    return report


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_of_every_family(checkpoint, capsys, family):
    report = report_of(capsys, checkpoint(family), *SMALL, "--lora_r", 4)
    facts, config = report["facts"], CONFIGS[family]
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes(config).items()}
    assert facts["class"] == config["architectures"][0] and facts["parameters"] == sum(sizes.values())
    assert facts["logit shift"] == (1 if family == "dream" else 0)
    assert facts["mask token"] == "1 '<|mask|>'" and facts["ends of text"] == ["0 '<|endoftext|>'"]
    linear = {n: shape for n, shape in shapes(config).items() if "proj.weight" in n}
    assert report["lora"]["modules"].startswith("14 of 15")
    assert report["lora"]["trained"] == sum(4 * sum(shape) for shape in linear.values())
    covered = sum(torch.Size(shape).numel() for shape in linear.values())
    assert report["lora"]["covered"].startswith(f"{covered:,} of {sum(sizes.values()):,}")
    memory = report["memory"]
    assert memory["weights"] == 2 * sum(sizes.values()) + 4 * report["lora"]["trained"]
    assert memory["optimizer"] == 2 * memory["gradients"] == 8 * report["lora"]["trained"]
    assert memory["logits"] == 10 * 2 * 16 * VOCABULARY and memory["checkpointed"] < memory["activations"]


def test_memory_of_full_training_and_of_4_bit_weights(checkpoint, capsys):
    path = checkpoint("dream")
    full = report_of(capsys, path, *SMALL, "--full")["memory"]
    size = report_of(capsys, path, *SMALL)["facts"]["parameters"]
    assert (full["weights"], full["gradients"], full["optimizer"]) == (2 * size, 2 * size, 8 * size)
    quantised = report_of(capsys, path, *SMALL, "--load_in_4bit", "--lora_r", 1)
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=torch.bfloat16,
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_use_double_quant=True),
    )
    weights = quantised["memory"]["weights"] - 4 * quantised["lora"]["trained"]
    assert weights == pytest.approx(model.get_memory_footprint(), rel=0.05)  # which leaves out the scales


@pytest.mark.parametrize("lora", [False, True])
def test_what_is_kept_is_what_a_real_forward_pass_keeps(checkpoint, lora):
    config = AutoConfig.from_pretrained(checkpoint("a2d-qwen3"))

    def make():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])) if lora else model

    real = make()
    own = {p.untyped_storage().data_ptr() for p in real.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    real.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = real(torch.zeros(2, 24, dtype=torch.long), logits_to_keep=16, use_cache=False).logits
        scores = logits.float().log_softmax(-1)
    expected = sum(storage.nbytes() for storage in kept.values())
    assert scores.requires_grad
    with torch.device("meta"):
        empty = make()
    assert kept_for_backward(empty, 2, 8, 16) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "not a known masked diffusion language model"),
        ({"model_type": "unheard-of"}, "custom code"),
        ({"alibi": True}, "alibi"),
        ({"mask_token_id": 99}, "`mask_token_id=99` is outside"),
        ({"vocab_size": 10, "embedding_size": 10, "mask_token_id": 1}, "23 tokens and the model 10 embeddings"),
        ({"max_sequence_length": 8}, "more than the 8 positions"),
    ],
)
def test_problems_are_named(checkpoint, capsys, change, words):
    path = checkpoint("llada")
    config = json.loads((path / "config.json").read_text()) | change
    (path / "config.json").write_text(json.dumps(config))
    report = report_of(capsys, path, *SMALL)
    assert any(words in problem for problem in report["problems"]), report["problems"]


def test_a_model_without_a_tokenizer(tmp_path, capsys):
    write_checkpoint("llada", tmp_path)
    (problem,) = report_of(capsys, tmp_path, *SMALL)["problems"]
    assert problem.startswith("No tokenizer")


def test_what_people_read(checkpoint, capsys):
    assert main([str(checkpoint("llada")), *SMALL]) == 0
    text = capsys.readouterr().out
    assert "Ready to train." in text and "LLaDA" in text and "GiB" in text
    assert main([str(checkpoint("llada")), *SMALL, "--mask_token_id", "500"]) == 1
    assert "PROBLEM: `mask_token_id=500`" in capsys.readouterr().out


def test_arguments_are_checked():
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        main(["somewhere", "--batch_size", "many"])
