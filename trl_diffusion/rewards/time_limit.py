# SPDX-License-Identifier: Apache-2.0
"""Rewards that may take forever, or take their process down, and must not take training with them."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from .checks import check_rewards


class TimeIsUp(BaseException):
    """The time of [`interrupt_after`] is over. No `Exception`, since libraries catch those."""


@contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """
    Raise [`TimeIsUp`] inside the block when it has computed for too long, where that is possible.

    That is the main thread of a process on Unix; elsewhere the block takes the time it takes, and [`with_time_limit`]
    is the way to bound it. Time is the process's own, so that a reward does not depend on what else a machine does,
    and the alarms of others are left alone.

    Args:
        seconds (`float`):
            CPU time of the process for the block.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(signum: int, frame: Any) -> None:
        raise TimeIsUp

    handler = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL if handler is None else handler)


def with_time_limit(
    reward_func: Callable[..., list[float | None]],
    seconds: float,
    workers: int = 4,
    otherwise: float | None = 0.0,
) -> TimeLimited:
    """
    A reward function that judges each completion in a worker process, for so many seconds and no longer.

    For whatever runs what a model wrote, or a parser or solver that may not come back. A worker that exceeds its time
    is killed, and replaced; so is one that crashes. Errors that the function raises are raised as ever.

    It is a limit on time, no sandbox: a worker may do whatever this process may.

    Args:
        reward_func (`Callable`):
            A reward function as TRL takes them, that can be pickled: defined at the top of a module. It receives one
            completion at a time, `prompts`, and the columns of the dataset, but neither `trainer_state` nor
            `log_extra` nor `log_metric`.
        seconds (`float`):
            Time for one completion.
        workers (`int`, *optional*, defaults to 4):
            Processes, for each process of the training.
        otherwise (`float`, *optional*, defaults to 0.0):
            The reward of a completion whose judgement did not end; `None` for no reward at all.

    Returns:
        [`TimeLimited`]: a reward function. It logs `rewards/<name>/unfinished`, the share of judgements that did not
        end.

    Raises:
        `ImportError`: Without `pebble`, which keeps the workers: `pip install trl-diffusion[rewards]`.
        `TypeError`: If the function cannot be pickled.
        `ValueError`: If `seconds` is not positive, or `workers` is below 1.

    Example:

    ```python
    >>> from trl_diffusion.rewards import sudoku_reward, with_time_limit
    >>> reward = with_time_limit(sudoku_reward, seconds=2)
    ```
    """
    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive, got {seconds}.")
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1, got {workers}.")
    try:
        import pebble  # noqa: F401
    except ImportError:
        raise ImportError("`with_time_limit` needs pebble: pip install trl-diffusion[rewards]") from None
    try:
        pickle.dumps(reward_func)
    except Exception as error:
        raise TypeError(
            f"`reward_func` cannot be sent to a worker process: {error}. Define it at the top of a module."
        ) from None
    return TimeLimited(reward_func, seconds, workers, otherwise)


def _imported_by_main() -> list[str]:
    """The modules of what stands in the script that runs, which every worker runs once more."""
    script = vars(sys.modules["__main__"]).values()
    names = {
        thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) for thing in script
    }
    return sorted(name for name in names if isinstance(name, str) and name != "__main__")


class TimeLimited:
    """What [`with_time_limit`] returns."""

    def __init__(self, reward_func: Callable, seconds: float, workers: int, otherwise: float | None) -> None:
        self.reward_func, self.seconds, self.workers, self.otherwise = reward_func, seconds, workers, otherwise
        self.__name__ = f"{getattr(reward_func, '__name__', type(reward_func).__name__)}_with_time_limit"
        self._pool: Any = None

    def __call__(
        self, completions: list, log_metric: Callable[[str, float], None] | None = None, **columns: Any
    ) -> list[float | None]:
        from pebble import ProcessExpired

        rows = len(completions)
        columns = {
            name: values for name, values in columns.items() if isinstance(values, list) and len(values) == rows
        }
        columns["completions"] = completions
        futures = [
            self._workers().schedule(
                self.reward_func,
                kwargs={name: values[row : row + 1] for name, values in columns.items()},
                timeout=self.seconds,
            )
            for row in range(rows)
        ]
        rewards, unfinished = [], 0
        for future in futures:
            try:
                (reward,) = check_rewards(future.result(), 1)
            except (TimeoutError, ProcessExpired):
                reward, unfinished = self.otherwise, unfinished + 1
            rewards.append(reward)
        if log_metric is not None:
            log_metric(f"rewards/{self.__name__}/unfinished", unfinished / rows)
        return rewards

    def _workers(self):
        if self._pool is None:
            from pebble import ProcessPool

            # Never a fork of this process, whose threads and GPU would not survive it.
            kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(kind)
            if kind == "forkserver":  # else every worker that takes a killed one's place imports it anew
                context.set_forkserver_preload(
                    [getattr(self.reward_func, "__module__", __name__), *_imported_by_main()]
                )
            self._pool = ProcessPool(max_workers=self.workers, context=context)
        return self._pool

    def close(self) -> None:
        """End the workers. The next call starts new ones."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
