# SPDX-License-Identifier: Apache-2.0
"""
How much processes send each other in an update, in closed form. Nothing here measures anything: communication.py holds
it against counted collectives.
"""

from collections import Counter
from dataclasses import dataclass


SHARDED = ("zero3", "zero3_offload", "fsdp2")
ENGINES = ("ddp", "zero1", "zero2", *SHARDED)


@dataclass(frozen=True)
class Sizes:
    """
    Numbers of parameters.

    Args:
        parameters (`int`):
            Of the policy, with its adapter.
        trained (`int`):
            Of these, what is trained.
        embeddings (`int`):
            Of the input.
        tail (`int`):
            Of the final norm and the LM head.
        last (`int`):
            Of the last matrix of each layer, all layers together.
        first (`int`):
            Of the matrices of the first layer that multiply its input.
    """

    parameters: int
    trained: int
    embeddings: int
    tail: int
    last: int
    first: int

    @property
    def adapter(self) -> bool:
        return self.trained < self.parameters


@dataclass(frozen=True)
class Passes:
    """
    Forward passes of a process in an update: of the rollout, for the old and the reference policy's scores, and of the
    loss, each of which has a backward pass. There are none of the rollout where it is not this update that makes one.
    """

    rollout: int
    old: int
    reference: int
    update: int


def payload(
    engine: str, sizes: Sizes, passes: Passes, gathered: bool = True, checkpointing: bool = False
) -> dict[tuple[str, str], int]:
    """
    Elements of the tensors that collectives put together in an update: the whole of what an all-gather leaves, a
    reduce-scatter takes and an all-reduce does.

    Args:
        engine (`str`):
            One of `ENGINES`.
        sizes (`Sizes`):
            Of the model. A reference that is not the policy without its adapter is as large as the policy.
        passes (`Passes`):
            Of each process.
        gathered (`bool`):
            `ds3_gather_for_generation`.
        checkpointing (`bool`):
            Whether layers are computed again in the backward pass.

    Returns:
        `dict[tuple[str, str], int]`: by phase and kind.
    """
    everything, trained = sizes.parameters, sizes.trained
    if engine in ("ddp", "zero1", "zero2"):
        # Stage 2 has no room for the sum of gradients over micro-batches. Both stages reduce with all-reduce:
        # DeepSpeed's `use_multi_rank_bucket_allreduce`.
        counts = {("backward", "all-reduce"): trained * (passes.update if engine == "zero2" else 1)}
        return counts if engine == "ddp" else counts | {("step", "all-gather"): trained}
    if engine == "fsdp2":
        return _fsdp2(sizes, passes, gathered)
    if not sizes.adapter:
        # What is computed again is gathered for that, and again for its backward pass; but for the last matrix of each
        # layer, which is still there.
        layers = everything - sizes.embeddings - sizes.tail
        backward = everything + (layers - sizes.last if checkpointing else 0)
    elif checkpointing:
        backward = everything + trained  # frozen parameters stay from the one to the other
    else:
        backward = everything - sizes.embeddings - sizes.first  # nothing to train there, or before
    return {
        ("rollout", "all-gather"): everything * (min(passes.rollout, 1) if gathered else passes.rollout),
        ("old scores", "all-gather"): everything * passes.old,
        ("reference scores", "all-gather"): (everything - (trained if sizes.adapter else 0)) * passes.reference,
        ("forward", "all-gather"): everything * passes.update,
        ("backward", "all-gather"): backward * passes.update,
        ("backward", "reduce-scatter"): trained * passes.update,
    }


