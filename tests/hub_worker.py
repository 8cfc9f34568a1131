# SPDX-License-Identifier: Apache-2.0
"""Run by test_hub.py against a local Hub: one process pushes, another, which knows nothing but the id, loads."""

import json
import sys

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionSampler

from .trainers import make_trainer


def sample(model, tokenizer, config=None):
    """What a model writes, and under which threshold."""
    inputs = tokenizer(["1+2=", "7="], return_tensors="pt", padding=True, padding_side="left")
    model.eval()
    trajectory = DiffusionSampler(model, config).sample(inputs.input_ids, inputs.attention_mask, seeds=torch.arange(2))
    head = [p.sum().item() for n, p in model.named_parameters() if "threshold_head" in n and "original" not in n]
    return [trajectory.completion_ids.tolist(), trajectory.log_probs.tolist(), trajectory.threshold.tolist(), head]


def push(path, repo, output_dir, how):
    tokenizer = AutoTokenizer.from_pretrained(path)
    trainer = make_trainer(
        "diffpo",
        output_dir,
        tokenizer,
        path,
        regime="joint" if "head" in how else "model",
        peft_config=LoraConfig(r=2, init_lora_weights=False) if "lora" in how else None,
        eval_dataset=Dataset.from_dict({"prompt": ["1=", "2="]}),
        eval_strategy="steps",
        eval_steps=1,
        push_to_hub=True,
        hub_model_id=repo,
        hub_token="secret",
    )
    trainer.train()
    trainer.push_to_hub(dataset_name="user/data")
    return sample(trainer.model, tokenizer, trainer.decoder("eval"))


def load(repo):
    return sample(AutoModelForCausalLM.from_pretrained(repo), AutoTokenizer.from_pretrained(repo))


if __name__ == "__main__":
    result, what, *arguments = sys.argv[1:]
    with open(result, "w") as file:
        json.dump({"push": push, "load": load}[what](*arguments), file)
