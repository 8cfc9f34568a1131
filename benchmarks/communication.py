# SPDX-License-Identifier: Apache-2.0
"""
What processes send each other in an update, by engine: counted, in closed form, and computed for more GPUs.

    python -m benchmarks.communication                    # count, check, compute; twenty minutes on two shared cores
    python -m benchmarks.communication --engines ddp fsdp2
    python -m benchmarks.communication --table            # print the tables of what has been counted already
    python -m benchmarks.communication --table --flops 5e14 --rollout-passes 128

Measured: every collective of the third update of DiFFPO with a reference model, on a LLaDA of 3 million parameters,
float32, in two processes (and four) with gloo, under the real engines. The bytes at the sockets must agree with the
counted collectives, and the closed form (communication_model.py) with both, to 5 %, else this ends with an error.

Computed: the same closed form with LLaDA-8B's shapes, up to 64 GPUs. No GPU has measured any of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from tests.conftest import make_model
from tests.engines import BIN, ROOT, kill, launcher
from tests.engines import ENGINES as TRAINS_WITH
from trl_diffusion.embedded.tokenizer import make_tokenizer

from .communication_check import check
from .communication_model import ENGINES, SHARDED
from .communication_tables import computed_tables, measured_table


RESULTS = Path(__file__).parent / "results" / "communication.json"


def case(engine, processes=2, accumulation=1, **options):
    plain = {"adapter": False, "gathered": True, "checkpointing": False, "iterations": 1}
    return {"engine": engine, "processes": processes, "accumulation": accumulation} | plain | options


def cases(engine):
    """One launch for each number of processes and of micro-batches, in this order."""
    yield case(engine)
    yield case(engine, checkpointing=True)
    yield case(engine, iterations=2)
    yield case(engine, adapter=True)
    if engine in SHARDED:
        yield case(engine, gathered=False)
        yield case(engine, gathered=False, iterations=2)
        yield case(engine, gathered=False, adapter=True)
        yield case(engine, checkpointing=True, adapter=True)
    yield case(engine, accumulation=2)
    yield case(engine, accumulation=2, adapter=True)
    if engine in SHARDED:
        yield case(engine, accumulation=2, gathered=False, checkpointing=True)
    if engine in ("ddp", "zero2", "zero3", "fsdp2"):
        yield case(engine, processes=4)


def write_model(folder):
    tokenizer = make_tokenizer()
    shape = {"d_model": 256, "n_heads": 4, "n_layers": 4, "mlp_hidden_size": 512, "init_std": 0.05}
    make_model(1024, **shape).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def count(planned, model_path, folder):
    """Run cases of one engine, number of processes and number of micro-batches. Returns what the first one sent."""
    engine, output, log = planned[0]["engine"], Path(folder, "counted.json"), Path(folder, "log")
    output.unlink(missing_ok=True)  # of the launch before
    command = [*launcher(engine, processes=planned[0]["processes"]), "-m", "benchmarks.communication_worker"]
    command = list(map(str, [*command, json.dumps(planned), model_path, output]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PATH": f"{BIN}:{os.environ['PATH']}"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        code = process.wait(280)
    finally:
        kill(process)
    assert code == 0, log.read_text()[-6000:]
    results = json.loads(output.read_text())
    for found in results:  # accelerate takes DDP where it knows no better
        assert found["engine_class"].startswith(TRAINS_WITH[engine][0]), found["engine_class"]
    return results


def measure(engines):
    results = []
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder, "model"))
        for engine in engines:
            for _, together in groupby(cases(engine), lambda one: (one["processes"], one["accumulation"])):
                results += count(list(together), Path(folder, "model"), folder)
            print(f"{engine}: counted", file=sys.stderr, flush=True)
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="Print the tables and run nothing.")
    step = parser.add_argument_group("the update that is computed, on each GPU")
    step.add_argument("--gpus", nargs="+", type=int, default=[2, 8, 16, 32, 64])
    step.add_argument("--rows", type=int, default=8, help="Completions in a micro-batch.")
    step.add_argument("--micro-batches", type=int, default=4)
    step.add_argument("--tokens", type=int, default=512, help="Of prompt and canvas.")
    step.add_argument("--rollout-passes", type=int, default=64, help="Of the slowest row, which all wait for.")
    step.add_argument("--lora-rank", type=int, default=64)
    step.add_argument("--bytes", type=int, default=2, help="Of a parameter and of a gradient.")
    step.add_argument("--flops", type=float, default=4e14, help="Per second, as they are reached.")
    step.add_argument("--inside", type=float, default=400e9, help="Bytes per second that a GPU sends in a node of 8.")
    step.add_argument("--between", type=float, default=50e9, help="Bytes per second of a GPU's link between nodes.")
    return parser


def main():
    args = arguments().parse_args()
    results = json.loads(args.results.read_text()) if args.results.exists() else []
    if not args.table:
        results = [found for found in results if found["engine"] not in args.engines] + measure(args.engines)
        results.sort(key=lambda found: ENGINES.index(found["engine"]))
        lines = ",\n".join(" " + json.dumps(found) for found in results)
        args.results.write_text(f"[\n{lines}\n]\n")
    for found in results:
        check(found)
    print("\n".join(measured_table(results)))
    print("\n".join(computed_tables(args)))


if __name__ == "__main__":
    main()
