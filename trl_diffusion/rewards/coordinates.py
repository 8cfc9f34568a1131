# SPDX-License-Identifier: Apache-2.0
"""Points, and the equations for their coordinates."""

from __future__ import annotations

import string

from .answers import Answer


_POLAR = ["r", r"\theta"]


def as_point(listing: Answer) -> Answer | None:
    """`(2, -1)` for `x = 2, y = -1` and for `y = -1, x = 2`; `None` where the order is not known."""
    items = sorted(listing.value, key=lambda item: (len(item.name), item.name))
    names = [item.name for item in items]
    # Neighbours in the alphabet. Of others, such as b and m, either may have been asked for first.
    ordered = "".join(names) in string.ascii_lowercase or names == _POLAR
    if listing.connective == "or" or not all(names) or not ordered or len(set(names)) < len(names):
        return None
    return Answer("group", tuple(Answer(item.kind, item.value, "", item.brackets) for item in items), brackets="()")
