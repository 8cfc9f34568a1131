# SPDX-License-Identifier: Apache-2.0
"""The command `trl-diffusion`, as one types it: its help, and what it says of mistakes."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trl_diffusion import embedded
from trl_diffusion.cli import train_options
from trl_diffusion.cli.main import COMMANDS
from trl_diffusion.cli.parsing import parse
from trl_diffusion.cli.train_options import TrainArguments, method_names, methods
from trl_diffusion.trainer import DiffusionGRPOConfig

from .command_line import MODEL, TRAIN, run


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
        (("generate", *MODEL, "--prompt", "1", "--config"), 2, "`--config` needs a value"),
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
            2,
            "'shot'; those of the task 'sudoku'",
        ),
        (("eval", *MODEL, "--task", "sudoku", "--task_options", '{"style": "boxed"}'), 2, "has 'style'"),
        (
            ("eval", *MODEL, "--task", "sudoku", "--task_options", '{"clues": "x"}'),
            1,
            "`clues=x` must be a smallest and a largest number",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--task_options", "["), 2, "must be a JSON object"),
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
        (("eval", *MODEL, "--task", "sudoku", "--task_options", "4"), 2, "`--task_options` must be a JSON object"),
        (("score", "--generations", "nothing.jsonl", "--task", "sudoku"), 1, "nothing.jsonl does not exist"),
        (("score", "--generations", "nothing.jsonl"), 1, "Either `--task` or `--reward`"),
        (("score", "--generations", "x", "--reward", "json:nothing"), 1, "`--reward json:nothing` was not found"),
        (("train", "difpo"), 2, "did you mean diffpo?"),
        (("train", "diffpo", "--task", "sudoku"), 2, "`--model_name_or_path` says"),
        (("train", "diffpo", *MODEL[:2], "--learning_rat", "1"), 2, "--learning_rat (did you mean --learning_rate?)"),
        (("train", "diffpo", "--accelerate_config", "zero9"), 2, "none of fsdp2, multi_gpu"),
        (("train", "diffpo", *MODEL[:2]), 2, "Either `--task` or `--dataset_name`"),
        (("train", "diffpo", "--accelerate_config=zero9"), 2, "none of fsdp2, multi_gpu"),
        (("train", "diffpo", "--accelerate_config"), 2, "`--accelerate_config` needs a value"),
        (("score", "--generations", "x", "--reward", ":f"), 1, "must be 'module:function'"),
        (("train", "diffpo", *MODEL[:2], "--dataset_name", "x"), 1, "needs a `--reward`"),
        (
            ("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--reward", "json:dumps", "--speed_bonus", "1"),
            1,
            "Wrap",
        ),
        (("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--speed_bonus", "-1"), 1, "`weight` must be positive"),
        (("env", "now"), 2, "takes no options"),
        (("completion", "fish"), 2, "takes one shell, bash or zsh, got fish"),
        (
            ("eval", *MODEL, "--task", "sudoku", "--style", "reasonin"),
            2,
            "`--style`: `style` must be 'compact', 'inst",
        ),
        (("eval", *MODEL, "--task", "sudoku", "--style", "reasonin"), 2, "Did you mean reasoning?"),
        (("train", "diffpo", *MODEL[:2], "--num_processes", "two"), 2, "--num_processes: invalid int value: 'two'"),
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
        (b"num_samples:", 2, "`num_samples` has no value in the file"),
        (b"prompt:", 1, "Nothing came in by the pipe"),
        (b"top_k: [3]", 2, "invalid int value: '[3]'"),
    ],
)
@pytest.mark.parametrize("words", [("--config", "options.yaml"), ("--config=options.yaml",)], ids=len)
def test_files_of_options_that_are_wrong(capsys, tmp_path, monkeypatch, words, text, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
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


def test_a_file_and_the_command_line_mean_the_same(tmp_path):
    """YAML reads `1e-1` as text, `1` as a whole number, and a list of one as what one wrote."""
    from trl_diffusion.cli import frontier

    words = ["--models", "one", "--task", "sudoku", "--output_file", "x", "--entropy_bounds", "1e-1", "1"]
    (tmp_path / "list.yaml").write_text("models: one\ntask: sudoku\noutput_file: x\nentropy_bounds: [1e-1, 1]\n")
    from_file, from_words = (
        parse(frontier.make(), line) for line in (["--config", str(tmp_path / "list.yaml")], words)
    )
    assert list(map(vars, from_file)) == list(map(vars, from_words))
