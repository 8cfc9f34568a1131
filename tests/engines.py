# SPDX-License-Identifier: Apache-2.0
"""
Engines times methods: what is checked in each pair, by test_engines.py and for the table in the docs.

    python -m tests.engines --output engines.json
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
METHODS = ("diffpo", "agrpo", "dmpo", "joint")
ADAPTERS = tuple(f"{method}_lora" for method in METHODS)
# The class that trains, ZeRO's stage, and the share of the parameters that a process has to itself.
ENGINES = {
    "ddp": ("DistributedDataParallel", None, 1.0),
    "zero1": ("DeepSpeedEngine", 1, 1.0),
    "zero2": ("DeepSpeedEngine", 2, 1.0),
    "zero3": ("DeepSpeedEngine", 3, 0.0),
    "zero3_offload": ("DeepSpeedEngine", 3, 0.0),
    "fsdp2": ("FSDP", None, 0.0),
}
CHECKS = ("trains", "resumes", "in_bf16", "uneven", "fails")
# A resumed run is a part of the second; errors do not ask what is trained.
CHECKS_OF_ADAPTERS = ("trains", "in_bf16", "uneven")


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def launcher(engine, machine=None, processes=2):
    """
    The command of two processes, or more, under an engine, by the example's configuration; of one without. Or that of
    one of two machines with a process each, which is a number and their port.
    """
    if engine in (None, "ddp"):  # accelerate launches no processes for DDP where there is no GPU
        if machine is None:
            return [BIN / "torchrun", "--nproc_per_node", processes if engine else "1", "--standalone"]
        where = ["--node_rank", machine[0], "--master_addr", "127.0.0.1", "--master_port", machine[1]]
        return [BIN / "torchrun", "--nnodes", "2", "--nproc_per_node", "1", *where]
    where = ["--main_process_port", free_port()]
    if machine is not None:
        where = ["--num_machines", "2", "--machine_rank", machine[0], "--main_process_ip", "127.0.0.1"]
        where += ["--main_process_port", machine[1]]
    return [
        *(BIN / "accelerate", "launch", "--config_file", ROOT / f"examples/accelerate_configs/{engine}.yaml"),
        *("--num_processes", processes, "--mixed_precision", "no", *where),
    ]


def start(engine, checks, methods, model_path, folder, machine=None):
    folder.mkdir(parents=True, exist_ok=True)
    command = [*launcher(engine, machine), "-m", "tests.engine_worker"]
    command += [",".join(checks), ",".join(methods), model_path, folder]
    environment = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PATH": f"{BIN}:{os.environ['PATH']}"}
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
        )


def end(process, folder, timeout=560):
    """Wait for a run. Returns what it has found, by method and check."""
    try:
        code = process.wait(timeout)
    finally:
        kill(process)
    assert code == 0, (folder / "log").read_text()[-6000:]
    return json.loads((folder / "record.json").read_text())


def kill(process):
    """It and all that it has started, at once."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        member.kill()
    psutil.wait_procs(family, timeout=10)


def check(engine, model_path, folder, methods=METHODS):
    checks = CHECKS_OF_ADAPTERS if methods == ADAPTERS else CHECKS
    return end(start(engine, checks, methods, model_path, folder), folder)


def check_two_machines(engine, model_path, folder, checks, methods):
    """Two launches of a process each, which meet at a port of this machine."""
    port = free_port()
    first, second = (start(engine, checks, methods, model_path, folder, (rank, port)) for rank in (0, 1))
    try:
        return end(first, folder)
    finally:
        end(second, folder)


def check_one_process(model_path, folder, methods=METHODS + ADAPTERS):
    return end(start(None, ["trains"], methods, model_path, folder), folder)


def check_kills(engine, model_path, folder, methods=METHODS, kills=3):
    """Killed at random moments after the first checkpoint, and started again; the last time it is left alone."""
    moments, started = random.Random(engine), time.perf_counter()
    for count in range(kills):
        process = start(engine, ["trains_on"], methods, model_path, folder)
        known = len(list(folder.glob("*/checkpoint-*"))) if count else 0
        while process.poll() is None and len(list(folder.glob("*/checkpoint-*"))) <= known:
            assert time.perf_counter() - started < 250, (folder / "log").read_text()[-6000:]
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 4))
        kill(process)
    record = end(start(engine, ["trains_on"], methods, model_path, folder), folder)
    return record | {"kills": kills, "seconds": round(time.perf_counter() - started, 1)}


def compare(found, expected, tolerance):
    """The numbers of two runs, which must be the same. Large gradients and divergences blow up rounding."""
    for key in ("loss", "grad_norm", "reward", "kl", "weights"):
        one, other = expected.get(key, []), found.get(key, [])
        if isinstance(one, dict):
            assert one.keys() == other.keys(), key
            one, other = one.values(), other.values()
        assert len(one) == len(other), (key, one, other)
        for a, b in zip(one, other, strict=True):
            assert abs(a - b) <= tolerance * (10 if key in ("grad_norm", "kl") else 1) * (1 + abs(a)), (key, a, b)


def compare_with_one_process(engine, record, expected):
    """By the engine that was asked for, with parameters where it has them, all methods train as they do without."""
    for method, found in record.items():
        name, *rest = found["trains"]["engine"]
        assert name.startswith(ENGINES[engine][0]) and tuple(rest) == ENGINES[engine][1:], (engine, name, rest)
        compare(found["trains"], expected[method]["trains"], 1e-5)


def table(engines):
    """Markdown: a line per engine and method; in each cell the seconds that the check took."""
    lines = ["| engine | method | trains | resumes | bf16 | uneven | fails | killed |", "|---" * 8 + "|"]
    for engine, record in engines.items():
        killed = f"{record['kills']['kills']} times"
        for method, checks in record["checks"].items():
            cells = [f"{checks[name]['seconds']:.1f} s" if name in checks else "" for name in CHECKS]
            cells.append(killed if method in record["kills"] else "")
            lines.append(f"| {engine} | {method.replace('_lora', ', LoRA')} | {' | '.join(cells)} |")
    lines += ["", "| engine | killed and started again | in all |", "|---|---|---|"]
    lines += [f"| {name} | {r['kills']['kills']} times | {r['kills']['seconds']} s |" for name, r in engines.items()]
    return "\n".join(lines)


def main():
    from trl_diffusion.embedded.tokenizer import make_tokenizer

    from .conftest import make_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=list(ENGINES))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        tokenizer = make_tokenizer()
        make_model(len(tokenizer)).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        expected, results = check_one_process(folder / "model", folder / "one"), {}
        for engine in args.engines:
            record = check(engine, folder / "model", folder / engine)
            record |= check(engine, folder / "model", folder / f"{engine}-lora", ADAPTERS)
            kills = check_kills(engine, folder / "model", folder / f"{engine}-kills")
            compare_with_one_process(engine, record, expected)
            for method in METHODS:
                compare(kills[method]["trains_on"], record[method]["resumes"], 1e-6)
            results[engine] = {"checks": record, "kills": kills}
            print(f"{engine}: passed", flush=True)
            if args.output:
                args.output.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
