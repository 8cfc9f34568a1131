# SPDX-License-Identifier: Apache-2.0
"""The script that makes the embedded models, and larger ones."""

import random
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionSampler, embedded
from trl_diffusion.embedded import build
from trl_diffusion.embedded.tokenizer import make_tokenizer
from trl_diffusion.rewards import countdown_reward
from trl_diffusion.tasks import countdown, get_task


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def digits(rng):
    return "1+1=", str(rng.randrange(10**6))


@pytest.mark.slow
def test_a_large_model_in_one_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # of this process, in which other tests run
    words = ("countdown4", "--size", "large", "--steps", "2", "--batch_size", "4", "--num_workers", "1")
    build.main([*words, "--output", str(tmp_path)])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert 20e6 <= parameters(model) <= 60e6
    said = f"{parameters(model):,} parameters"
    assert said in capsys.readouterr().out
    assert said in (Path(__file__).parent.parent / "docs" / "quickstart.md").read_text()
    prompts = get_task("countdown4").load("test", 2, style="compact")["prompt"]
    inputs = tokenizer(prompts[:], padding=True, return_tensors="pt")
    trajectory = DiffusionSampler(model).sample(inputs.input_ids, inputs.attention_mask)
    assert trajectory.completion_ids.shape == (2, countdown.COMPLETION_LENGTH)  # by the decoder that it carries


@pytest.mark.parametrize("task", ["sudoku", "countdown"])
def test_the_sizes_are_those_of_what_ships(task):
    model = build.make_model(task, "embedded", make_tokenizer(), "cpu")
    shipped = AutoModelForCausalLM.from_pretrained(embedded.path(task))
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in shipped.state_dict().items()}


def test_four_numbers_are_demonstrated_by_right_answers_that_fit():
    rng, tokenizer = random.Random(0), make_tokenizer()
    prompts, answers = zip(*(build.countdown_example(rng, **countdown.FOUR_NUMBERS) for _ in range(300)), strict=True)
    problems = [prompt.removesuffix("=").split(":") for prompt in prompts]
    numbers = [[int(number) for number in left.split()] for left, _ in problems]
    assert {len(four) for four in numbers} == {4} and any("/" in answer for answer in answers)
    targets = [int(target) for _, target in problems]
    assert countdown_reward(completions=list(answers), numbers=numbers, target=targets) == [1.0] * 300
    ids = tokenizer([*prompts, *answers]).input_ids
    assert not any(tokenizer.unk_token_id in row for row in ids)
    assert max(map(len, ids[300:])) < countdown.COMPLETION_LENGTH  # the end of the text follows


def test_workers_make_different_demonstrations_and_the_same_again():
    def batches(workers, seed=3):
        loader = DataLoader(build.Batches(digits, 2, seed), batch_size=None, num_workers=workers)
        return [[tuple(example) for example in batch] for batch in islice(loader, 4)]

    rng = random.Random(3)
    assert batches(0) == [[digits(rng) for _ in range(2)] for _ in range(4)]  # as the shipped models saw them
    assert batches(2) == batches(2) != batches(2, seed=4)
    drawn = [example for batch in batches(2) for example in batch]
    assert len(set(drawn)) == len(drawn)


def test_training_learns_and_repeats():
    """One demonstration, by heart."""
    tokenizer = make_tokenizer()
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build.make_model("sudoku", "embedded", tokenizer, "cpu"))
        options = {"steps": 40, "batch_size": 8, "learning_rate": 5e-3, "completion_length": 4, "seed": 0}
        build.train(models[-1], tokenizer, lambda rng: ("1+1=", "2"), **options)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    prompt = tokenizer("1+1=", return_tensors="pt").input_ids
    canvas = torch.cat([prompt, torch.full((1, 4), tokenizer.mask_token_id)], dim=1)
    written = models[0].eval()(input_ids=canvas).logits[0, -4:].argmax(-1)
    assert tokenizer.decode(written, skip_special_tokens=True) == "2"
