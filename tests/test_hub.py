# SPDX-License-Identifier: Apache-2.0
"""What is pushed to the Hub is found there by somebody who knows its id, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from .fake_hub import FakeHub
from .families import write_checkpoint


def run(hub, tmp_path, *arguments):
    result = subprocess.run(
        [sys.executable, "-m", "tests.hub_worker", str(tmp_path / "result.json"), *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        timeout=240,
        env=os.environ
        | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / f"home-{arguments[0]}"),
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert "secret" not in result.stdout + result.stderr
    return json.loads((tmp_path / "result.json").read_text())


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "how"), [("llada", "full"), ("dream", "full head"), ("a2d-qwen3", "lora"), ("llada", "lora head")]
)
def test_what_is_pushed_writes_the_same_where_it_is_loaded(tmp_path, tokenizer, family, how):
    with FakeHub() as hub:
        write_checkpoint(family, tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        base = str(tmp_path / "base")
        if "lora" in how:  # an adapter names its base model: that one must be found, too
            hub.repos["user/base"] = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
            base = "user/base"
        pushed = run(hub, tmp_path, "push", base, "user/trained", str(tmp_path / "out"), how)
        files = hub.repos["user/trained"]
        assert {"README.md", "generation_config.json", "tokenizer.json"} <= files.keys()
        assert ("adapter_model.safetensors" in files) == ("lora" in how) != ("model.safetensors" in files)
        assert [name for name, content in files.items() if b"secret" in content] == []
        loaded = run(hub, tmp_path, "load", "user/trained")
    assert loaded[0] == pushed[0] and loaded[2] == pushed[2]
    for ours, theirs in zip(loaded[1], pushed[1]):
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert loaded[3] == pytest.approx(pushed[3]) and len(loaded[3]) == (4 if "head" in how else 0)

    card = ModelCard(files["README.md"].decode())
    assert {"diffpo", "trl", "trl-diffusion", "masked-diffusion"} <= set(card.data.tags)
    assert card.data.datasets == "user/data"
    assert card.data.base_model == ("user/base" if "lora" in how else None)
    assert 'from_pretrained("user/trained"' in card.text and "2510.02212" in card.text
    assert "| threshold | learned, greedy |" in card.text if "head" in how else "| threshold | 1.5 |" in card.text
    assert "| step | reward | nfe | tokens per step |" in card.text
    settings = json.loads(files["generation_config.json"])["diffusion"]
    assert (settings["block_length"], settings["max_new_tokens"], settings["eos_token_ids"]) == (4, 8, [0])
