# SPDX-License-Identifier: Apache-2.0
"""Ending a process in peace."""

from __future__ import annotations

import atexit
import time

import torch


# Far longer than a thread needs to be scheduled, also on a machine that is busy.
_SECONDS = 0.3


def let_gloo_finish_at_exit() -> None:
    """
    Have this process wait a moment before it ends, if it talks to others through gloo.

    A thread of gloo lets go of a collective's tensors a moment after the collective has returned, and takes Python's
    lock to do it. If the interpreter is being torn down by then, the process aborts, after all its work is done
    (https://github.com/pytorch/pytorch/pull/179291). Destroying the process group does not help while the wrapped
    model still holds it.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized() and "gloo" in str(distributed.get_backend_config()):
        atexit.unregister(_wait)
        atexit.register(_wait)


def _wait() -> None:
    time.sleep(_SECONDS)
