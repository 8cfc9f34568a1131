# SPDX-License-Identifier: Apache-2.0
"""The examples, started the way a user starts them."""

import difflib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM


EXAMPLES = Path(__file__).parent.parent / "examples"
BIN = Path(sys.executable).parent


def run(*command, **environment):
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment,
        timeout=280,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


def options(model, output):
    return (
        *("--model_name_or_path", model, "--dataset_name", EXAMPLES / "data", "--output_dir", output),
        *("--use_cpu", "true", "--bf16", "false", "--report_to", "none", "--max_steps", "2", "--logging_steps", "1"),
        *("--per_device_train_batch_size", "4", "--num_generations", "4", "--max_completion_length", "8"),
        *("--learning_rate", "1e-3"),
    )


def losses(output):
    (state,) = Path(output).glob("checkpoint-*/trainer_state.json")
    return [entry["loss"] for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]


LAUNCH = (
    BIN / "accelerate",
    "launch",
    "--cpu",
    "--num_processes",
    "1",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
)


def test_the_scripts_differ_in_import_and_class_names_alone():
    plain, ours = ((EXAMPLES / name).read_text().splitlines() for name in ("grpo.py", "diffpo.py"))
    code = [
        lines[next(i for i, line in enumerate(lines) if line.startswith("import os")) :] for lines in (plain, ours)
    ]
    changed = [line for line in difflib.unified_diff(*code, n=0, lineterm="") if line[:1] in "+-"][2:]
    assert [line[1:].strip() for line in changed] == [
        "GRPOConfig,",
        "GRPOTrainer,",
        "",
        "from trl_diffusion import DiFFPOConfig, DiFFPOTrainer",
        "parser = TrlParser((ScriptArguments, GRPOConfig, ModelConfig))",
        "parser = TrlParser((ScriptArguments, DiFFPOConfig, ModelConfig))",
        "trainer = GRPOTrainer(",
        "trainer = DiFFPOTrainer(",
    ]


@pytest.mark.slow
def test_plain_trl_script_runs(tmp_path, tokenizer):
    """It is only a comparison if it works."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    run(*LAUNCH, EXAMPLES / "grpo.py", *options(tmp_path / "model", tmp_path / "out"))
    assert len(losses(tmp_path / "out")) == 2


@pytest.mark.slow
@pytest.mark.distributed
def test_diffusion_script_runs_under_accelerate_launch(tmp_path, model_path):
    run(*LAUNCH, EXAMPLES / "diffpo.py", *options(model_path, tmp_path / "out"), "--block_length", "4")
    assert len(losses(tmp_path / "out")) == 2
    before, after = (load_file(Path(p) / "model.safetensors") for p in (model_path, tmp_path / "out"))
    assert before.keys() == after.keys() and any((before[k] != after[k]).any() for k in before)


@pytest.mark.distributed
@pytest.mark.slow
def test_a_script_that_is_started_again_goes_on(tmp_path, model_path):
    arguments = [*options(model_path, tmp_path / "out"), "--block_length", "4", "--save_steps", "1"]
    arguments[arguments.index("--max_steps") + 1] = "1"
    run(sys.executable, EXAMPLES / "diffpo.py", *arguments)
    arguments[arguments.index("--max_steps") + 1] = "2"
    run(sys.executable, EXAMPLES / "diffpo.py", *arguments)
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == [1, 2]


@pytest.mark.slow
@pytest.mark.distributed
def test_diffusion_script_runs_with_lora_on_two_processes(tmp_path, model_path):
    run(
        *(BIN / "torchrun", "--nproc_per_node", "2", "--master_port", "0", "--standalone"),
        *(EXAMPLES / "diffpo.py", *options(model_path, tmp_path / "out"), "--block_length", "4"),
        *("--use_peft", "true", "--lora_target_modules", "q_proj", "v_proj", "--num_iterations", "2"),
    )
    assert len(losses(tmp_path / "out")) == 2
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
