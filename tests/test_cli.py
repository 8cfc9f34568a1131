# SPDX-License-Identifier: Apache-2.0
"""The command `trl-diffusion`, as one types it."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch
from rich.text import Text

from trl_diffusion import embedded
from trl_diffusion.cli import chat, run_record, train, train_checks, train_options
from trl_diffusion.cli.arguments import TaskArguments, load_problems
from trl_diffusion.cli.completion import words_for
from trl_diffusion.cli.main import COMMANDS, main
from trl_diffusion.cli.parsing import parse
from trl_diffusion.cli.train_options import TrainArguments, method_names, methods
from trl_diffusion.evaluation import load_generations, load_sweep
from trl_diffusion.tasks.sudoku import is_solution
from trl_diffusion.trainer import DiffusionGRPOConfig
from trl_diffusion.visualization.canvas import MASK


MODEL = ("--model_name_or_path", "embedded/sudoku", "--device", "cpu")
PUZZLE = ".4....42.3.....1="


def run(*words):
    """The exit code, also that of the parser."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("words", [(), ("--help",), ("nothing",)], ids=str)
def test_what_there_is(capsys, words):
    assert run(*words) == (0 if words == ("--help",) else 2)
    out, err = capsys.readouterr()
    assert all(name in out + err for name in COMMANDS)


@pytest.mark.parametrize(
    "words, message",
    [
        ("trian", "trian (did you mean train?)"),
        ("train", "diffpo"),
        ("train diffpo --learning_rate much", "--learning_rate"),
        ("train diffpo --learning_rat 1", "did you mean --learning_rate?"),
        ("eval --task sudoku", "--model_name_or_path"),
        ("inspect", "required: MODEL"),
        ("generate --num_samples some", "error: argument --num_samples: invalid int value: 'some'"),
        ("eval --unmasking best", "invalid choice: 'best' (choose from 'entropy_bound', 'confidence_threshold', 'low"),
        ("train agrpo --unmasking best", "'random', 'left_to_right')"),
        ("train diffpo --regime both", "--regime: invalid choice: 'both' (choose from 'model', 'sampler', 'joint')"),
        ("train diffpo --threshold_head=fine", "(choose from 'grid', 'continuous')"),
        ("train dmpo --weight_baseline mean", "(choose from 'none', 'group', 'negative', 'model')"),
        ("eval --approximate_cache full", "(choose from 'prefix', 'dual')"),
        ("eval --split validation", "(choose from 'train', 'test')"),
        ("train diffpo --use_vlm true", "unrecognised: --use_vlm"),
        ("train --task sudoku", "needs a method, before its options: one of agrpo, "),
        ("eval --modle_name_or_path x --task sudoku", "--modle_name_or_path (did you mean --model_name_or_path?)"),
        ("inspect embedded/sudoku --batch_siz 4", "did you mean --batch_size?"),
    ],
)
def test_a_typo_is_answered_in_one_line(capsys, words, message):
    assert run(*words.split()) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.splitlines()) == 1
    assert message.replace("'", "") in err.replace("'", "")  # newer Pythons do not quote choices


