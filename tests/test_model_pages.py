# SPDX-License-Identifier: Apache-2.0
"""The pages of the families: every launch line is one that can be typed, and the memory is what is computed."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig, ScriptArguments, TrlParser

from trl_diffusion import DiFFPOConfig
from trl_diffusion.scripts.check import GIB, check, parse

from .test_families import HUB


ROOT = Path(__file__).parent.parent
SDAR = {  # SDAR-1.7B-Chat; sizes of the tensors on the Hub have not been compared
    "model_type": "sdar", "hidden_size": 2048, "head_dim": 128, "num_attention_heads": 16, "num_key_value_heads": 8,
    "num_hidden_layers": 28, "intermediate_size": 6144, "max_position_embeddings": 32768, "rope_theta": 1000000,
    "vocab_size": 151936, "tie_word_embeddings": False, "block_size": 4, "mask_token_id": 151669,
}  # fmt: skip
DESCRIBED = {family: (described, size // 2) for family, (described, _, size) in HUB.items()} | {
    "sdar": (SDAR, 2_031_739_904)
}
PAGES = sorted((ROOT / "docs" / "models").glob("*.md"))


def launch_lines(page):
    blocks = re.findall(r"^```bash\n(accelerate launch.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(block.replace("\\\n", " ")) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_launch_lines_can_be_typed(page):
    sizes = []
    for words in launch_lines(page):
        words = ["0" if word == "$MACHINE" else word for word in words]
        launch = launch_command_parser().parse_args(words[2:])
        assert launch.training_script == "examples/diffpo.py"
        config = yaml.safe_load((ROOT / launch.config_file).read_text())
        sizes.append((config["distributed_type"], launch.num_processes or config["num_processes"]))
        _, args, model = TrlParser((ScriptArguments, DiFFPOConfig, ModelConfig)).parse_args_and_config(
            [*launch.training_script_args, "--use_cpu", "--bf16", "false"]
        )
        assert model.use_peft == (config["distributed_type"] == "MULTI_GPU")
        assert args.block_length == (4 if page.stem == "sdar" else 32)
    assert sizes == [("MULTI_GPU", 1), ("MULTI_GPU", 8), ("DEEPSPEED", 8), ("DEEPSPEED", 16)]


@pytest.mark.slow
@pytest.mark.parametrize("family", DESCRIBED)
def test_the_memory_is_what_the_command_computes(tmp_path, family):
    described, parameters = DESCRIBED[family]
    text = (ROOT / "docs" / "models" / f"{family}.md").read_text()
    assert f"{parameters:,} parameters" in text
    (tmp_path / "config.json").write_text(json.dumps(described))
    table = re.findall(r"^\| (LoRA.*?|full.*?) \| (.*?) \| ([\d.]+) \|$", text, flags=re.MULTILINE)
    assert len(table) == 4
    for training, gpus, gib in table:
        options = ["--full", "--num_processes", gpus] if "full" in training else ["--lora_r", "64"]
        if "4-bit" in training:
            options.append("--load_in_4bit")
        engine = "zero3" if "full" in training else "multi_gpu"
        memory = check(str(tmp_path), parse([str(tmp_path), *options])).memory[engine]
        assert f"{memory.total / GIB:.1f}" == gib, training
