# SPDX-License-Identifier: Apache-2.0
"""Finding the answer in what a model wrote."""

from __future__ import annotations

import re
from typing import Any


# Nothing a sensible answer needs. Longer texts are cut before anything looks at them.
MAX_CHARACTERS = 20_000

_OPENING = re.compile(r"<answer>", re.IGNORECASE)
_CLOSING = re.compile(r"</answer>", re.IGNORECASE)
_SPECIAL = re.compile(r"<\|[a-zA-Z_]{1,32}\|>")


def completion_text(completion: Any) -> str:
    """The text of a completion, plain or conversational, its end if it is absurdly long."""
    if isinstance(completion, list):
        last = completion[-1] if completion else None
        completion = last.get("content") if isinstance(last, dict) else ""
    return completion[-MAX_CHARACTERS:] if isinstance(completion, str) else ""


def extract_answer(completion: Any) -> str:
    """
    What stands between the last `<answer>` and the `</answer>` after it, or the whole text if there is no tag.

    A missing closing tag is forgiven. End-of-text tokens that survived decoding are removed.
    """
    text = _SPECIAL.sub("", completion_text(completion))
    openings = list(_OPENING.finditer(text))
    if openings:
        text = text[openings[-1].end() :]
        closing = _CLOSING.search(text)
        text = text[: closing.start()] if closing else text
    return text.strip()
