# SPDX-License-Identifier: Apache-2.0
"""The commands of the docs: each names what there is. Those of the first steps are run by test_first_steps.py."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from trl_diffusion.cli.completion import words_for
from trl_diffusion.cli.main import COMMANDS
from trl_diffusion.cli.train_options import method_names
from trl_diffusion.scripts.options import options_of

from .test_docs import PAGES, ROOT


OTHERS = ("pip", "git", "cd", ".", "source", "mkdir", "hf", "sbatch", "python -", "cat")  # not ours
HERE_DOCUMENT = re.compile(r"^([^\n]*<<'END')\n.*?^END$", re.MULTILINE | re.DOTALL)


def commands():
    """Page and words of every command, in blocks and in indented lines."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```(?:bash|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        blocks += re.findall(r"^    ((?:python|trl-diffusion|make|accelerate) .*)$", text, flags=re.MULTILINE)
        for block in blocks:
            block = HERE_DOCUMENT.sub(r"\1", block.replace("\\\n", " "))
            for line in block.splitlines():
                for command in line.removeprefix("$ ").split(" && "):
                    if words := shlex.split(command, comments=True):
                        yield page, words


def options_in(words):
    return {word.split("=")[0] for word in words if word.startswith("--")}


def check_ours(name, *words):
    assert name in COMMANDS, name
    known = set(words_for(name))
    if name == "train":
        assert words[0] in method_names(), words[0]
        known |= {*options_of(launch_command_parser()), "--accelerate_config"}
    assert options_in(words) <= known


def check_module(name, *words):
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    folders = spec.submodule_search_locations or [Path(spec.origin).parent]
    sources = "".join(path.read_text() for folder in folders for path in Path(folder).glob("*.py"))
    if name != "trl_diffusion.scripts.lm_eval":  # the harness's own options
        assert all(f'"{option}"' in sources for option in options_in(words)), words


def check_target(*words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert words[0] in targets, words


def check_launch(*words):
    args = launch_command_parser().parse_args(["0" if word.startswith("$") else word for word in words])
    assert args.config_file is None or (ROOT / args.config_file).is_file()
    assert args.module or (ROOT / args.training_script).is_file(), args.training_script


@pytest.mark.parametrize(
    "page, words", [pytest.param(*c, id=f"{c[0].stem}-{' '.join(c[1])[:60]}") for c in commands()]
)
def test_a_command_names_what_there_is(page, words):
    if words[0] == "trl-diffusion":
        check_ours(*words[1:])
    elif words[:2] == ["python", "-m"]:
        check_module(*words[2:])
    elif words[0] == "make":
        check_target(*words[1:])
    elif words[:2] == ["accelerate", "launch"]:
        check_launch(*words[2:])
    else:
        assert words[0] in OTHERS or " ".join(words[:2]) in OTHERS, f"{page.name}: what is {' '.join(words)}?"


def test_a_command_that_names_nothing_is_found():
    for check, words in (
        (check_ours, ["evaluate"]),
        (check_ours, ["eval", "--temprature", "0"]),
        (check_ours, ["train", "ppo"]),
        (check_module, ["benchmarks.nothing"]),
        (check_module, ["benchmarks.speed", "--nothing"]),
        (check_target, ["nothing"]),
    ):
        with pytest.raises(AssertionError):
            check(*words)
