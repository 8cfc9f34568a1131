# SPDX-License-Identifier: Apache-2.0
"""The path of a newcomer: every command of docs/first_steps.md, in order, as it is printed, in a folder of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trl_diffusion.tasks.sudoku import is_solution

from .fake_hub import FakeHub


ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "first_steps.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path):
    """Runs a block, and returns what it prints. Whatever asks for the Hub asks the one of this test."""
    (tmp_path / "bin").mkdir()
    # The command of this folder, whatever is installed; and the Python of this environment.
    programs = {
        "trl-diffusion": f'exec "{sys.executable}" -m trl_diffusion.cli "$@"',
        "python": f'exec "{sys.executable}" "$@"',
    }
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    with FakeHub() as hub:
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "secret",  # as after `hf auth login`
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }

        def run(block):
            result = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=tmp_path / "work",
                env=environment,
                capture_output=True,
                text=True,
            )
            assert result.returncode == 0, f"{block}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
            assert "Traceback" not in result.stderr and "secret" not in result.stdout + result.stderr
            return result.stdout

        run.hub, run.folder = hub, tmp_path / "work"
        yield run


def rewards(folder):
    """What a run has logged."""
    (state,) = folder.glob("checkpoint-*/trainer_state.json")
    return [entry["reward"] for entry in json.loads(state.read_text())["log_history"] if "reward" in entry]


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_path_of_a_newcomer(shell):
    train, evaluate, look, other_task, other_model, push, load = BLOCKS
    for block in (train, evaluate):
        shell(block)
    history = rewards(shell.folder / "sudoku-diffpo")
    assert len(history) == 4 and history[-1] > history[0] + 0.2
    printed = shell(look)
    # Better, beyond what chance explains, and faster.
    low, high = re.search(r"points \(([-+\d.]+) – ([-+\d.]+)\)", printed).groups()
    assert 20 < float(low) < float(high)
    assert float(re.search(r"passes per answer *│ *(-?[\d.]+) \(", printed)[1]) < -1
    assert (shell.folder / "report.html").stat().st_size > 10_000

    shell(other_task)
    assert len(rewards(shell.folder / "sums-diffpo")) == 5
    printed = shell(other_model)
    assert "Ready to train." in printed and "A2D Qwen3" in printed
    assert (shell.folder / "qwen3-agrpo" / "adapter_model.safetensors").is_file()
    assert shell.hub.requests == []  # nothing so far has needed a network

    weights = (shell.folder / "sudoku-diffpo" / "model.safetensors").read_bytes()
    shell(push)
    assert shell.hub.repos.keys() == {"me/sudoku-diffpo"}
    files = shell.hub.repos["me/sudoku-diffpo"]
    assert files["model.safetensors"] == weights  # it was not trained any further
    assert "me/sudoku-diffpo" in files["README.md"].decode() and "tokenizer.json" in files
    text = shell(load).strip().splitlines()[-1]
    assert is_solution(".4....42.3.....1=".removesuffix("="), text)


def test_the_first_and_the_last_command_differ_in_the_push():
    train, push = BLOCKS[0], BLOCKS[-2]
    assert push.startswith(train.rstrip()) and "--push_to_hub" in push.removeprefix(train.rstrip())
