# SPDX-License-Identifier: Apache-2.0
"""The recipes: every value says where it comes from, and is taken by the trainer that it is for."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from trl_diffusion.cli.imports import import_function
from trl_diffusion.cli.launching import with_config_file
from trl_diffusion.cli.train_options import method_names, methods, parser_of
from trl_diffusion.tasks import get_task


ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "examples" / "recipes").glob("*/*.yaml"))
HERE = ["--use_cpu", "true", "--bf16", "false"]
each = pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")


def lines_of(path):
    """The commands in the head of a recipe, by what they are for."""
    return dict(re.findall(r"^# (8 GPUs|1 GPU|Slurm): +(.*)$", path.read_text(), flags=re.MULTILINE))


def understood(words, folder):
    """What `trl-diffusion train` makes of its words, and what it leaves to the launcher."""
    method, *words = words
    words[words.index("--config") + 1] = str(ROOT / words[words.index("--config") + 1])
    config, _ = methods()[method]
    *parsed, from_config, from_words = parser_of(method, config).parse_args_and_config(
        [*words, *HERE, "--output_dir", str(folder)],
        return_remaining_strings=True,
        separate_remaining_strings=True,
    )
    assert not from_config  # all that is in the file is the trainer's
    return *parsed, from_words


TASKS = ("gsm8k", "math500", "countdown", "sudoku")
REGIMES = {"sampler": "a threshold", "joint": "LoRA and a threshold"}  # DiFFPO's, beside the model alone


def test_every_method_has_its_recipes():
    expected = set(product(method_names(), TASKS))
    expected |= {("diffpo", f"{task}_{regime}") for task, regime in product(TASKS, REGIMES)}
    assert {(path.parent.name, path.stem) for path in RECIPES} == expected
    table = (ROOT / "examples" / "recipes" / "README.md").read_text()
    listed = {}
    for method, regime, row in re.findall(r"^\| \[(\w+)\]\(\1\)(?:, (\w+))? \|(.*)\|$", table, flags=re.MULTILINE):
        *marks, trained = [cell.strip() for cell in row.split("|")]
        stems = [f"{task}_{regime}" if regime else task for task in TASKS]
        listed |= {(method, stem): trained for stem, mark in zip(stems, marks, strict=True) if mark == "✓"}
    found = {}
    for path in RECIPES:
        values = yaml.safe_load(path.read_text())
        task, _, regime = path.stem.partition("_")
        assert values["task"] in (task, f"{task}-hub") and values.get("regime", "model") == (regime or "model")
        how = REGIMES.get(regime) or ("LoRA" if values.get("use_peft") else "all parameters")
        found[path.parent.name, path.stem] = how + (", 4 bits" if values.get("load_in_4bit") else "")
    assert listed == found


@each
def test_recipe(path, tmp_path):
    """As on one GPU: other numbers of micro-batches, and nothing else."""
    for line in [line for line in path.read_text().splitlines() if line and not line.startswith("#")]:
        assert re.search(r"  # \[(paper|code|ours)\]", line), line
    values = yaml.safe_load(path.read_text())
    args, options, model, rest = understood(shlex.split(lines_of(path)["1 GPU"])[2:], tmp_path)
    assert not rest  # else it would go to the launcher
    assert model.use_peft and model.model_name_or_path == "GSAI-ML/LLaDA-8B-Instruct"
    per_update = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * 8
    assert options.per_device_train_batch_size * options.gradient_accumulation_steps == per_update
    said = re.search(r"on 8 GPUs (\d+) completions, (\d+) prompts", path.read_text())
    assert (per_update, per_update // options.num_generations) == tuple(map(int, said.groups()))
    assert per_update % options.num_generations == 0
    assert options.max_completion_length % options.block_length == 0
    assert "warmup" not in values.get("lr_scheduler_type", "") or options.warmup_steps
    # TRL's default multiplies the KL term by the ratio, the papers do not.
    assert not options.beta or options._own_loss or not options.use_bias_correction_kl
    # Nothing else speaks for a bold threshold.
    assert (args.speed_bonus is not None) == getattr(options, "learns_threshold", False)
    assert options.output_dir == str(tmp_path) and path.parent.name.replace("_", "-") in values["output_dir"]
    task = get_task(args.task)
    if not task.name.endswith("-hub"):
        source = {} if task.generated else {"source": "sample"}
        assert task.load("train", 4, style=args.style, **source, **(args.task_options or {}))["prompt"]
    assert task.reward_funcs(args.style)


def rewards_of(args):
    """The functions that pay in a recipe."""
    own = [import_function(name, "--reward") for name in args.reward or []]
    return own or get_task(args.task).reward_funcs(args.style)


@each
def test_it_says_what_its_rewards_pay(path, tmp_path):
    """A weight for each, with a source; and what differs from the paper, where something does."""
    args, options, _, _ = understood(shlex.split(lines_of(path)["1 GPU"])[2:], tmp_path)
    assert len(options.reward_weights) == len(rewards_of(args))
    block = [line for line in path.read_text().splitlines() if re.match(r"reward|# Rewards:", line)]
    assert any(line.startswith("reward_weights: ") for line in block) and any("[ours]" in line for line in block)
    if args.speed_bonus is not None:  # which is on the task's own
        assert not args.reward


EXAMPLE = {
    "countdown": {"numbers": [[3, 4, 5]], "target": [17]},
    "sudoku": {"puzzle": ["...4" + "341221434321"], "solution": ["1234" + "341221434321"]},
    "gsm8k": {"answer": ["72"]},
    "math500": {"answer": [r"\frac{1}{2}"]},
}
TEXTS = {
    "countdown": ("3*4+5", "3+4+5", "17"),
    "sudoku": ("1234341221434321", "1324341221434321", "12"),
    "gsm8k": ("72", "73", ""),
    "math500": (r"\boxed{0.5}", r"\boxed{2}", "2"),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # By the papers and their code, of a right answer, a wrong one of the right kind, and one that is none.
        ("diffu_grpo/gsm8k", (4.0, 2.0, 0.0)),
        ("dmpo/gsm8k", (3.0, 1.0, 0.0)),
        ("dmpo/countdown", (1.0, 0.1, 0.0)),
        ("dmpo/sudoku", (1.0, 1 / 3, 0.0)),
        ("dmpo/math500", (2.5, 0.5, 0.0)),
        ("agrpo/gsm8k", (4.0, 1.0, 0.0)),
        ("agrpo/sudoku", (4.0, 2.0, 1.0)),
        ("uni_grpo/gsm8k", (2.5, 0.5, 0.0)),
        ("espo/gsm8k", (1.0, 0.0, 0.0)),
        ("espo/countdown", (1.0, 0.1, 0.0)),
        ("just_grpo/gsm8k", (2.0, 0.0, 0.0)),
        ("trace_rl/math500", (1.0, 0.0, 0.0)),
    ],
)
def test_what_is_paid_is_what_the_paper_pays(name, expected, tmp_path):
    path = ROOT / "examples" / "recipes" / f"{name}.yaml"
    args, options, _, _ = understood(shlex.split(lines_of(path)["1 GPU"])[2:], tmp_path)
    task = path.stem
    for text, total in zip(TEXTS[task], expected, strict=True):
        if task != "math500":
            text = f"<reasoning>because</reasoning><answer>{text}</answer>" if text else ""
        paid = [reward(completions=[text], **EXAMPLE[task])[0] for reward in rewards_of(args)]
        assert sum(w * r for w, r in zip(options.reward_weights, paid, strict=True)) == pytest.approx(total), text


def test_the_code_that_was_read_is_named():
    """Where a value is said to be from a paper's code, and for d1's, which others take over."""
    table = (ROOT / "examples" / "recipes" / "README.md").read_text()
    named = dict(
        re.findall(r"^\| ([^|]+) \| \[[\w.-]+/[\w.-]+\]\((https://github.com/[^)]+)\)", table, flags=re.MULTILINE)
    )
    names = {name.lower().replace("-", "_").split(" ")[0] for name in named}
    quoted = {path.parent.name for path in RECIPES if "  # [code]" in path.read_text()}
    same = {"trace_rl": "tracerl", "just_grpo": "justgrpo", "diffu_grpo": "d1"}
    assert {same.get(method, method) for method in quoted} <= names


@pytest.mark.parametrize("path", [p for p in RECIPES if "  # [ours] d1's" in p.read_text()], ids=lambda p: p.stem)
def test_what_is_not_published_is_all_of_d1s(path):
    """Quantisation and seed, too, which are of no method: else a method would be compared on another base."""
    values = yaml.safe_load(path.read_text())
    assert "seed" in values and ("load_in_4bit" in values) == ("use_bnb_nested_quant" in values)


@each
def test_it_says_what_it_needs(path):
    text, values = path.read_text(), yaml.safe_load(path.read_text())
    needs = {"bitsandbytes": "load_in_4bit" in text, "math": values["task"] == "math500"}
    needs["deepspeed"] = re.search(r"--accelerate_config zero\d", text) is not None
    extras = ",".join(name for name in ("bitsandbytes", "deepspeed", "math") if needs[name])
    expected = f'pip install -e ".[{extras}]"' if extras else "pip install -e ."
    assert re.findall(r"^# Needs: +(.*)$", text, flags=re.MULTILINE) == [expected]
    # Which layers have adapters is a choice like any other.
    assert ("lora_target_modules" in values) == ("lora_dropout" in values)


@each
def test_its_launch_lines_can_be_typed(path, tmp_path):
    """The same recipe, in each, and the launcher understands what is its own."""
    lines = {name: shlex.split(line) for name, line in lines_of(path).items()}
    assert lines.keys() == {"8 GPUs", "1 GPU", "Slurm"}
    assert lines["8 GPUs"][:2] == lines["1 GPU"][:2] == ["trl-diffusion", "train"]
    assert lines["Slurm"][0] == "sbatch" and (ROOT / lines["Slurm"][1]).is_file()
    assert lines["Slurm"][2:] == lines["8 GPUs"][2:-2] and lines["8 GPUs"][-2:] == ["--num_processes", "8"]
    for words in lines.values():
        assert words[2] == path.parent.name and ROOT / words[words.index("--config") + 1] == path
    values = yaml.safe_load(path.read_text())
    # This process is alone, and takes the micro-batches of all eight.
    micro_batches = str(8 * values["gradient_accumulation_steps"])
    words = [*lines["8 GPUs"][2:], "--gradient_accumulation_steps", micro_batches]
    _, options, model, rest = understood(words, tmp_path)
    launch = launch_command_parser().parse_args([*with_config_file(rest), "script"])
    assert launch.num_processes == 8
    kind = yaml.safe_load(Path(launch.config_file).read_text())["distributed_type"]
    # A model whose parameters are all trained is divided among the GPUs, and its weights are in float32.
    assert model.use_peft == bool(values.get("use_peft")) and model.use_peft == (model.dtype == "bfloat16")
    assert model.use_peft or kind in ("FSDP", "DEEPSPEED")
    assert options.per_device_train_batch_size == values["per_device_train_batch_size"]


def test_the_paper_index_and_the_recipes_agree():
    """What the docs call a paper's setting is that of one of its recipes, at least."""
    index = (ROOT / "docs" / "paper_index.md").read_text()
    blocks = re.findall(r"^training_args = (\w+)\((.*?)\)$", index, re.M | re.S)
    names = {config.__name__: name for name, (config, _) in methods().items()}
    assert {config for config, _ in blocks} == names.keys()
    for config, text in blocks:
        paths = [path for path in RECIPES if path.parent.name == names[config]]
        values = [yaml.safe_load(path.read_text()) for path in paths]
        for argument in ast.parse(f"dict({text})", mode="eval").body.keywords:
            if argument.arg not in ("per_device_train_batch_size", "gradient_accumulation_steps"):  # by the machine
                value = ast.literal_eval(argument.value)
                assert value in [recipe.get(argument.arg) for recipe in values], f"{config}: {argument.arg}={value}"


