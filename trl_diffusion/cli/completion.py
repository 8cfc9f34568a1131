# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion completion`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .main import COMMANDS
from .parsing import options_of


DESCRIPTION = """usage: trl-diffusion completion bash|zsh

Prints a script that completes commands, methods, tasks and options. In ~/.bashrc or ~/.zshrc:

    eval "$(trl-diffusion completion bash)"
"""
_SCRIPT = """{prelude}_trl_diffusion() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    case "$before" in
        trl-diffusion) words="{commands}" ;;
        train) words="{methods}" ;;
        --task) words="{tasks}" ;;
        --accelerate_config) words="{configurations}" ;;
        *)
            case "${{COMP_WORDS[1]}}" in
{cases}
            esac ;;
    esac
    # An option's value may be a file: that is left to the shell.
    if [[ "$word" == -* || "$before" != --* || "$before" == --task || "$before" == --accelerate_config ]]
    then COMPREPLY=($(compgen -W "$words" -- "$word")); fi
}}
complete -o default -F _trl_diffusion trl-diffusion
"""


def script(shell: str) -> str:
    """The script, for `"bash"` or `"zsh"`."""
    from ..scripts import check
    from ..tasks import TASKS
    from . import chat, evaluate, frontier, generate, report, score, train

    kinds = train.methods()
    options = {
        option: None for name, (config, _) in kinds.items() for option in options_of(train.parser_of(name, config))
    }
    commands = {"eval": evaluate, "frontier": frontier, "score": score, "report": report}
    commands |= {"generate": generate, "chat": chat}
    lists = {name: options_of(module.make()) for name, module in commands.items()}
    lists |= {
        "train": [*options, "--accelerate_config", "--num_processes"],
        "inspect": options_of(check.make_parser()),
    }
    return _SCRIPT.format(
        prelude="autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        commands=" ".join(COMMANDS),
        methods=" ".join(kinds),
        tasks=" ".join(TASKS),
        configurations=" ".join(train.configurations()),
        cases="\n".join(
            f'                {name}) words="{" ".join([*words, "--config"])}" ;;' for name, words in lists.items()
        ),
    )


def run(words: Sequence[str]) -> int:
    if list(words) not in (["bash"], ["zsh"]):
        print(DESCRIPTION, file=sys.stdout if "--help" in words else sys.stderr)
        return 0 if "--help" in words else 2
    print(script(words[0]))
    return 0
