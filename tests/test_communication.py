# SPDX-License-Identifier: Apache-2.0
"""What processes send each other: the closed form, what was counted for the docs, and what is counted now."""

import ctypes
import json
import socket
import struct
import sys
import time

import pytest

from benchmarks.collectives import bytes_sent
from benchmarks.communication import RESULTS, ROOT, arguments, case, count, write_model
from benchmarks.communication_check import check
from benchmarks.communication_model import (
    ENGINES,
    Passes,
    elements_sent,
    llada_8b,
    payload,
    ring_share,
    seconds_to_send,
    update_flops,
)
from benchmarks.communication_tables import computed_tables, measured_table


FULL, LORA = llada_8b(), llada_8b(64)


def test_sizes_of_llada_8b():
    assert 2 * FULL.parameters == 16_031_162_368  # bytes of its checkpoint
    assert not FULL.adapter and LORA.adapter
    assert LORA.parameters - FULL.parameters == LORA.trained == 32 * 64 * (4 * 2 * 4096 + 3 * (4096 + 12288))


def test_ring():
    assert [ring_share("all-reduce", n) for n in (1, 2, 4)] == [0, 1, 1.5]
    assert ring_share("all-gather", 64) == ring_share("reduce-scatter", 64) == 63 / 64
    assert elements_sent({("backward", "all-reduce"): 100, ("step", "all-gather"): 100}, 4) == 150 + 75


def test_engines_that_shard_no_parameters():
    passes = Passes(rollout=64, old=4, reference=4, update=4)
    assert payload("ddp", LORA, passes) == {("backward", "all-reduce"): LORA.trained}
    once, each = payload("zero1", FULL, passes), payload("zero2", FULL, passes)
    assert 4 * once["backward", "all-reduce"] == each["backward", "all-reduce"] == 4 * FULL.parameters
    assert once["step", "all-gather"] == each["step", "all-gather"] == FULL.parameters


@pytest.mark.parametrize("engine", ["zero3", "fsdp2"])
def test_engines_that_shard_parameters(engine):
    passes = Passes(rollout=10, old=0, reference=1, update=1)
    size = FULL.parameters
    gathered, lockstep = (payload(engine, FULL, passes, gathered) for gathered in (True, False))
    assert gathered["rollout", "all-gather"] == size and gathered["backward", "reduce-scatter"] == size
    tail = FULL.tail if engine == "fsdp2" else 0  # in place from the first pass of a rollout to the backward pass
    assert sum(gathered.values()) == 5 * size + tail
    assert sum(lockstep.values()) - sum(gathered.values()) == 9 * size - 11 * tail


def test_a_layer_computed_again_is_gathered_again_by_zero3_alone():
    passes = Passes(rollout=1, old=0, reference=0, update=1)
    more = [
        sum(payload(engine, FULL, passes, checkpointing=True).values()) - sum(payload(engine, FULL, passes).values())
        for engine in ENGINES
    ]
    again = FULL.parameters - FULL.embeddings - FULL.tail - FULL.last
    assert more == [0, 0, 0, again, again, 0]


def test_an_update_without_a_rollout_gathers_for_none():
    for engine in ("zero3", "fsdp2"):
        for gathered in (True, False):
            assert payload(engine, FULL, Passes(0, 0, 1, 1), gathered)["rollout", "all-gather"] == 0


def test_seconds():
    assert seconds_to_send(400e9, 8, 400e9, 50e9) == (1, 1)
    assert seconds_to_send(400e9, 16, 400e9, 50e9) == (1, 8)
    assert seconds_to_send(400e9, 16, 800e9, 25e9) == (2, 16)


def test_flops():
    matrices = FULL.parameters - FULL.embeddings
    assert update_flops(FULL, Passes(0, 0, 0, 1), 10, 99, checkpointing=False) == 6 * matrices * 10
    assert update_flops(FULL, Passes(3, 0, 1, 1), 10, 20) == 2 * matrices * (60 + 10 + 40)
    assert update_flops(LORA, Passes(0, 0, 0, 1), 10, 99) < 1.1 * 6 * matrices * 10


@pytest.mark.parametrize("found", json.loads(RESULTS.read_text()), ids=lambda found: found["engine"])
def test_what_was_counted_for_the_docs(found):
    check(found)


def test_check_finds_a_collective_that_is_missing():
    found = next(found for found in json.loads(RESULTS.read_text()) if found["engine"] == "zero2")
    elements = found["counts"]["step"].pop("all-gather")
    with pytest.raises(AssertionError, match="zero2"):
        check(found)
    found["counts"]["step"]["all-gather"] = [2 * part for part in elements]
    with pytest.raises(AssertionError, match="zero2"):
        check(found)


def test_the_docs_have_the_tables_that_the_command_prints():
    page = (ROOT / "docs/engines.md").read_text()
    lines = [*measured_table(json.loads(RESULTS.read_text())), *computed_tables(arguments().parse_args([]))]
    assert [line for line in lines if line.strip().startswith("|") and line.strip() not in page] == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what a socket has sent.")
def test_bytes_that_are_sent_again_count_once():
    before = bytes_sent()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            nothing_passes = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF's `ret 0`
            program = struct.pack("HP", 1, ctypes.addressof(nothing_passes))
            receiver.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
            sender.sendall(b"x" * 1000)
            for _ in range(600):  # the kernel sends them again by itself
                information = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                if (retransmitted := struct.unpack_from("=Q", information, 208)[0]) >= 1000:
                    break
                time.sleep(0.05)
            assert retransmitted >= 1000
            assert bytes_sent() - before == 1000
            receiver.setsockopt(socket.SOL_SOCKET, 27, 0)  # SO_DETACH_FILTER


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("engine", ["ddp", "zero2", "zero3", "fsdp2"])
def test_the_closed_form_tells_what_is_counted(engine, tmp_path):
    write_model(tmp_path / "model")
    planned = [case(engine), case(engine, adapter=True)]
    if engine in ("zero3", "fsdp2"):
        planned.append(case(engine, gathered=False, checkpointing=True, iterations=2))
    for found in count(planned, tmp_path / "model", tmp_path):
        check(found)
