# SPDX-License-Identifier: Apache-2.0
"""The last moment of a process that talks to others."""

import os
import subprocess
import sys

import pytest


SCRIPT = """
import time, torch
from trl_diffusion.process_exit import let_gloo_finish_at_exit
time.sleep = lambda seconds: print("waits")
if {gloo}:
    torch.distributed.init_process_group("gloo", init_method="file://{path}", rank=0, world_size=1)
let_gloo_finish_at_exit()
let_gloo_finish_at_exit()  # a second trainer
print("done")
"""


@pytest.mark.parametrize("gloo", [True, False])
def test_a_process_waits_once_if_it_has_used_gloo(tmp_path, gloo):
    script = SCRIPT.format(gloo=gloo, path=tmp_path / "rendezvous")
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == (["done", "waits"] if gloo else ["done"])
