# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion completion`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from ..scripts.options import UsageError, options_of
from .launching import configurations
from .main import COMMANDS
from .train_options import method_names


DESCRIPTION = """usage: trl-diffusion completion bash|zsh

Prints a script that completes commands, methods, tasks and options. In
~/.bashrc or ~/.zshrc:

    eval "$(trl-diffusion completion bash)"

Options are asked for when they are first needed, which takes seconds, once
for each command."""

# A shell starts with this script, so that making it may not take seconds. What does, `_trl_diffusion_ask` gets later.
_SCRIPT = """{prelude}_trl_diffusion_ask() {{
    if [[ "$_trl_diffusion_asked" != "$2" ]]; then
        _trl_diffusion_words="$("$1" completion words "$2" 2>/dev/null)"
        _trl_diffusion_asked="$2"
    fi
    words="$_trl_diffusion_words"
}}
_trl_diffusion() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [[ "$COMP_CWORD" == 1 ]]; then words="{commands}"
    elif [[ "$COMP_CWORD" == 2 && "$before" == train ]]; then words="{methods}"
    elif [[ "$before" == --accelerate_config ]]; then words="{configurations}"
    elif [[ "$before" == --task ]]; then _trl_diffusion_ask "${{COMP_WORDS[0]}}" tasks
    # An option's value may be a file: that is left to the shell.
    elif [[ "$word" == -* ]]; then _trl_diffusion_ask "${{COMP_WORDS[0]}}" "${{COMP_WORDS[1]}}"; fi
    if [[ -n "$words" ]]; then COMPREPLY=($(compgen -W "$words" -- "$word")); fi
}}
complete -o default -F _trl_diffusion trl-diffusion
"""


def script(shell: str) -> str:
    """The script, for `"bash"` or `"zsh"`."""
    return _SCRIPT.format(
        prelude="autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "",
        commands=" ".join(COMMANDS),
        methods=" ".join(method_names()),
        configurations=" ".join(configurations()),
    )


def words_for(what: str) -> list[str]:
    """The tasks, or the options of a command: of `train`, those of all methods."""
    if what == "tasks":
        from ..tasks import TASKS

        return list(TASKS)
    if what == "train":
        from .train_options import methods, parser_of

        kinds = methods().items()
        options = {option: None for name, (kind, _) in kinds for option in options_of(parser_of(name, kind))}
        return [*options, "--accelerate_config", "--num_processes"]
    module = importlib.import_module(f".{COMMANDS[what][0]}", __package__) if what in COMMANDS else None
    return options_of(module.make()) if module is not None and hasattr(module, "make") else []


def run(words: Sequence[str]) -> int:
    if list(words) in (["bash"], ["zsh"]):
        print(script(words[0]))
    elif len(words) == 2 and words[0] == "words":  # for the script
        print(" ".join(words_for(words[1])))
    else:
        if list(words) not in (["-h"], ["--help"]):
            raise UsageError(f"`completion` takes one shell, bash or zsh, got {' '.join(words) or 'none'}.")
        print(DESCRIPTION)
    return 0