@pytest.mark.parametrize("command", [*COMMANDS, "train diffpo"])
def test_every_command_explains_itself(capsys, command):
    assert run(*command.split(), "--help") == 0
    out = capsys.readouterr().out
    assert f"trl-diffusion {command}" in out and len(out.splitlines()) > 2


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", ["--help", *(f"{command} --help" for command in [*COMMANDS, "train diffpo"])])
def test_help_fits_the_terminal(capsys, monkeypatch, command, width):
    """A usage line that one can read, and no line that the terminal would break."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(*command.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: trl-diffusion") and lines.index("") <= 3 and len(lines) < 250
    assert not [line for line in lines if len(line) > width]


@pytest.mark.parametrize(
    "command", ["eval", "frontier", "generate", "chat", "score", "report", "inspect", "train diffpo"]
)
def test_help_is_made_for_reading(capsys, command):
    """Examples, groups, one spelling of each option, and every option described."""
    run(*command.split(), "--help")
    out = capsys.readouterr().out
    assert f"examples:\n    trl-diffusion {command} " in out
    assert len(re.findall(r"^\S.*:$", out, re.M)) > 2 and not re.search(r"--\w+-\w", out)
    lines = out.splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("  -")]
    assert len(options) > 5
    assert all(re.search(r"\S  +\S", lines[i]) or lines[i + 1].startswith(" " * 30) for i in options)


def test_help_says_the_defaults(capsys):
    run("eval", "--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "--batch_size INT Answers that are decoded, and then kept, at a time. (default: 64)" in out
    assert "as in [brackets]" in out and "0 is greedy. [0.0]" in out and "in tokens. [the task's]" in out
    run("generate", "--help")
    assert "0 is greedy. [1.0]" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("method", method_names())
def test_help_of_a_method_has_what_the_method_takes(capsys, method):
    """In short its own options, the sampler's and the usual ones; the others on demand; nothing that it refuses."""
    shown = {}
    for option in ("--help", "--help_all"):
        assert run("train", method, option) == 0
        shown[option] = capsys.readouterr().out
    short, full = (set(re.findall(r"^  --(\w+)", text, re.M)) for text in shown.values())
    config = methods()[method][0]
    refused = set(config.refused())
    if "unmasking" in refused:
        refused |= {"entropy_bound", "confidence_threshold"}  # which only some rules read
    usual = {*train_options.MODEL, *train_options.TRAINING, *train_options.LOSS, *train_options.LOGGING}
    own = {*config.__annotations__, *DiffusionGRPOConfig.__annotations__, *train_options.ROLLOUTS}
    own = {name for name in own if not name.startswith("_")}
    assert short - {"config", "help_all"} == (own | usual | set(TrainArguments.__annotations__)) - refused
    assert short < full and {"adam_beta1", "use_dora", "hub_token"} <= full - short
    assert not full & refused and not any(name.startswith("vllm") for name in full)
    hidden = int(re.search(r"--help_all` also shows [^,]*, (\d+) options", " ".join(shown["--help"].split()))[1])
    assert hidden == len(full - short) and "--help_all`" not in shown["--help_all"]


@pytest.mark.parametrize(
    "words, code",
    [
        ("--help", 0),
        ("nothing", 2),
        ("completion bash", 0),
        ("env --help", 0),
        ("train --help", 0),
        ("train difpo", 2),
        ("eval --help", 0),
        ("frontier --models x", 2),
        ("score --help", 0),
        ("inspect --help", 0),
        ("inspect", 2),
        ("generate --prompt 1", 2),
    ],
)
def test_what_computes_nothing_loads_nothing(words, code):
    """PyTorch and transformers take seconds, which nobody waits for to read a line of help."""
    program = (
        f"import sys; sys.argv = {['trl-diffusion', *words.split()]}\n"
        "from trl_diffusion.cli.main import main\n"
        "try: code = main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "loaded = {'torch', 'transformers', 'datasets', 'accelerate', 'peft'} & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else f'code {code}' if code != " + str(code) + " else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]


def test_a_process_of_its_own(tmp_path):
    """Where nothing is imported yet: a command knows the models, as does the user's code; libraries keep quiet."""
    (tmp_path / "mine.py").write_text(
        "from transformers import AutoConfig\n\nprint(type(AutoConfig.for_model('llada')).__name__)\n"
        "def reward(completions, **kwargs):\n    return [0.0] * len(completions)\n"
    )
    words = [str(word) for word in TRAIN if word != "--use_cpu"]
    commands = [
        ["score", "--generations", "x.jsonl", "--reward", "mine:reward"],
        ["inspect", "embedded/sudoku"],
        [*words, "--output_dir", "out", "--max_steps", "1", "--disable_tqdm", "true", "--regime", "joint"],
        ["report", "--output_dir", "out", "--output_file", "report.html"],
    ]
    program = f"from trl_diffusion.cli.main import main\nprint('codes', *[main(words) for words in {commands}])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=200)
    lines = result.stdout.splitlines()
    assert lines[0] == "LLaDAConfig" and lines[-1] == "codes 1 0 0 0", result.stderr[-2000:]
    first, *others = result.stderr.splitlines()
    assert "x.jsonl does not exist" in first
    chatter = ("Loading weights", "Writing model shards", "kernels-community", "LOAD REPORT", "Setting accelerator")
    for noise in (*chatter, "pin_memory"):
        assert noise not in result.stderr + result.stdout, others


