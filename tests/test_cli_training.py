# SPDX-License-Identifier: Apache-2.0
"""`trl-diffusion train`: to begin, to go on, with data of one's own, by way of the launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands import launch

from trl_diffusion.cli import report, run_record, train, train_checks
from trl_diffusion.cli.arguments import TaskArguments, load_problems
from trl_diffusion.cli.train_options import TrainArguments, methods
from trl_diffusion.evaluation import load_generations

from .command_line import MODEL, PUZZLE, TRAIN, run


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


def test_a_run_without_checkpoints_keeps_what_it_has_logged(tmp_path, capsys):
    folder = tmp_path / "out"
    assert run(*TRAIN, "--output_dir", folder, "--max_steps", 1, "--save_strategy", "no") == 0
    assert [entry["step"] for entry in report.log_history(folder)] == [1, 1]  # the last is the summary
    older = json.loads((folder / "trainer_state.json").read_text())
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "trainer_state.json").write_text(
        json.dumps(older | {"global_step": 2, "log_history": [{"step": 2}]})
    )
    assert report.log_history(folder) == [{"step": 2}]


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
    assert run(*words) == 2 and "`quiet` must be true or false in the file" in capsys.readouterr().err
    assert len(seen) == 2


@pytest.mark.parametrize("stray", [("stray",), ("--num_processes", 2, "stray")], ids=len)
def test_a_word_that_is_no_option_is_not_run_as_a_script(tmp_path, monkeypatch, capsys, stray):
    monkeypatch.setattr(launch, "launch_command", lambda args: pytest.fail(args.training_script))
    assert run(*TRAIN, "--output_dir", tmp_path, *stray) == 2
    assert "unrecognised: stray" in capsys.readouterr().err


def test_what_is_wrong_is_said_before_the_processes_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "launch_command", lambda args: pytest.fail(args.training_script))
    words = (*TRAIN, "--output_dir", tmp_path, "--num_processes", 2)
    assert run(*words, "--report_to", "wand") == 1 and "`--report_to wand`: there is" in capsys.readouterr().err
    assert run(*words, "--confidence_threshold", 0.5) == 1 and "has no effect under" in capsys.readouterr().err


def test_a_file_may_report_to_nothing(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(train, "_train", lambda *args: trained.append(args[3].report_to) or 0)
    (tmp_path / "recipe.yaml").write_text("report_to:\n")
    place = TRAIN.index("--report_to")
    words = (*TRAIN[:place], *TRAIN[place + 2 :], "--output_dir", tmp_path, "--config", tmp_path / "recipe.yaml")
    assert run(*words) == 0 and trained == [[]]


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


def test_a_threshold_that_nothing_pays_for_is_warned_about(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "_train", lambda *args: 0)
    words = (*TRAIN, "--output_dir", tmp_path, "--regime", "joint")
    assert run(*words) == 0 and "nothing pays for fewer passes: add `--speed_bonus 0.5`" in capsys.readouterr().err
    assert run(*words, "--speed_bonus", 0.5) == run(*TRAIN, "--output_dir", tmp_path) == 0
    assert "nothing pays" not in capsys.readouterr().err
