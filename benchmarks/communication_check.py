# SPDX-License-Identifier: Apache-2.0
"""What was counted, against the closed form and against the bytes at the sockets."""

from .communication_model import Passes, Sizes, elements_sent, payload, ring_share


# Which phase makes which passes.
PASSES = {"rollout": "rollout", "old": "old scores", "reference": "reference scores", "update": "forward"}


def predicted(found):
    """By the closed form, from the sizes of the model and the number of passes."""
    passes = Passes(**{name: found["passes"].get(phase, 0) for name, phase in PASSES.items()})
    return payload(found["engine"], Sizes(**found["sizes"]), passes, found["gathered"], found["checkpointing"])


def counted(found, what="elements"):
    """By phase and kind, `"elements"` or `"bytes"`."""
    place = {"elements": 1, "bytes": 2}[what]
    return {
        (phase, kind): entry[place]
        for phase, kinds in found["counts"].items()
        for kind, entry in kinds.items()
        if kind != "barrier"
    }


def bytes_of_gloo(found):
    """What gloo sends for the counted collectives: it makes a reduce-scatter of an all-reduce."""
    return sum(
        ring_share("all-reduce" if kind == "reduce-scatter" else kind, found["processes"]) * size
        for (_, kind), size in counted(found, "bytes").items()
    )


def check(found, tolerance=0.05):
    """In each phase and of each kind, in all, and at the sockets."""
    expected, counts = predicted(found), counted(found)
    few = max(0.01 * found["sizes"]["trained"], 2000)  # metrics, norms and flags, which the closed form leaves out
    for key in expected.keys() | counts.keys():
        a, b = expected.get(key, 0), counts.get(key, 0)
        assert abs(a - b) <= tolerance * a + few, (found["engine"], key, a, b)
    a, b = (elements_sent(elements, found["processes"]) for elements in (expected, counts))
    assert abs(a - b) <= tolerance * a, (found["engine"], a, b)
    calls = sum(entry[0] for kinds in found["counts"].values() for entry in kinds.values())
    sent = bytes_of_gloo(found)
    assert abs(sent - found["sent"]) <= tolerance * sent + 200 * calls, (found["engine"], sent, found["sent"])
