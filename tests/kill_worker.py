# SPDX-License-Identifier: Apache-2.0
"""Run by test_checkpoints.py: trains, is killed at random moments, and goes on, many times over."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from transformers import AutoTokenizer, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from .trainers import make_trainer


class Tell(TrainerCallback):
    """Says that the first update is done."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_step_end(self, args, state, control, **kwargs):
        os.write(self.pipe, b"x")


def train(method, folder, model_path, steps, callbacks=()):
    trainer = make_trainer(
        method,
        folder,
        AutoTokenizer.from_pretrained(model_path),
        model_path,
        max_steps=steps,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        num_iterations=2,
        steps_per_generation=2,
        beta=0.1,
    )
    for callback in callbacks:
        trainer.add_callback(callback)
    last = get_last_checkpoint(folder) if folder.exists() else None
    trainer.train(resume_from_checkpoint=last)
    torch.save(trainer.model.state_dict(), folder / "final.pt")


def run_and_kill(method, folder, model_path, steps, seconds):
    """Train in a process of its own, which is killed so many seconds after its first update. Returns how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            train(method, folder, model_path, steps, [Tell(writer)])
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(writer)
    if os.read(reader, 1) and seconds is not None:  # nothing, if it ends before its first update
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(reader)
    return os.waitstatus_to_exitcode(status)


def last_step(folder):
    last = get_last_checkpoint(folder) if folder.exists() else None
    return 0 if last is None else json.loads(Path(last, "trainer_state.json").read_text())["global_step"]


def main(method, folder, model_path, kills, steps):
    folder, moments = Path(folder), random.Random(0)
    # Nothing is computed here: a fork of a process whose threads hold locks may hang.
    assert run_and_kill(method, folder / "whole", model_path, steps, None) == 0
    record = []
    while len(record) < kills:
        before = last_step(folder / "parts")
        end = run_and_kill(method, folder / "parts", model_path, steps, moments.uniform(0, 0.6))
        assert end == -signal.SIGKILL, (end, record)
        record.append([before, last_step(folder / "parts")])
    assert run_and_kill(method, folder / "parts", model_path, steps, None) == 0
    (folder / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
