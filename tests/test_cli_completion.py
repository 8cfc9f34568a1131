# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion completion`."""

import shutil
import subprocess

import pytest

from trl_diffusion.cli.completion import words_for
from trl_diffusion.cli.main import COMMANDS
from trl_diffusion.cli.train_options import method_names, methods

from .command_line import run


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion(capsys, tmp_path):
    assert run("completion", "bash") == 0
    script = capsys.readouterr().out
    # The shell would start the command, which takes seconds each time: its answers are prepared.
    for what in ("train", "eval", "tasks"):
        assert run("completion", "words", what) == 0
        (tmp_path / f"completion-words-{what}").write_text(capsys.readouterr().out)
    script += f'\ntrl-diffusion() {{ cat "{tmp_path}/$1-$2-$3"; }}'

    def complete(*lines):
        commands = [script]
        for words in map(str.split, lines):
            commands.append(f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; COMPREPLY=()")
            commands.append('_trl_diffusion; echo "${COMPREPLY[@]}"')
        result = subprocess.run(["bash", "-c", "\n".join(commands)], capture_output=True, text=True, check=True)
        return [line.split() for line in result.stdout.splitlines()]

    assert complete(
        "trl-diffusion tr",
        "trl-diffusion train diff",
        "trl-diffusion train dmpo --accelerate_config fs",
        "trl-diffusion eval --output_file x",  # the shell's files
    ) == [["train"], ["diffpo", "diffu_grpo"], ["fsdp2"], []]
    options, more, nothing, tasks = complete(
        "trl-diffusion train diffpo --learning_r",
        "trl-diffusion train diffpo --num_processes 2 --importance_sampling_clip",
        "trl-diffusion train diffpo --truncated",
        "trl-diffusion eval --task gsm",
    )
    assert "--learning_rate" in options and "--importance_sampling_clip_max" in more and not nothing
    assert "gsm8k" in tasks
    assert run("completion", "zsh") == 0
    assert "bashcompinit" in capsys.readouterr().out


def test_what_completes_is_what_there_is():
    assert set(method_names()) == set(methods())
    for command in COMMANDS:
        options = words_for(command)
        assert ("--config" in options) == (
            command in ("eval", "frontier", "score", "report", "generate", "chat", "train")
        )
    assert {"--temperature", "--num_samples", "--task"} <= set(words_for("eval"))
    assert {"--lora_r", "--json"} <= set(words_for("inspect")) and words_for("nothing") == []