def _fsdp2(sizes: Sizes, passes: Passes, gathered: bool) -> dict[tuple[str, str], int]:
    """
    Layers computed again are there already. Gradients are summed over micro-batches in full, and sent once.

    In lockstep, accelerate leaves final norm and LM head in place from one forward pass to the next, up to a backward
    pass; a gathered rollout ends that. The first backward pass of an update also asks for what the forward pass
    before it used last, in vain.
    """
    everything, tail = sizes.parameters, 0 if gathered else sizes.tail
    in_place = {"rollout": passes.rollout, "old scores": passes.old}
    if sizes.adapter:
        in_place["reference scores"] = passes.reference
    counts = Counter({(name, "all-gather"): (everything - tail) * count for name, count in in_place.items()})
    if gathered:
        counts["rollout", "all-gather"] = everything * min(passes.rollout, 1)
    if not sizes.adapter:
        counts["reference scores", "all-gather"] = everything * passes.reference
    before = next((name for name, count in in_place.items() if count), None)
    if before is not None:
        counts[before, "all-gather"] += tail
    counts["forward", "all-gather"] = everything * passes.update - (tail if before else 0)
    counts["backward", "all-gather"] = (everything - tail) * passes.update
    if before is not None and not sizes.adapter:
        counts["backward", "all-gather"] += sizes.tail
    counts["backward", "reduce-scatter"] = sizes.trained
    return dict(counts)


def ring_share(kind: str, processes: int) -> float:
    """What a process sends in a ring, over the payload."""
    share = (processes - 1) / processes
    return {"all-reduce": 2 * share, "all-gather": share, "reduce-scatter": share, "broadcast": share}[kind]


def elements_sent(counts: dict[tuple[str, str], int], processes: int) -> float:
    """What a process sends in an update, all phases together."""
    return sum(ring_share(kind, processes) * elements for (_, kind), elements in counts.items())


def seconds_to_send(
    sent: float, processes: int, inside: float, between: float, in_node: int = 8
) -> tuple[float, float]:
    """
    At least, and at most. Between nodes, a ring enters and leaves each node once. Its parts may take all links of a
    node at a time, one per GPU, or a single one.

    Args:
        sent (`float`):
            Bytes that a process sends.
        processes (`int`):
            One per GPU.
        inside (`float`):
            Bytes per second that a GPU sends within a node.
        between (`float`):
            Bytes per second of a GPU's link to other nodes.
        in_node (`int`):
            GPUs in a node.
    """
    if processes <= in_node:
        return sent / inside, sent / inside
    return sent / min(inside, in_node * between), sent / min(inside, between)


def update_flops(sizes: Sizes, passes: Passes, tokens: int, rollout_tokens: int, checkpointing: bool = True) -> float:
    """
    Floating-point operations of a process in an update: two per parameter and token forward, as many for the gradient
    of activations, as many again for that of trained parameters. Attention's own, 3 % at 1,024 tokens, are left out.

    Args:
        sizes (`Sizes`):
            Of the model.
        passes (`Passes`):
            Of each process.
        tokens (`int`):
            In a pass of scores or loss.
        rollout_tokens (`int`):
            In a pass of the rollout.
        checkpointing (`bool`):
            Whether layers are computed again in the backward pass.
    """
    matrices = sizes.parameters - sizes.embeddings
    forward = passes.rollout * rollout_tokens + (passes.old + passes.reference + passes.update) * tokens
    again = passes.update * tokens * (2 if checkpointing else 1)  # and the gradient of activations
    return 2 * matrices * (forward + again) + 2 * min(sizes.trained, matrices) * passes.update * tokens


def llada_8b(rank: int | None = None) -> Sizes:
    """LLaDA-8B, trained in full, or LoRA of a rank on all linear layers of the blocks."""
    width, hidden, layers, vocabulary = 4096, 12288, 32, 126464
    matrices = [(width, width)] * 4 + [(width, hidden)] * 3
    parameters = 2 * vocabulary * width + width + layers * (2 * width + sum(a * b for a, b in matrices))
    sizes = {"embeddings": vocabulary * width, "tail": (vocabulary + 1) * width}
    if rank is None:
        return Sizes(parameters, parameters, **sizes, last=layers * width * hidden, first=3 * width**2)
    trained = layers * sum(rank * (a + b) for a, b in matrices)
    last = layers * (width * hidden + rank * (width + hidden))
    first = 3 * (width**2 + 2 * rank * width)
    return Sizes(parameters + trained, trained, **sizes, last=last, first=first)
