# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion generate` and `chat`: in a pipe, in a terminal, in a conversation."""

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_diffusion import DiffusionGenerationConfig, embedded
from trl_diffusion.cli import chat
from trl_diffusion.cli.conversation import Speaker
from trl_diffusion.tasks.sudoku import is_solution
from trl_diffusion.visualization.canvas import MASK

from .command_line import MODEL, PUZZLE, run


def test_generate(capsys):
    words = ("generate", *MODEL, "--prompt", PUZZLE, "--temperature", 0)
    assert run(*words) == 0
    text = capsys.readouterr().out.strip()
    assert is_solution(PUZZLE[:-1], text)
    assert run(*words, "--num_samples", 3) == 0
    assert capsys.readouterr().out.split() == [text] * 3
    assert run(*words[:-2], "--num_samples", 8, "--seed", 1) == 0
    assert len(set(capsys.readouterr().out.split())) > 1


def test_a_prompt_from_a_pipe_and_options_from_a_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "options.yaml").write_text("model_name_or_path: embedded/sudoku\ntemperature: 1.0\ndevice: cpu\n")
    (tmp_path / "prompt").write_text(PUZZLE + "\n")
    with (tmp_path / "prompt").open() as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert run("generate", "--config", tmp_path / "options.yaml", "--temperature", 0) == 0
    assert is_solution(PUZZLE[:-1], capsys.readouterr().out.strip())


def test_the_canvas_fills_in_before_ones_eyes():
    """In a real terminal: masks first, which become fewer, and colours."""
    command = [
        Path(sys.executable).parent / "trl-diffusion",
        "generate",
        *MODEL,
        "--prompt",
        PUZZLE,
        "--temperature",
        "0",
    ]
    leader, follower = pty.openpty()
    environment = os.environ | {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "COLUMNS": "80",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("CI", None)
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
    os.close(follower)
    shown = b""
    while True:
        if select.select([leader], [], [], 120)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # its other end is closed
                break
            if not part:
                break
            shown += part
        else:
            process.kill()
            pytest.fail("nothing happens")
    os.close(leader)
    assert process.wait(60) == 0
    text = shown.decode()
    assert re.search(r";48;2;\d+;\d+;\d+m\d", text)  # a digit on a colour of its own
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    frames = [line for line in re.split(r"[\r\n]+", plain) if line and "tokens in" not in line]
    masks = [frame.count(MASK) for frame in frames]
    assert len(masks) > 1 and masks[0] > 0 and masks[-1] == 0 and masks == sorted(masks, reverse=True)
    assert is_solution(PUZZLE[:-1], frames[-1].strip())
    # Digits keep their colours: of each place, in the order of the frames.
    lines = re.split(r"[\r\n]+", text)
    coloured = [Text.from_ansi(line) for line in lines if ";48;2;" in line and "tokens in" not in line]
    colours = [
        {span.start: span.style.bgcolor.name for span in frame.spans if frame.plain[span.start].isdigit()}
        for frame in coloured
    ]
    assert len(colours) > 1 and len(set(colours[-1].values())) > 1
    assert all(earlier.items() <= colours[-1].items() for earlier in colours)


class Parrot:
    """Answers with the number of messages, and refuses long ones."""

    def __init__(self):
        from trl_diffusion import DiffusionGenerationConfig

        self.sampler = type("Sampler", (), {"config": DiffusionGenerationConfig()})()

    def configure(self, config):
        self.sampler.config = config

    def say(self, messages, seed):
        if len(messages if isinstance(messages, str) else messages[-1]["content"]) > 20:
            raise ValueError("Too long.")
        return [str(len(messages))]


# What is typed, and what is then the case.
SETTINGS = {
    "/set stop_at_eos no": "stop_at_eos False",
    "/set stop_at_eos yes": "stop_at_eos True",
    "/set stop_at_eos perhaps": "perhaps",
    "/set temperature 0": "temperature 0.0",
    "/set temperature none": "`temperature` must be float, got None",
    "/set eos_token_ids 3": "There is no setting 'eos_token_ids'",
}


def test_a_conversation(capsys):
    said = iter(["hello", "", "x" * 30, "again", "/set entropy_bound 0.5", "/set entropy_bound -1", "/set nothing 1"])
    more = iter(["/set top_k many", *SETTINGS, "/set top_k 5", "/set top_k None", "/show", "/clear", "anew", "/what"])
    lines = [*said, *more]

    def read(prompt):
        if not lines:
            raise EOFError
        return lines.pop(0)

    parrot = Parrot()
    messages = chat.converse(parrot, "be brief", 0, read)
    assert messages == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "anew"},
        {"role": "assistant", "content": "2"},
    ]
    out = capsys.readouterr().out
    config = parrot.sampler.config
    assert config.entropy_bound == 0.5 and "threshold 0.5" in out
    assert (config.stop_at_eos, config.top_k, config.eos_token_ids) == (True, None, ())
    for part in (
        "Too long. /clear begins",
        "/clear     ",
        "`entropy_bound`",
        "There is no setting 'nothing'",
        "invalid int",
        "/exit",
    ):
        assert part in out, part
    for part in (*SETTINGS.values(), "top_k 5\ntop_k None\n"):
        assert part in out, part


def test_a_conversation_with_a_model_that_has_no_template(capsys, monkeypatch):
    """As the embedded models, with which to try it: each line is a prompt."""
    lines = ["/set temperature 0", PUZZLE, PUZZLE]

    def read(prompt):
        if not lines:
            raise EOFError
        return lines.pop(0)

    monkeypatch.setattr("builtins.input", read)
    assert run("chat", *MODEL) == 0
    out = capsys.readouterr().out
    assert "has no chat template" in out
    *_, first, second = out.split()
    assert first == second and is_solution(PUZZLE[:-1], first)


def test_a_model_without_a_template_has_no_conversation_to_clear(capsys):
    lines = ["x" * 30, "/what", "/clear", "1"]

    def read(prompt):
        if not lines:
            raise EOFError
        return lines.pop(0)

    assert len(chat.converse(Parrot(), None, 0, read, raw=True)) == 2
    out = capsys.readouterr().out
    assert out.startswith("Too long.\n") and "/clear" not in out and out.count("/exit") == 2
    assert "/clear" not in chat.commands(raw=True) and "/clear" in chat.commands(raw=False)


def test_plain_text_moves_no_cursor_in_a_terminal_and_is_whole_in_a_pipe(monkeypatch, capsys):
    """Of a model that has written a sequence of control, and turned the line around."""
    path = embedded.path("sudoku")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    speaker = Speaker(model, tokenizer, DiffusionGenerationConfig(max_new_tokens=4, block_length=4), plain=True)
    text = "a\x1b[2J\u202eb\tc\n"
    monkeypatch.setattr(tokenizer, "batch_decode", lambda *args, **options: [text])
    printed = {}
    for terminal in (True, False):
        speaker.console = Console(force_terminal=terminal)
        speaker.say("1=", 0)
        printed[terminal] = capsys.readouterr().out
    assert printed == {True: "a\ufffd[2J\ufffdb\tc\n\n", False: text + "\n"}
