# SPDX-License-Identifier: Apache-2.0
"""What must hold across processes, in two real ones; see test_engines.py for those that shard."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = [pytest.mark.slow, pytest.mark.distributed]
BIN = Path(sys.executable).parent


def torchrun(processes):
    return (BIN / "torchrun", "--nproc_per_node", str(processes), "--standalone")


def run(check, output_dir, model_path, processes, **environment):
    output_dir.mkdir(exist_ok=True)
    result = subprocess.run(
        [*map(str, torchrun(processes)), "-m", "tests.distributed_worker", check, model_path, output_dir],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{BIN}:{os.environ['PATH']}"} | environment,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert {path.name for path in output_dir.glob(f"{check}-*")} == {f"{check}-{rank}" for rank in range(processes)}


@pytest.mark.parametrize(
    "check",
    [
        "metrics_span_the_processes",
        "histograms_and_canvases_span_the_processes",
        "processes_make_equally_many_passes",
        "rollouts_do_not_wait_without_need",
        "cached_rollouts_stay_in_step",
        "checks_of_the_cache_stay_in_step",
        "rollouts_of_one_process_are_lost",
        "a_guard_stops_all_processes_or_none",
        "a_checkpoint_that_one_process_cannot_write",
        "an_evaluation_is_shared",
        "a_frontier_is_shared",
    ],
)
def test_two_processes(check, tmp_path, model_path):
    run(check, tmp_path, model_path, processes=2)


def test_one_and_two_processes_train_alike(tmp_path, model_path):
    one, two = (train(tmp_path / str(n), model_path, n) for n in (1, 2))
    compare(one, two)
    assert len(one) >= 17


def test_processes_with_nothing_to_score_keep_up(tmp_path, model_path):
    some = {"TRAINED": "diffpo,agrpo,d2,espo,spg,joint", "SOME_GROUPS_TIE": "1"}
    one, two = (train(tmp_path / str(n), model_path, n, **some) for n in (1, 2))
    for record in (*one.values(), *two.values()):
        del record["entropy"]  # of rows that are scored: a mean of passes, whose number depends on them
    compare(one, two)


def train(folder, model_path, processes, **environment):
    """What training by a launcher leaves behind."""
    check = "training_does_not_depend_on_the_number_of_processes"
    run(check, folder, model_path, processes, **environment)
    return json.loads((folder / "record.json").read_text())


def compare(one, two):
    assert one.keys() == two.keys()
    for method, expected in one.items():
        for key, values in expected.items():
            # Gradients, divergences and what is made of weights blow up rounding.
            near = 1e-5 if key in ("loss", "reward", "sampler/nfe", "weights") else 2e-4
            assert two[method][key] == pytest.approx(values, abs=near, rel=near), (method, key)
        assert len(expected["loss"]) == 4 and any(expected["loss"]) and len(expected["weights"]) > 10
