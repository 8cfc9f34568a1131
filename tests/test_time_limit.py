# SPDX-License-Identifier: Apache-2.0
"""Rewards that do not come back."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from signal import SIGALRM, SIGVTALRM

import pytest

from trl_diffusion.rewards import sudoku_reward, with_time_limit
from trl_diffusion.rewards.time_limit import TimeIsUp, interrupt_after

from .trainers import PROMPTS


pytestmark = pytest.mark.slow


def judge(prompts, completions, grade, **kwargs):
    """Does what a completion says. It is told of one at a time."""
    assert len(prompts) == len(completions) == len(grade) == 1 and not kwargs
    (text,) = completions
    if text == "hang":
        time.sleep(1000)
    if text == "spin":
        while True:
            pass
    if text == "crash":
        os._exit(3)
    if text == "raise":
        raise ZeroDivisionError("by the judge")
    return [grade[0]] if text == "good" else [None]


@pytest.fixture
def reward():
    reward = with_time_limit(judge, seconds=3, workers=2, otherwise=-1.0)
    yield reward
    reward.close()


def call(reward, texts, **kwargs):
    columns = {"prompts": ["p"] * len(texts), "grade": list(range(len(texts)))}
    return reward(completions=texts, trainer_state=object(), **columns, **kwargs)


def test_those_that_end_are_judged(reward):
    logged = {}
    call(reward, ["good"])  # the workers are there
    started = time.perf_counter()
    texts = ["good", "hang", "good", "crash", "nothing", "spin", "good"]
    assert call(reward, texts, log_metric=logged.__setitem__) == [0, -1.0, 2, -1.0, None, -1.0, 6]
    assert time.perf_counter() - started < 60
    assert logged == {"rewards/judge_with_time_limit/unfinished": 3 / 7}
    assert call(reward, ["good", "good"]) == [0, 1]  # and goes on


SCRIPT = """
import slow_to_import
from os import _exit

from trl_diffusion.rewards import with_time_limit


def judge(completions, **columns):
    return _exit(3) if completions == ["crash"] else [1.0]


if __name__ == "__main__":
    reward = with_time_limit(judge, seconds=20, workers=2)
    print(sum(reward(completions=["crash", "fine"] * 4)))
    reward.close()
"""


def test_what_a_script_imports_is_imported_once_for_all_workers(tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import os\nopen('imported', 'a').write(f'{os.getpid()}\\n')\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parent.parent}"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout == "4.0\n", done.stderr[-2000:]
    assert (
        len((tmp_path / "imported").read_text().split()) == 2
    )  # the script, and the one that workers are forked from


def test_errors_are_errors(reward):
    with pytest.raises(ZeroDivisionError, match="by the judge"):
        call(reward, ["good", "raise"])


def test_workers_that_were_closed_start_again(reward):
    assert call(reward, ["good"]) == [0]
    reward.close()
    assert call(reward, ["good"]) == [0]


def hang_on_the_first_prompt(prompts, completions, **kwargs):
    if prompts == PROMPTS[:1]:
        time.sleep(1000)
    return [1.0]


def test_training_with_a_judge_that_hangs(build):
    """An epoch has each prompt once: one in eight is never judged."""
    reward = with_time_limit(hang_on_the_first_prompt, seconds=2, workers=4)
    trainer = build("diffpo", reward=reward, max_steps=2, steps_per_generation=4, gradient_accumulation_steps=4)
    trainer.train()
    reward.close()
    entries = trainer.state.log_history[:2]
    name = f"rewards/{reward.__name__}"
    assert sum(entry[f"{name}/unfinished"] for entry in entries) / 2 == 1 / 8
    assert sum(entry[f"{name}/mean"] for entry in entries) / 2 == pytest.approx(7 / 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((sudoku_reward, 0), ValueError, "`seconds` must be positive, got 0"),
        ((sudoku_reward, 1, 0), ValueError, "`workers` must be at least 1, got 0"),
        ((lambda completions: [0.0], 1), TypeError, "cannot be sent to a worker process"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        with_time_limit(*arguments)


# ---------------------------------------------------------------- in this process


def spin(seconds):
    """Compute, and catch what libraries catch."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        with contextlib.suppress(Exception):
            pass


def test_a_block_is_interrupted():
    started = time.process_time()
    with pytest.raises(TimeIsUp), interrupt_after(0.1):
        spin(60)
    assert time.process_time() - started < 30
    with interrupt_after(60):
        spin(0.01)


def test_timers_of_others_are_left_alone():
    """pytest-timeout's alarm is set while this runs."""
    alarm, handlers = signal.getitimer(signal.ITIMER_REAL), [signal.getsignal(s) for s in (SIGALRM, SIGVTALRM)]
    with contextlib.suppress(TimeIsUp), interrupt_after(0.01):
        spin(60)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) == bool(alarm[0])
    assert handlers == [signal.getsignal(s) for s in (SIGALRM, SIGVTALRM)]


def test_no_interruption_outside_the_main_thread():
    finished = []

    def work():
        with interrupt_after(0.05):
            spin(0.2)
        finished.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished
