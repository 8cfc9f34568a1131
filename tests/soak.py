# SPDX-License-Identifier: Apache-2.0
"""
A long run of the embedded task in two processes, into which something happens every few minutes.

    python -m tests.soak --minutes 60 --output soak.json

Each time, all processes must end by themselves with the message of what happened (or go on, where that is possible),
the last checkpoint must be whole, and the next launch continues from it. What was lost is computed again, and must
give the same numbers to the last bit.
"""

import argparse
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file
from transformers.trainer_utils import get_last_checkpoint

from .engines import ROOT, kill, launcher
from .soak_worker import SAVE_STEPS


STARTING, ENDING, PAUSE = 240, 120, 20  # seconds
MARK = "TRL_DIFFUSION_SOAK"  # in the environment of all processes of a launch


class Launch:
    """Two processes that train."""

    def __init__(self, folder, engine, number, max_steps):
        self.folder, self.mark, self.steps = folder, uuid.uuid4().hex, folder / "steps" / f"{number}.jsonl"
        (folder / "incarnation").write_text(str(number))
        for path in (folder / "orders").iterdir():
            path.unlink()
        command = [*launcher(engine), "-m", "tests.soak_worker", folder, max_steps]
        environment = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1", MARK: self.mark}
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        # Read here, since a limit on the size of files would stop the processes from writing to one.
        self.said = ""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.said += line

    def worker(self, rank):
        return psutil.Process(int((self.folder / "pids" / str(rank)).read_text()))

    def order(self, rank, what):
        (self.folder / "orders" / str(rank)).write_text(what)

    @property
    def updates(self):
        return [json.loads(line) for line in self.steps.read_text().splitlines()] if self.steps.exists() else []

    def wait_for_update(self, after=0, seconds=STARTING):
        """Until there is an update later than that many."""
        deadline = time.time() + seconds
        while len(self.updates) <= after:
            assert self.process.poll() is None, f"ended by itself:\n{self.said[-12000:]}"
            assert time.time() < deadline, f"no update in {seconds} s:\n{self.said[-12000:]}"
            time.sleep(0.2)

    def wait_for_end(self, seconds=ENDING):
        started = time.time()
        self.process.wait(seconds)
        return time.time() - started

    def left_over(self, seconds=20):
        """Processes of this launch that have outlived it."""
        deadline = time.time() + seconds
        while (alive := list(self._alive())) and time.time() < deadline:
            time.sleep(0.5)
        return alive

    def _alive(self):
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    yield process
            except psutil.Error:
                continue


# What happens: each function receives the launch and a source of randomness, and does it.


def kill_one_process(launch, rng):
    launch.worker(rng.randrange(2)).kill()


def kill_all(launch, rng):
    kill(launch.process)


def terminate(launch, rng):
    launch.process.terminate()


def kill_while_saving(launch, rng):
    unfinished, deadline = launch.folder / "run" / "_unfinished", time.time() + STARTING
    while not unfinished.exists() and time.time() < deadline:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.02))
    kill(launch.process)


def fill_the_disk(launch, rng):
    launch.worker(0).rlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))


def break_weights(launch, rng):
    for rank in range(2):
        launch.order(rank, "nan")


def break_reward(launch, rng):
    launch.order(rng.randrange(2), "raise")


def return_too_few_rewards(launch, rng):
    launch.order(rng.randrange(2), "too few")


def return_infinite_rewards(launch, rng):
    launch.order(rng.randrange(2), "infinite")


def pause_one_process(launch, rng):
    worker, updates = launch.worker(rng.randrange(2)), len(launch.updates)
    worker.suspend()
    time.sleep(PAUSE)
    worker.resume()
    launch.wait_for_update(updates + 2)


# What must be said at the end; `None` where nobody is left to say it, `GOES_ON` where nothing ends.
GOES_ON = object()
FAULTS = {
    kill_one_process: r"Signal 9 \(SIGKILL\)|exitcode\s*: -9",
    kill_all: None,
    terminate: None,
    kill_while_saving: None,
    fill_the_disk: r"CheckpointError: .*was not written: .*File too large",
    break_weights: r"FloatingPointError: .*(?i:nan)",
    break_reward: r"ValueError: the reward is broken",
    return_too_few_rewards: r"ValueError: The reward function returned \d+ rewards for \d+ completions",
    return_infinite_rewards: r"ValueError: Reward \d+ is infinite",
    pause_one_process: GOES_ON,
}


@dataclass
class Event:
    """What happened, and what came of it."""

    minute: float
    what: str
    update: int
    checkpoint: int
    lost: int
    seconds_to_end: float | None
    left_over: list[str] = field(default_factory=list)
    problem: str | None = None


