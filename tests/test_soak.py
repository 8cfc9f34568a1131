# SPDX-License-Identifier: Apache-2.0
"""A minute of what `python -m tests.soak` does for an hour."""

import pytest

from .soak import break_weights, kill_one_process, kill_while_saving, pause_one_process, soak, summary


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.timeout(600)
def test_soak(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.soak.PAUSE", 3)
    only = [kill_one_process, kill_while_saving, break_weights, pause_one_process]
    found = soak(tmp_path, "ddp", minutes=1, apart=(1, 6), only=only)
    assert found.updates > 10 and found.events and found.computed_again == sum(event.lost for event in found.events)
    assert not any(event.problem for event in found.events), found.events
    assert all(event.what.replace("_", " ") in summary(found) for event in found.events)
