# SPDX-License-Identifier: Apache-2.0
"""The command `trl-diffusion` in this process, and what several tests tell it."""

from trl_diffusion.cli.main import main


MODEL = ("--model_name_or_path", "embedded/sudoku", "--device", "cpu")
PUZZLE = ".4....42.3.....1="


def run(*words):
    """The exit code, also that of the parser."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return stop.code


TRAIN = (
    *("train", "diffpo", *MODEL[:2], "--task", "sudoku", "--use_cpu", "--bf16", "false"),
    *("--max_completion_length", 20, "--block_length", 20, "--per_device_train_batch_size", 8, "--train_size", 20),
    *("--gradient_checkpointing", "false", "--report_to", "none", "--save_steps", 1, "--logging_steps", 1),
    *("--learning_rate", 1e-4),
)
