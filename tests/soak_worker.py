# SPDX-License-Identifier: Apache-2.0
"""Run by soak.py in several processes: trains the embedded model from its last checkpoint, and does as it is told."""

import json
import os
import sys
import time
from pathlib import Path
from zlib import crc32

import psutil
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from trl_diffusion import CollapseGuard, DiFFPOConfig, DiFFPOTrainer, embedded
from trl_diffusion.process_exit import let_gloo_finish_at_exit
from trl_diffusion.rewards import sudoku_reward, with_time_limit
from trl_diffusion.tasks import sudoku

from .engines_on_cpu import prepare


SAVE_STEPS = 5


def judge(completions, puzzle, **columns):
    """The task's reward; but for some puzzles it does not return, or takes its process down: always the same ones."""
    fate = crc32(puzzle[0].encode()) % 200
    if fate == 0:
        time.sleep(3600)
    if fate == 1:
        os._exit(1)
    return sudoku_reward(completions, puzzle)


class Faults(TrainerCallback):
    """What the orders in `orders/<rank>` ask for, once; and a line per update for the record."""

    def __init__(self, folder, rank, record):
        self.order, self.rank, self.record = folder / "orders" / str(rank), rank, record
        self.process = psutil.Process()

    def obey(self, *kinds):
        """Whether one of these is asked for."""
        kind = self.order.read_text() if self.order.exists() else None
        if kind not in kinds:
            return None
        self.order.unlink()
        return kind

    def reward(self, completions, **columns):
        """Adds nothing, if it works."""
        kind = self.obey("raise", "too few", "infinite")
        if kind == "raise":
            raise ValueError("the reward is broken")
        values = [0.0] * len(completions)
        return values[1:] if kind == "too few" else [float("inf")] * len(completions) if kind else values

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if self.obey("nan"):
            with torch.no_grad():
                next(model.parameters()).fill_(torch.nan)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.rank == 0 and logs and "loss" in logs:
            line = {"step": state.global_step, "time": time.time(), "rss": self.process.memory_info().rss}
            line["files"] = self.process.num_fds()
            # The last three where rollouts were made.
            keys = ("loss", "grad_norm", "reward", "sampler/nfe", "rewards/judge_with_time_limit/unfinished")
            line |= {key: logs.get(key) for key in keys}
            self.record.write(json.dumps(line) + "\n")
            self.record.flush()


def main(folder, max_steps):
    rank, folder = int(os.environ["RANK"]), Path(folder)
    (folder / "pids" / str(rank)).write_text(str(os.getpid()))
    incarnation = (folder / "incarnation").read_text()
    with (folder / "steps" / f"{incarnation}.jsonl").open("a") as record:
        faults = Faults(folder, rank, record)
        args = DiFFPOConfig(
            output_dir=str(folder / "run"),
            max_steps=max_steps,
            save_steps=SAVE_STEPS,
            save_total_limit=2,
            logging_steps=1,
            learning_rate=2e-5,
            lr_scheduler_type="constant",
            per_device_train_batch_size=32,
            steps_per_generation=2,
            num_iterations=2,
            num_generations=8,
            max_completion_length=16,
            block_length=16,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            report_to="none",
        )
        path = embedded.path("sudoku")
        trainer = DiFFPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32),
            reward_funcs=[with_time_limit(judge, seconds=5, workers=2), faults.reward],
            args=args,
            train_dataset=sudoku.make_dataset("train", 2000),
            processing_class=AutoTokenizer.from_pretrained(path),
            callbacks=[faults, CollapseGuard("warn")],
        )
        last = get_last_checkpoint(folder / "run") if (folder / "run").is_dir() else None
        trainer.train(resume_from_checkpoint=last)


if __name__ == "__main__":
    prepare()
    main(sys.argv[1], int(sys.argv[2]))
    let_gloo_finish_at_exit()
    torch.distributed.destroy_process_group()
