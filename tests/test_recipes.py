# SPDX-License-Identifier: Apache-2.0
"""The recipes: every value says where it comes from, and is taken by the trainer that it is for."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from trl_diffusion.cli import train
from trl_diffusion.tasks import get_task


ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*/*.yaml"))
HERE = {"--use_cpu": "true", "--bf16": "false"}


def test_there_is_one_per_method_and_task():
    names = {path.parent.name for path in RECIPES}
    assert names == {"diffu_grpo", "diffpo", "dmpo", "agrpo"}
    assert len(RECIPES) == 4 * len(names)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recipe(path, tmp_path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.search(r"  # \[(paper|code|ours)\]", line), line
    method = path.parent.name
    config, _ = train.methods()[method]
    # As on one GPU: other numbers of micro-batches, and nothing else.
    words = shlex.split(re.search(r"# 1 GPU: +trl-diffusion train \w+ (.*)", path.read_text())[1])
    words[words.index("--config") + 1] = str(path)
    words += [*(word for pair in HERE.items() for word in pair), "--output_dir", str(tmp_path)]
    *parsed, from_config, from_words = train.parser_of(method, config).parse_args_and_config(
        words, return_remaining_strings=True, separate_remaining_strings=True
    )
    assert not from_config and not from_words  # else they would go to the launcher
    args, options, model = parsed
    assert model.use_peft and model.model_name_or_path == "GSAI-ML/LLaDA-8B-Instruct"
    values = yaml.safe_load(path.read_text())
    per_update = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * 8
    assert options.per_device_train_batch_size * options.gradient_accumulation_steps == per_update
    said = re.search(r"on 8 GPUs (\d+) completions, (\d+) prompts", path.read_text())
    assert (per_update, per_update // options.num_generations) == tuple(map(int, said.groups()))
    assert options.max_completion_length % options.block_length == 0
    task = get_task(args.task)
    if not task.name.endswith("-hub"):
        source = {} if task.generated else {"source": "sample"}
        assert task.load("train", 4, style=args.style, **source)["prompt"]
    assert task.reward_funcs(args.style)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_launch_lines_name_it(path):
    commands = re.findall(r"# \d GPUs?: +(trl-diffusion .*)", path.read_text())
    assert len(commands) == 2
    for command in map(shlex.split, commands):
        assert command[1:3] == ["train", path.parent.name]
        assert ROOT / command[command.index("--config") + 1] == path
