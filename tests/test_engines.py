# SPDX-License-Identifier: Apache-2.0
"""Every engine, in two real processes, with the example's configuration: see engines.py for what is checked."""

import pytest

from .engines import (
    ADAPTERS,
    ENGINES,
    METHODS,
    check,
    check_kills,
    check_one_process,
    check_two_machines,
    compare,
    compare_with_one_process,
)


pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, model_path):
    return check_one_process(model_path, tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("engine", ["ddp", "zero3", "fsdp2"])
def test_two_machines(engine, tmp_path, model_path, one_process):
    """Two launches, as on two machines: they train as one process does, and an error of one ends both."""
    record = check_two_machines(engine, model_path, tmp_path, ["trains", "fails"], ["diffpo"])
    compare_with_one_process(engine, record, one_process)
    assert record["diffpo"].keys() == {"trains", "fails"}


@pytest.mark.parametrize("engine", ENGINES)
def test_engine(engine, tmp_path, model_path, one_process):
    """Trains as one process does, resumes exactly, bears uneven processes and an error in one, and being killed."""
    record = check(engine, model_path, tmp_path / "checks")
    assert tuple(record) == METHODS
    compare_with_one_process(engine, record, one_process)
    kills = check_kills(engine, model_path, tmp_path / "kills", kills=1)  # the table in the docs is of more
    for method in METHODS:
        compare(kills[method]["trains_on"], record[method]["resumes"], 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_with_adapters(engine, tmp_path, model_path, one_process):
    """The same with LoRA, beside which the LM head, or that and the threshold head, are trained."""
    record = check(engine, model_path, tmp_path, ADAPTERS)
    assert tuple(record) == ADAPTERS
    compare_with_one_process(engine, record, one_process)