@pytest.mark.parametrize(
    "words, code, message",
    [
        (("generate", "--prompt", "1"), 2, "required: --model_name_or_path"),
        (("generate", *MODEL, "--prompt", "1", "--temprature", "0"), 2, "--temprature (did you mean --temperature?)"),
        (("generate", *MODEL, "--prompt", "1" * 60), 1, "more than the 64 positions"),
        (("generate", *MODEL, "--prompt", "1", "--num_samples", "0"), 1, "`--num_samples` must be at least 1"),
        (("generate", "--model_name_or_path", "embedded/chess", "--prompt", "1"), 1, "no embedded model for 'chess'"),
        (("generate", *MODEL, "--prompt", ""), 1, "`--prompt` is empty"),
        (("generate", *MODEL, "--prompt", "1", "--device", "gpu"), 1, "`--device gpu` cannot be used"),
        (("generate", *MODEL, "--prompt", "1", "--dtype", "half a byte"), 2, "--dtype: invalid choice: 'half a byte'"),
        (("generate", *MODEL, "--prompt", "1", "--config"), 1, "`--config` needs a value"),
        (("generate", "--model_name_or_path", "/nope/x", "--prompt", "1"), 1, "The folder '/nope/x' does not exist"),
        (("train", "diffpo", "--model_name_or_path", "nope/", "--task", "sudoku"), 1, "The folder 'nope/' does not"),
        (("chat", *MODEL, "--system", "be brief"), 1, "`--system` needs a chat template"),
        (("eval", *MODEL, "--task", "sudoku", "--size", "0"), 1, "`--size` must be at least 1, got 0"),
        (("eval", *MODEL, "--task", "sudoku", "--size", "-3"), 1, "`--size` must be at least 1, got -3"),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--train_size", "0"),
            1,
            "`--train_size` must be at least",
        ),
        (
            ("eval", *MODEL, "--task", "gsm8k"),
            1,
            "embedded models read prompts of the style 'compact', which the task",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "gsm8k"), 1, "prompts of the style 'compact', which"),
        (
            ("eval", *MODEL, "--task", "sudoku", "--task_options", '{"shot": 1}'),
            1,
            "'shot'; those of the task 'sudoku'",
        ),
        (("eval", *MODEL, "--task", "sudoku", "--task_options", '{"style": "boxed"}'), 1, "has 'style'"),
        (
            ("eval", *MODEL, "--task", "sudoku", "--task_options", '{"clues": "x"}'),
            1,
            "`clues=x` must be a smallest and a largest number",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--task_options", "["), 1, "must be a JSON object"),
        (("eval", *MODEL, "--task", "chess"), 2, "There is no task 'chess'; tasks are"),
        (("eval", *MODEL, "--task", "sodoku"), 2, "There is no task 'sodoku' (did you mean sudoku?)"),
        (("train", "diffpo", *MODEL[:2], "--task", "sodoku"), 2, "(did you mean sudoku?)"),
        (
            ("eval", *MODEL, "--task", "sudoku", "--confidence_threshold", "0.3"),
            1,
            "`--confidence_threshold` has no effect under `unmasking=entropy_bound`; add `--unmasking confid",
        ),
        (
            ("generate", *MODEL, "--prompt", "1", "--unmasking", "low_confidence", "--entropy_bound", "0.3"),
            1,
            "`--entropy_bound` has no effect under `unmasking=low_confidence`; add `--unmasking entropy_bound`",
        ),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--confidence_threshold=0.5"),
            1,
            "`--confidence_threshold` has no effect under",
        ),
        (
            ("train", "just_grpo", *MODEL[:2], "--task", "sudoku", "--entropy_bound", "0.5"),
            1,
            "`--entropy_bound` has no effect under `unmasking=left_to_right`; leave it out.",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--report_to", "wandb"), 1, "the package `wandb`: `pip"),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--report_to", "wand"),
            1,
            "`--report_to wand`: there is",
        ),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--num_generations", "7"),
            1,
            "`--num_generations 7` doe",
        ),
        (
            ("train", "diffpo", *MODEL[:2], "--dataset_name", "empty", "--reward", "json:dumps"),
            1,
            "`--dataset_name empty` cannot be read: StopIteration; is it empty?",
        ),
        (("eval", *MODEL, "--task", "sudoku", "--decoder_from", "nosuch"), 1, "`--decoder_from nosuch`: there is no"),
        (("eval", "--config", "nosuch.yaml"), 1, "`--config nosuch.yaml` does not exist"),
        (("eval", "--model_name_or_path", "empty", "--task", "sudoku"), 1, "`--model_name_or_path empty` is a folder"),
        (("eval", *MODEL, "--task", "sudoku", "--task_options", "4"), 1, "`--task_options` must be a JSON object"),
        (("score", "--generations", "nothing.jsonl", "--task", "sudoku"), 1, "nothing.jsonl does not exist"),
        (("score", "--generations", "nothing.jsonl"), 1, "Either `--task` or `--reward`"),
        (("score", "--generations", "x", "--reward", "json:nothing"), 1, "`--reward json:nothing` was not found"),
        (("train", "difpo"), 2, "did you mean diffpo?"),
        (("train", "diffpo", "--task", "sudoku"), 1, "`--model_name_or_path` says"),
        (("train", "diffpo", *MODEL[:2], "--learning_rat", "1"), 2, "--learning_rat (did you mean --learning_rate?)"),
        (("train", "diffpo", "--accelerate_config", "zero9"), 1, "none of fsdp2, multi_gpu"),
        (("train", "diffpo", *MODEL[:2]), 1, "Either `--task` or `--dataset_name`"),
        (("train", "diffpo", "--accelerate_config=zero9"), 1, "none of fsdp2, multi_gpu"),
        (("train", "diffpo", "--accelerate_config"), 1, "`--accelerate_config` needs a value"),
        (("score", "--generations", "x", "--reward", ":f"), 1, "must be 'module:function'"),
        (("train", "diffpo", *MODEL[:2], "--dataset_name", "x"), 1, "needs a `--reward`"),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--reward", "json:dumps", "--speed_bonus", "1"),
            1,
            "Wrap",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--speed_bonus", "-1"), 1, "`weight` must be positive"),
        (("env", "now"), 2, "takes no options"),
        (("completion", "fish"), 2, "bash|zsh"),
    ],
    ids=lambda value: None,
)
def test_mistakes_are_named_without_a_traceback(capsys, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: False)
    Path("empty").mkdir()
    Path("empty/train.jsonl").write_text("")
    if words[0] == "train" and len(words) > 2:
        words = (*words, "--output_dir", "out", "--use_cpu", "--bf16", "false")
    assert run(*words) == code
    err = capsys.readouterr().err
    assert message in " ".join(err.split()) and "Traceback" not in err
    if words[0] != "completion":
        assert sum(line.startswith("error: ") for line in err.splitlines()) == 1 and "DEBUG" not in err
        assert err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "text, code, message",
    [
        (b"prompt: [1\n b: }", 1, "is no YAML file: while parsing"),
        (b"\xff\xfe\x00", 1, "is no YAML file: 'utf-8' codec"),
        (b"[1, 2]", 1, "must contain a YAML mapping"),
        (b"prompt: 0123", 2, "`prompt` must be text, and is 83 in the file: put it in quotes"),
        (b"learned_threshold: off", 2, "`learned_threshold` must be text, and is False"),
        (b"num_samples: 2.5", 2, "invalid int value: '2.5'"),
        (b"unmasking: best", 2, "argument --unmasking: invalid choice: 'best' (choose from"),
        (b"top_k: [3]", 2, "invalid int value: '[3]'"),
    ],
)
@pytest.mark.parametrize("words", [("--config", "options.yaml"), ("--config=options.yaml",)], ids=len)
def test_files_of_options_that_are_wrong(capsys, tmp_path, monkeypatch, words, text, code, message):
    monkeypatch.chdir(tmp_path)
    Path("options.yaml").write_bytes(text)
    assert run("generate", *MODEL, *words) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_files_of_models_that_are_damaged(capsys, tmp_path):
    for name in ("model.safetensors", "tokenizer.json"):
        folder = tmp_path / name
        shutil.copytree(embedded.path("sudoku"), folder)
        (folder / name).write_bytes((folder / name).read_bytes()[:1000])
        assert run("generate", "--model_name_or_path", folder, "--prompt", "1", "--device", "cpu") == 1
        what = name.split(".")[0]
        assert f"error: The {what} of '{folder}' cannot be loaded: " in capsys.readouterr().err


def test_the_traceback_is_there_for_those_who_ask(monkeypatch):
    monkeypatch.setenv("TRL_DIFFUSION_DEBUG", "1")
    with pytest.raises(ValueError, match="There is no task"):
        run("eval", *MODEL, "--task", "chess")


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


def test_a_file_and_the_command_line_mean_the_same(tmp_path):
    """YAML reads `1e-1` as text, `1` as a whole number, and a list of one as what one wrote."""
    from trl_diffusion.cli import frontier

    words = ["--models", "one", "--task", "sudoku", "--output_file", "x", "--entropy_bounds", "1e-1", "1"]
    (tmp_path / "list.yaml").write_text("models: one\ntask: sudoku\noutput_file: x\nentropy_bounds: [1e-1, 1]\n")
    from_file, from_words = (
        parse(frontier.make(), line) for line in (["--config", str(tmp_path / "list.yaml")], words)
    )
    assert list(map(vars, from_file)) == list(map(vars, from_words))


def test_options_of_a_task(capsys, tmp_path):
    """From the command line, from a file, and in training."""
    file, options = tmp_path / "clues.jsonl", '{"clues": [9, 9], "leaky": true}'
    words = ("eval", *MODEL, "--task", "sudoku", "--size", 4, "--output_file", file)
    assert run(*words, "--task_options", options) == 0
    assert {16 - g.columns["puzzle"].count(".") for g in load_generations(file).samples} == {9}
    (tmp_path / "options.yaml").write_text(f"task_options: {options}\n")
    assert run(*words, "--config", tmp_path / "options.yaml") == 0  # the same, which are not made again
    capsys.readouterr()
    _, data = load_problems(TaskArguments("gsm8k", size=2, task_options='{"shots": 4, "source": "sample"}'), "x")
    assert len(data) == 2 and [len(prompt) for prompt in data["prompt"]] == [9, 9]  # four turns, and the question
    (tmp_path / "ones.py").write_text("def clues(puzzle, **kwargs):\n    return [16 - p.count('.') for p in puzzle]\n")
    own = ("--task_options", options, "--reward", "ones:clues", "--output_dir", tmp_path / "out", "--max_steps", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.syspath_prepend(tmp_path)
        assert run(*TRAIN, *own) == 0
    state = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["log_history"][0]["rewards/clues/mean"] == 9


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


def test_evaluate_score_and_compare(capsys, tmp_path):
    problems = ("--task", "sudoku", "--size", 20)
    for name, temperature in (("greedy", 0), ("sampled", 1)):
        file = tmp_path / f"{name}.jsonl"
        assert run("eval", *MODEL, *problems, "--temperature", temperature, "--output_file", file) == 0
    printed = capsys.readouterr().out
    assert "20 problems" in printed and "passes per answer" in printed
    files = ("score", "--generations", tmp_path / "sampled.jsonl", tmp_path / "greedy.jsonl", "--task", "sudoku")
    assert run(*files, "--allow_different_settings") == 0
    out = capsys.readouterr().out
    accuracies = re.findall(r"accuracy\s*│\s*([\d.]+) %", out)
    difference = re.search(r"accuracy\s*│\s*([+-][\d.]+) points", out)
    assert float(difference[1]) == pytest.approx(float(accuracies[1]) - float(accuracies[0]), abs=0.11)
    reward = "trl_diffusion.rewards:sudoku_reward"
    assert run("score", "--generations", tmp_path / "greedy.jsonl", "--reward", reward) == 0
    assert re.findall(r"accuracy\s*│\s*([\d.]+) %", capsys.readouterr().out) == accuracies[1:]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Of Sudokus."""
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 4, "--output_file", file) == 0
    return file


def test_a_reward_that_cannot_judge_these_answers(capsys, tmp_path, monkeypatch, answers):
    assert run("score", "--generations", answers, "--task", "gsm8k") == 1
    assert (
        f"{answers} has the columns 'puzzle', 'solution', and `--task gsm8k` needs 'answer'" in capsys.readouterr().err
    )
    page = ("report", "--output_file", tmp_path / "page.html", "--generations", answers)
    assert run(*page, "--task", "gsm8k", "--tokenizer", MODEL[1]) == 1
    assert "`--task gsm8k` needs 'answer'" in capsys.readouterr().err
    assert run(*page, "--max_samples", 0) == 1
    assert "`--max_samples` must be at least 1" in capsys.readouterr().err
    assert run(*page, "--tokenizer", tmp_path) == 1
    assert f"error: `--tokenizer {tmp_path}`: its tokenizer cannot be loaded" in capsys.readouterr().err
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 3, "--output_file", answers) == 1
    assert f"`--output_file {answers}` was made for 4 problems, here 3 (`--size`)" in capsys.readouterr().err
    assert run("eval", *MODEL, "--task", "sudoku", "--size", 4, "--output_file", answers, "--temperature", 0.5) == 1
    assert "error: `--output_file`: " in (err := capsys.readouterr().err) and "`path`" not in err
    empty = tmp_path / "empty.jsonl"
    empty.write_text(answers.read_text().splitlines()[0] + "\n")
    assert run("score", "--generations", empty, "--task", "sudoku") == 1
    assert "4 of 4 samples are missing" in capsys.readouterr().err


REWARDS = """
def short(completions, **kwargs):
    return [1.0]

def fails(completions, **kwargs):
    return [kwargs["nothing"]]

async def fails_later(completions, **kwargs):
    raise ValueError("not now")
"""


def test_rewards_that_fail(capsys, tmp_path, monkeypatch, answers):
    """They are named, and their traceback shown: it is the user's code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("wrong_rewards.py").write_text(REWARDS)
    Path("broken_rewards.py").write_text("def f(:\n")
    cases = {
        "wrong_rewards:short": "1 rewards for 4 completions, expected one for each. In the reward function `short`.",
        "wrong_rewards:fails": "error: `--reward wrong_rewards:fails` raised KeyError: 'nothing'",
        "wrong_rewards:fails_later": "error: `--reward wrong_rewards:fails_later` raised ValueError: not now",
        "broken_rewards:f": "error: `--reward broken_rewards:f`: its module raised SyntaxError",
    }
    for name, message in cases.items():
        assert run("score", "--generations", answers, "--reward", name) == 1
        err = capsys.readouterr().err
        assert message in err and ("Traceback" in err) == (name != "wrong_rewards:short")
        assert "imports.py" not in err or name.startswith("broken")
    assert 'return [kwargs["nothing"]]' in _error_of(
        capsys, "score", "--generations", answers, "--reward", list(cases)[1]
    )
    err = _error_of(capsys, *TRAIN, "--reward", "wrong_rewards:fails", "--output_dir", "out", "--max_steps", 1)
    assert "error: `--reward wrong_rewards:fails` raised KeyError" in err and 'return [kwargs["nothing"]]' in err


def _error_of(capsys, *words):
    assert run(*words) == 1
    return capsys.readouterr().err


def test_frontier(capsys, tmp_path):
    words = ("--task", "sudoku", "--size", 10, "--temperature", 0, "--output_file", tmp_path / "points.jsonl")
    grid = ("--entropy_bounds", 0.1, 1.0, "--confidence_thresholds", 0.9, "--tokens_per_step", 1)
    models = ("--models", "embedded/sudoku", "embedded/sudoku", "--names", "one", "two", "--device", "cpu")
    assert run("frontier", *models, *words, *grid, "--picture", tmp_path / "picture.png") == 0
    out = capsys.readouterr().out
    assert "one" in out and "two" in out and "entropy_bound" in out
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert set(load_sweep(tmp_path / "points.jsonl")) == {"one", "two"}
    assert run("frontier", *models[:-4], "one", "one", *words) == 1


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


TRAIN = (
    *("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--use_cpu", "--bf16", "false"),
    *("--max_completion_length", 20, "--block_length", 20, "--per_device_train_batch_size", 8, "--train_size", 20),
    *(
        "--gradient_checkpointing",
        "false",
        "--report_to",
        "none",
        "--save_steps",
        1,
        "--logging_steps",
        1,
        "--learning_rate",
        1e-4,
    ),
)


def test_train_and_go_on(tmp_path, capsys):
    folder = tmp_path / "out"
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 1) == 0
    assert (folder / "checkpoint-1").is_dir() and (folder / "model.safetensors").is_file()
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 2) == 0
    state = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [1, 2]
    words = ("generate", "--model_name_or_path", folder, "--prompt", PUZZLE, "--temperature", 0, "--device", "cpu")
    capsys.readouterr()
    assert run(*words) == 0  # with the settings of training, which the model carries
    assert len(capsys.readouterr().out.strip()) == 16


def test_another_run_is_not_continued(tmp_path, capsys):
    """Nor is anything written by one that has nothing to do, but for the model where it was not saved."""
    folder = tmp_path / "out"
    words = (*TRAIN, "--output_dir", folder)
    assert run(*words, "--max_steps", 1) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    capsys.readouterr()
    agrpo = ["agrpo" if word == "diffpo" else word for word in words]
    for command, difference in (
        (agrpo, "method 'diffpo', here 'agrpo'"),
        ((*words, "--learning_rate", 0.5, "--beta", 0.3), "learning_rate 0.0001, here 0.5, beta 0.0, here 0.3"),
        ((*words, "--task", "countdown"), "task 'sudoku', here 'countdown'"),
        ((*words, "--per_device_train_batch_size", 16), "per_device_train_batch_size 8, here 16"),
    ):
        assert run(*command, "--max_steps", 2) == 1
        err = capsys.readouterr().err
        assert f"`--output_dir {folder}` holds a run with" in err and difference in err and "delete it" in err
    free = ("--max_steps", 1, "--save_steps", 5, "--logging_steps", 3, "--dataloader_num_workers", 1)
    assert run(*words, *free) == 0
    assert "run is complete: 1 of 1 updates" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before

    (folder / "_run.json").write_text((folder / "_run.json").read_text().replace('"saved": 1', '"saved": null'))
    (folder / "model.safetensors").unlink()  # as if it had been killed after its last checkpoint
    assert run(*words, "--max_steps", 1) == 0
    assert (folder / "model.safetensors").read_bytes() == before["model.safetensors"]


def test_a_run_from_before_there_were_records(tmp_path, capsys):
    folder = tmp_path / "out"
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 1) == 0
    (folder / "_run.json").unlink()
    capsys.readouterr()
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 2) == 0
    assert "it is continued with the settings given here" in capsys.readouterr().err
    assert (folder / "checkpoint-2").is_dir() and (folder / "_run.json").is_file()
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 1) == 1
    assert "has made 2 updates already" in capsys.readouterr().err


def test_a_run_may_move_to_other_machines(tmp_path):
    """The same words for a task's options, and as many processes as there are."""

    def settings(processes=1, options='{"clues": [9, 9]}', **more):
        arguments = TrainArguments(task="sudoku", task_options=options)
        config = methods()["diffpo"][0]("x", use_cpu=True, num_generations=4, hub_token="secret", **more)
        return run_record.describe("diffpo", arguments, config, processes=processes)

    first = settings()
    assert "secret" not in json.dumps(first) and first == settings(options={"clues": [9, 9]}, dataloader_num_workers=2)
    run_record.write(tmp_path, first)
    run_record.check_same_run(tmp_path, settings(2, per_device_train_batch_size=4))
    with pytest.raises(ValueError, match="temperature"):
        run_record.check_same_run(tmp_path, settings(2, temperature=0.5))


def test_what_a_report_says_of_a_run(tmp_path, capsys):
    """Versions, and the settings that are not the defaults."""
    folder, page = tmp_path / "out", tmp_path / "page.html"
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 1, "--beta", 0.125) == 0
    record = run_record.read(folder)
    assert record["versions"]["torch"] == torch.__version__ and record["versions"]["device"]
    defaults = run_record.defaults("diffpo")
    assert defaults.keys() == record["settings"].keys() and defaults["beta"] == 0
    assert run("report", "--output_dir", folder, "--output_file", page) == 0
    text = page.read_text()
    assert "<dd>diffpo</dd>" in text and "<dd>embedded/sudoku</dd>" in text and torch.__version__ in text
    assert '<th scope="row">beta</th><td>0.125</td><td>0.0</td>' in text
    record["settings"]["method"] = "of another version"
    run_record.write(folder, record["settings"])
    assert run("report", "--output_dir", folder, "--output_file", page) == 0
    assert "of another version" in page.read_text() and "not the method" not in page.read_text()


def test_a_speed_bonus_pays_for_right_answers_alone():
    arguments = TrainArguments(task="sudoku", style="reasoning", train_size=1, speed_bonus=0.5)
    dataset, (accuracy, form) = train_checks.problems(arguments, "a-large-model", 10)
    grid, puzzle = dataset["solution"][0], dataset["puzzle"][0]
    texts = [f"<reasoning>so</reasoning><answer>{text}</answer>" for text in (grid, grid, "1" * 16)]
    batch = {"completions": [[{"role": "assistant", "content": text}] for text in texts], "puzzle": [puzzle] * 3}
    assert accuracy(**batch, nfe=[2, 10, 2]) == [pytest.approx(1.4), 1.0, 0.0]
    assert form(**batch, nfe=[2, 10, 2]) == [1.0, 1.0, 1.0]


def test_train_on_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text('{"prompt": ".4....42.3.....1="}\n' * 8)
    Path("my_rewards.py").write_text(
        "def ones(completions, **kwargs):\n    return [t.count('1') for t in completions]\n"
    )
    words = list(TRAIN)
    place = words.index("--task")
    words[place : place + 2] = ["--dataset_name", "data", "--reward", "my_rewards:ones"]
    del words[words.index("--train_size") : words.index("--train_size") + 2]
    try:
        assert run(*words, "--output_dir", "out", "--max_steps", 1) == 0
    finally:
        sys.path.remove(str(tmp_path))
    history = json.loads(Path("out/checkpoint-1/trainer_state.json").read_text())["log_history"]
    assert history[0]["rewards/ones/mean"] > 0


@pytest.mark.parametrize("engine", [("--accelerate_config", "zero2"), ("--accelerate_config=zero2",)], ids=len)
def test_what_is_not_the_trainers_goes_to_the_launcher(tmp_path, monkeypatch, engine):
    """And what is, to the processes: from the command line and from a file, which also may name the engine."""
    seen = []
    monkeypatch.setattr(launch, "launch_command", seen.append)
    (tmp_path / "recipe.yaml").write_text("learning_rate: 0.5\nnum_processes: 4\n")
    words = (*TRAIN, "--output_dir", tmp_path, *engine, "--config", tmp_path / "recipe.yaml")
    assert run(*words, "--main_process_port", 29123) == 0
    (args,) = seen
    assert args.config_file.endswith("accelerate_configs/zero2.yaml") and Path(args.config_file).is_file()
    assert (args.num_processes, args.main_process_port, args.module) == (4, 29123, True)
    assert args.training_script == "trl_diffusion.cli"
    own = args.training_script_args
    assert own[:2] == ["train", "diffpo"] and not {*engine, "29123"} & set(own)


def test_a_files_threshold_does_not_hinder_another_rule(tmp_path, monkeypatch, capsys):
    """It is of the rule of the file; but one that is typed with a rule that does not read it is refused."""
    trained = []
    monkeypatch.setattr(train, "_train", lambda *args: trained.append(args[3].unmasking) or 0)
    file = tmp_path / "recipe.yaml"
    file.write_text("entropy_bound: 0.3\n")
    words = (*TRAIN, "--output_dir", tmp_path, "--config", file, "--unmasking", "low_confidence")
    assert run(*words) == 0 and trained == ["low_confidence"]
    assert run(*words, "--entropy_bound", 0.2) == 1
    file.write_text("entropy_bound: 0.3\nunmasking: low_confidence\n")
    assert run(*words[:-2]) == 1
    assert capsys.readouterr().err.count("has no effect under") == 2


def test_switches_and_the_engine_of_a_file(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(launch, "launch_command", seen.append)
    file = tmp_path / "recipe.yaml"
    file.write_text("quiet: true\nmulti_gpu: false\naccelerate_config: zero2\n")
    words = (*TRAIN, "--output_dir", tmp_path, "--config", file)
    assert run(*words) == run(*words, "--accelerate_config", "zero3") == 0
    assert [Path(args.config_file).stem for args in seen] == ["zero2", "zero3"]  # the command line wins
    assert all(args.training_script == "trl_diffusion.cli" and args.quiet and not args.multi_gpu for args in seen)
    file.write_text("quiet: perhaps\n")
    assert run(*words) == 1 and "`quiet` must be true or false in the file" in capsys.readouterr().err
    assert len(seen) == 2


@pytest.mark.parametrize("stray", [("stray",), ("--num_processes", 2, "stray")], ids=len)
def test_a_word_that_is_no_option_is_not_run_as_a_script(tmp_path, monkeypatch, capsys, stray):
    monkeypatch.setattr(launch, "launch_command", lambda args: pytest.fail(args.training_script))
    assert run(*TRAIN, "--output_dir", tmp_path, *stray) == 2
    assert "unrecognised: stray" in capsys.readouterr().err


def test_processes_that_have_failed_have_said_why(tmp_path, monkeypatch, capsys):
    def fail(args):
        raise subprocess.CalledProcessError(1, "python")

    monkeypatch.setattr(launch, "launch_command", fail)
    assert run(*TRAIN, "--output_dir", tmp_path, "--num_processes", 2) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.distributed
def test_train_in_two_processes(tmp_path):
    command = [Path(sys.executable).parent / "trl-diffusion", *TRAIN, "--output_dir", tmp_path, "--max_steps", 1]
    (tmp_path / "recipe.yaml").write_text("num_processes: 2\nmixed_precision: 'no'\n")  # the launcher's own
    command += ["--accelerate_config", "zero2", "--config", tmp_path / "recipe.yaml"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=280, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert (tmp_path / "model.safetensors").is_file()


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
