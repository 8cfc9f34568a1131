# SPDX-License-Identifier: Apache-2.0
"""What must hold across processes, in two real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        "metrics_span_the_processes",
        "processes_make_equally_many_passes",
        "rollouts_do_not_wait_without_need",
    ],
)
def test_two_processes(check, tmp_path, model_path):
    result = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "torchrun"), "--nproc_per_node", "2", "--standalone"),
            *("-m", "tests.distributed_worker", check, model_path, str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path.name for path in tmp_path.glob(f"{check}-*")} == {f"{check}-0", f"{check}-1"}