def test_the_slurm_script_starts_a_process_for_each_gpu(tmp_path):
    """With stand-ins for Slurm's commands, on two machines."""
    programs = {
        "scontrol": "echo node-a; echo node-b",
        "srun": 'while [[ "$1" == --* ]]; do shift; done; SLURM_NODEID=0 "$@"; SLURM_NODEID=1 "$@"',
        "trl-diffusion": f'"{sys.executable}" -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        **{
            "SLURM_JOB_NODELIST": "node-[a-b]",
            "SLURM_JOB_ID": "4711",
            "SLURM_NNODES": "2",
            "SLURM_CPUS_PER_TASK": "8",
        },
    }
    path = ROOT / "examples" / "recipes" / "dmpo" / "gsm8k.yaml"
    command = shlex.split(lines_of(path)["Slurm"])
    more = ["--gradient_accumulation_steps", "4", "--run_name", "two words"]
    result = subprocess.run(
        ["bash", *command[1:], *more], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    started = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(started) == 2
    for rank, words in enumerate(started):
        assert words[0] == "train"
        _, options, _, rest = understood(words[1:], tmp_path)
        assert options.gradient_accumulation_steps == 4 and options.run_name == "two words"
        launch = launch_command_parser().parse_args([*with_config_file(rest), "script"])
        assert (launch.num_machines, launch.num_processes, launch.machine_rank) == (2, 16, rank)
        assert (launch.main_process_ip, launch.main_process_port) == ("node-a", 24711)
