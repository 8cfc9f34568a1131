# SPDX-License-Identifier: Apache-2.0
"""The tables that communication.py prints."""

from .communication_check import PASSES, bytes_of_gloo, counted, predicted
from .communication_model import Passes, elements_sent, llada_8b, payload, seconds_to_send, update_flops


# Engine, whether an adapter is trained, `ds3_gather_for_generation`.
COMPUTED = {
    "ddp, LoRA": ("ddp", True, True),
    "zero3, LoRA": ("zero3", True, True),
    "zero1": ("zero1", False, True),
    "zero2": ("zero2", False, True),
    "zero3, gathered": ("zero3", False, True),
    "zero3, lockstep": ("zero3", False, False),
    "fsdp2, gathered": ("fsdp2", False, True),
    "fsdp2, lockstep": ("fsdp2", False, False),
}


def options_of(found):
    """What differs from full training with gathered rollouts, one micro-batch and nothing computed again."""
    parts = ["LoRA"] * found["adapter"] + ["lockstep"] * (not found["gathered"])
    parts += ["checkpointing"] * found["checkpointing"] + ["two micro-batches"] * (found["accumulation"] == 2)
    parts += ["two iterations"] * (found["iterations"] == 2) + ["four processes"] * (found["processes"] == 4)
    return "".join(f", {part}" for part in parts)


def measured_table(results):
    """Counted payloads over the size of the model; what a process sends of it; and what its sockets did."""
    rows = {}
    for found in results:
        size = found["sizes"]["parameters"]
        made = " + ".join(str(found["passes"].get(phase, 0)) for phase in PASSES.values())
        cells = [made]
        for phase in (*PASSES.values(), "backward", "step"):
            shares = {kind: elements / size for (where, kind), elements in counted(found).items() if where == phase}
            parts = [f"{_number(share)} {_SHORT[kind]}" for kind, share in sorted(shares.items()) if share >= 0.002]
            cells.append(", ".join(parts))
        cells += [_number(elements_sent(c, found["processes"]) / size) for c in (counted(found), predicted(found))]
        cells.append(f"{found['sent'] / bytes_of_gloo(found):.2f}")
        rows.setdefault(tuple(cells), {}).setdefault(options_of(found), []).append(found["engine"])
    heads = ["counted", "passes", *PASSES.values(), "backward", "step", "sent", "predicted", "sockets"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for cells, names in rows.items():
        name = "; ".join(" / ".join(engines) + options for options, engines in names.items())
        yield f"| {name} | {' | '.join(cells)} |"


_SHORT = {"all-reduce": "AR", "all-gather": "AG", "reduce-scatter": "RS", "broadcast": "BC", "reduce": "R"}


def computed_tables(args):
    """Gigabytes sent per GPU and update; then the seconds, and their share of an update in which nothing overlaps."""
    rows = args.rows * args.tokens
    passes = Passes(args.rollout_passes, 0, args.micro_batches, args.micro_batches)
    gigabytes, seconds = [], []
    for name, (engine, adapter, gathered) in COMPUTED.items():
        sizes = llada_8b(args.lora_rank if adapter else None)
        arithmetic = update_flops(sizes, passes, rows, rows * args.micro_batches) / args.flops
        counts = payload(engine, sizes, passes, gathered, checkpointing=True)
        sent = {n: args.bytes * elements_sent(counts, n) for n in args.gpus}
        gigabytes.append(f"| {name} | {' | '.join(_number(sent[n] / 1e9) for n in args.gpus)} |")
        cells = [_range(seconds_to_send(sent[n], n, args.inside, args.between), arithmetic) for n in args.gpus]
        seconds.append(f"| {name} | {arithmetic:.1f} s | {' | '.join(cells)} |")
    heads = " | ".join(f"{n} GPUs" for n in args.gpus)
    yield ""
    yield (
        f"Computed: LLaDA-8B, {args.micro_batches} micro-batches of {args.rows} rows of {args.tokens} tokens per GPU, "
        f"{args.rollout_passes} passes of a rollout, a reference, gradient checkpointing, {args.bytes} bytes per "
        f"element; {args.flops:.0e} FLOP/s, {args.inside / 1e9:.0f} GB/s within a node of 8, {args.between / 1e9:.0f} "
        "GB/s of each GPU's link between nodes"
    )
    yield f"\n| GB sent per GPU and update | {heads} |"
    yield "|---" * (len(args.gpus) + 1) + "|"
    yield from gigabytes
    yield f"\n| seconds, and share of the update | arithmetic | {heads} |"
    yield "|---" * (len(args.gpus) + 2) + "|"
    yield from seconds


def _range(bounds, arithmetic):
    seconds = [_number(bound) for bound in bounds]
    shares = [f"{100 * bound / (bound + arithmetic):.1f}" for bound in bounds]
    if bounds[0] == bounds[1]:
        return f"{seconds[0]} s, {shares[0]} %"
    return f"{seconds[0]} – {seconds[1]} s, {shares[0]} – {shares[1]} %"


def _number(value):
    """Two or three digits."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3}f}"