@dataclass
class Soak:
    """Everything that is found."""

    engine: str
    seconds: float = 0.0
    updates: int = 0
    computed_again: int = 0
    checkpoints_read: int = 0
    rewards_unfinished: float = 0.0
    reward: list[float] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)
    megabytes_at_ends: list[list[float]] = field(default_factory=list)
    files_at_ends: list[list[int]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def read_checkpoint(folder):
    """The step of the last checkpoint, all files of which can be read. 0 without one."""
    last = get_last_checkpoint(folder) if folder.is_dir() else None
    if last is None:
        return 0
    found = {path.name for path in Path(last).iterdir()}
    assert {"model.safetensors", "rollouts-00000.safetensors", "rollouts-00001.safetensors"} <= found, found
    for path in Path(last).iterdir():
        if path.suffix == ".safetensors":
            assert load_file(path) or path.name.startswith("rollouts")  # which may all be used up
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix in (".pt", ".pth"):
            torch.load(path, weights_only=False)  # which this test has written
    return json.loads(Path(last, "trainer_state.json").read_text())["global_step"]


def happen(launch, fault, rng, run, started):
    """Do it, and look at what comes of it."""
    minute, expected = (time.time() - started) / 60, FAULTS[fault]
    fault(launch, rng)
    if expected is GOES_ON:
        return Event(round(minute, 1), fault.__name__, launch.updates[-1]["step"], read_checkpoint(run), 0, None)
    seconds = launch.wait_for_end()
    left = launch.left_over()
    names = [" ".join(process.cmdline())[:100] for process in left]
    for process in left:
        process.kill()
    update, checkpoint = launch.updates[-1]["step"], read_checkpoint(run)
    lost = update - checkpoint
    event = Event(round(minute, 1), fault.__name__, update, checkpoint, lost, round(seconds, 1), names)
    if expected is not None and not re.search(expected, launch.said):
        event.problem = f"said something else: {launch.said[-6000:]}"
    elif names or not 0 <= lost <= SAVE_STEPS:
        event.problem = "lost too much, or left something over"
    return event


def compare(folder):
    """Updates that were computed more than once, all to the same numbers."""
    known, again = {}, 0
    for path in sorted(folder.iterdir(), key=lambda path: int(path.stem)):
        for line in map(json.loads, path.read_text().splitlines()):
            numbers = {key: value for key, value in line.items() if key not in ("time", "rss", "files")}
            if line["step"] in known:
                again += 1
                assert known[line["step"]] == numbers, (line["step"], known[line["step"]], numbers)
            known[line["step"]] = numbers
    assert sorted(known) == list(range(1, len(known) + 1)), "some updates are missing"
    return [known[step] for step in sorted(known)], again


def soak(folder, engine, minutes, apart, only, seed=0):
    """`apart`: the seconds between two events, least and most."""
    for name in ("orders", "pids", "steps"):
        (folder / name).mkdir()
    rng, found, started, number = random.Random(seed), Soak(engine), time.time(), 0
    faults, launch = [], None
    while time.time() - started < 60 * minutes:
        if not faults:  # each of them once, before any comes again
            faults = rng.sample(only, len(only))
        if launch is None:
            number += 1
            launch = Launch(folder, engine, number, 10**6)
            launch.wait_for_update(1)
        time.sleep(rng.uniform(*apart))
        launch.wait_for_update(len(launch.updates))
        event = happen(launch, faults.pop(), rng, folder / "run", started)
        found.events.append(event)
        found.checkpoints_read += 1
        print(json.dumps(asdict(event)), flush=True)
        if launch.process.poll() is not None:
            first, last = launch.updates[0], launch.updates[-1]
            found.megabytes_at_ends.append([first["rss"] / 1e6, last["rss"] / 1e6])
            found.files_at_ends.append([first["files"], last["files"]])
            launch = None
    if launch is not None:
        kill(launch.process)
    launch = Launch(folder, engine, number + 1, read_checkpoint(folder / "run") + 2 * SAVE_STEPS)
    launch.wait_for_end(STARTING)
    assert launch.process.returncode == 0 and not launch.left_over(), launch.said[-4000:]
    updates, found.computed_again = compare(folder / "steps")
    rollouts = [update for update in updates if update["reward"] is not None]
    tenth = max(len(rollouts) // 10, 1)
    for name, key in (("reward", "reward"), ("passes", "sampler/nfe")):
        ends = (rollouts[:tenth], rollouts[-tenth:])
        setattr(found, name, [round(sum(r[key] for r in part) / len(part), 4) for part in ends])
    found.updates, found.seconds = len(updates), round(time.time() - started)
    unfinished = [r["rewards/judge_with_time_limit/unfinished"] for r in rollouts]
    found.rewards_unfinished = sum(unfinished) / len(rollouts)
    return found


def summary(found):
    """Markdown: a line for each kind of event."""
    lines = ["| what happened | times | ended after | updates lost, of at most 5 |", "|---|---|---|---|"]
    for what in sorted(Counter(event.what for event in found.events)):
        events = [event for event in found.events if event.what == what]
        seconds = [event.seconds_to_end for event in events if event.seconds_to_end is not None]
        ended = f"{min(seconds):.0f} to {max(seconds):.0f} s" if seconds else "goes on"
        lost = ", ".join(str(event.lost) for event in events) if seconds else ""
        lines.append(f"| {what.replace('_', ' ')} | {len(events)} | {ended} | {lost} |")
    return "\n".join(lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="ddp")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--apart", type=float, nargs=2, default=(20.0, 120.0), help="Seconds between events.")
    names = {fault.__name__: fault for fault in FAULTS}
    parser.add_argument("--only", nargs="+", choices=names, default=list(names))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), args.engine, args.minutes, args.apart, [names[name] for name in args.only])
    if args.output:
        args.output.write_text(json.dumps(asdict(found), indent=1) + "\n")
    print(json.dumps({k: v for k, v in asdict(found).items() if k != "events"}, indent=1))
    print(summary(found))
    return sum(event.problem is not None for event in found.events)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
