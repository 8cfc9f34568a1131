# SPDX-License-Identifier: Apache-2.0
"""Every engine, in two real processes, with the example's configuration: see engines.py for what is checked."""

import pytest

from .engines import ENGINES, METHODS, check, check_kills, check_one_process, check_two_machines, compare


pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, model_path):
    return check_one_process(model_path, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("engine", ["ddp", "zero3", "fsdp2"])
def test_two_machines(engine, tmp_path, model_path, one_process):
    """Two launches, as on two machines: they train as one process does, and an error of one ends both."""
    record = check_two_machines(engine, model_path, tmp_path, ["diffpo"])["diffpo"]
    assert record["trains"]["engine"][0].startswith(ENGINES[engine][0])
    compare(record["trains"], one_process["diffpo"]["trains"], 1e-5)
    assert record.keys() == {"trains", "resumes", "uneven", "fails"}


@pytest.mark.parametrize("engine", ENGINES)
def test_engine(engine, tmp_path, model_path, one_process):
    """Trains as one process does, resumes exactly, bears uneven processes and an error in one, and being killed."""
    record = check(engine, model_path, tmp_path / "checks")
    for method in METHODS:
        name, stage, whole = record[method]["trains"]["engine"]
        assert name.startswith(ENGINES[engine][0]) and (stage, whole) == ENGINES[engine][1:]
        compare(record[method]["trains"], one_process[method]["trains"], 1e-5)
    kills = check_kills(engine, model_path, tmp_path / "kills")
    for method in METHODS:
        compare(kills[method]["trains_on"], record[method]["resumes"], 1e-6)
