# SPDX-License-Identifier: Apache-2.0
"""What docs/security.md promises."""

import ast
import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import trl_diffusion


PACKAGE = Path(trl_diffusion.__file__).parent
# What runs, evaluates or unpickles something: names, and those of modules.
DANGEROUS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}
DANGEROUS_MODULES = {"subprocess", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal", "shelve", "dill"}


@pytest.fixture
def pickled(tmp_path, model_path, tokenizer):
    folder = tmp_path / "pickled"
    model = AutoModelForCausalLM.from_pretrained(model_path)
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_refused(build, pickled):
    with pytest.raises(OSError, match="safetensors"):
        AutoModelForCausalLM.from_pretrained(pickled)
    with pytest.raises(OSError, match="safetensors"):
        build("diffpo", model=str(pickled))


def test_pickled_weights_can_be_asked_for(build, pickled, model_path):
    trainer = build("diffpo", model=str(pickled), model_init_kwargs={"use_safetensors": False})
    expected = AutoModelForCausalLM.from_pretrained(model_path).state_dict()
    for name, values in trainer.model.state_dict().items():
        torch.testing.assert_close(values, expected[name])


def test_the_token_is_written_nowhere(build, tmp_path, caplog, capfd):
    token = "hf_" + "verysecret" * 3
    with caplog.at_level(logging.DEBUG):
        trainer = build("diffpo", hub_token=token, hub_model_id="me/model", save_strategy="steps", save_steps=1)
        trainer.train()
        trainer.save_model()
        trainer.create_model_card()
        print(trainer.args)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"training_args.bin", "README.md", "optimizer.pt"} <= {path.name for path in files}
    for path in files:
        assert token.encode() not in path.read_bytes(), path
    out, err = capfd.readouterr()
    assert token not in out + err + caplog.text


def dangerous(source):
    """Calls of what is dangerous, by whatever name it was imported."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    calls = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    full = [".".join([names.get(first, first), *rest]) for first, *rest in (call.split(".") for call in calls)]
    return [
        call
        for call in full
        if call in DANGEROUS or any(call == m or call.startswith(f"{m}.") for m in DANGEROUS_MODULES)
    ]


def test_nothing_is_evaluated_or_unpickled():
    for path in PACKAGE.rglob("*.py"):
        assert not dangerous(path.read_text()), path


def test_the_search_finds_what_it_looks_for():
    source = "import os, subprocess as s\nfrom pickle import loads as l\neval(x)\nl(y)\nos.system(z)\ns.run(a)"
    assert dangerous(source) == ["eval", "pickle.loads", "os.system", "subprocess.run"]
    assert not dangerous("model.eval()\njson.loads(x)\ntorch.compile(y)\nre.compile(z)")
