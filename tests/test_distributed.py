# SPDX-License-Identifier: Apache-2.0
"""What must hold across processes, in two real ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(check, output_dir, model_path, processes):
    output_dir.mkdir(exist_ok=True)
    result = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "torchrun"), "--nproc_per_node", str(processes), "--standalone"),
            *("-m", "tests.distributed_worker", check, model_path, str(output_dir)),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path.name for path in output_dir.glob(f"{check}-*")} == {f"{check}-{rank}" for rank in range(processes)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [
        "metrics_span_the_processes",
        "processes_make_equally_many_passes",
        "rollouts_do_not_wait_without_need",
        "cached_rollouts_stay_in_step",
    ],
)
def test_two_processes(check, tmp_path, model_path):
    run(check, tmp_path, model_path, processes=2)


@pytest.mark.slow
def test_one_and_two_processes_train_alike(tmp_path, model_path):
    records = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        run("training_does_not_depend_on_the_number_of_processes", folder, model_path, processes)
        records.append(json.loads((folder / "record.json").read_text()))
    for method, one in records[0].items():
        for key, values in one.items():
            assert records[1][method][key] == pytest.approx(values, abs=2e-4, rel=2e-4), (method, key)
        assert len(one["loss"]) == 4 and any(one["loss"])
    assert len(records[0]) >= 16
