# SPDX-License-Identifier: Apache-2.0
"""
Finding the answer in what a model wrote.

An answer has to be marked: by `<answer>` tags, by a box, or by standing alone. Nothing here looks for the last number
of a text, which would pay for numbers that no one gave as an answer.
"""

from __future__ import annotations

import re
from typing import Any


# Nothing a sensible answer needs. Longer texts are cut before anything looks at them.
MAX_CHARACTERS = 20_000

_OPENING = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
# Any tag of the format ends an answer, also where the wrong one was closed.
_CLOSING = re.compile(r"<\s*/\s*answer|</?\s*(?:reasoning|think)\b", re.IGNORECASE)
_CUT_TAG = re.compile(r"</?[a-z]{0,9}\Z", re.IGNORECASE)  # the canvas ended in the midst of the closing tag
_END_OF_TEXT = re.compile(r"<\|(?:eot_id|endoftext|end_of_text|im_end|eos|end)\|>|</s>|<eos>|<end_of_turn>|\[/INST\]")
_MASK = re.compile(r"<\|[a-z0-9_]{0,16}mask[a-z0-9_]{0,16}\|>|\[mask\]|<mask>", re.IGNORECASE)
UNKNOWN = "\ufffd"  # a token that was never filled
_SPECIAL = re.compile(r"<\|[a-zA-Z0-9_]{1,32}\|>")
_ROWS_APART = re.compile(r"[0-9 |]+(?:\n\s*(?=[0-9|])[0-9 |]+){3,}(?=\s*(?:\Z|\n\s*\n))")
_FENCE = re.compile(r"```(?:[a-zA-Z]{0,16}[ \t]*\n)?([^`]*)(?:```)?")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
# A box that holds nothing, or the canvas ended before it held anything, or nothing but another one of those.
_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{(?:[\s$]|\\[)\]])*(?:\}|\Z|(?=\\(?:boxed|fbox)))|(?=[$}]|\Z))")
_LIST_GOES_ON = re.compile(r"(?:,|\band\b|\bor\b|\\text\s*\{\s*(?:and|or)\s*\})[\s$]*\Z")
_LISTED = re.compile(
    r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}[\s$]*(?:,\s*)?"
    r"(?:(?:and|or)\b|\\text\s*\{\s*(?:and|or)\s*\}|(?<=,))[\s$]*",
)
_PLEASANTRY = re.compile(
    r"(?:(?<=[.!$*])|\n)\s{0,9}(?:I hope (?:this|that|it) (?:helps|is correct)|Let me know if you [a-zA-Z ]{1,60})"
    r"[.!?]*\s*\Z"
)
_HEADING = re.compile(
    r"(?:\A|\n)[ \t*_#]{0,9}(?:the\s)?(?:final\s)?answer[ \t*_]{0,9}\n\s{0,9}(\S[^\n]*)\Z", re.IGNORECASE
)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_MARKER = re.compile(r"####[ \t]*([^\n]*)")
_STATEMENT = re.compile(
    r"(?:^|(?<=[.!:]\s))[\s*_#]*(?:(?:so|thus|hence|therefore)\b,?\s*)?(?:the\s+|my\s+)?(?:final\s+|correct\s+)?"
    r"answer\b(?:\s+is\b|\s*:|\s*=)[\s*_]*:?(.*)$",
    re.IGNORECASE,
)


def completion_text(completion: Any) -> str:
    """The text of a completion, plain or conversational, its end if it is absurdly long."""
    if isinstance(completion, list):
        last = completion[-1] if completion else None
        completion = last.get("content") if isinstance(last, dict) else ""
    if isinstance(completion, list):  # content in parts
        texts = [part.get("text") for part in completion if isinstance(part, dict) and part.get("type") == "text"]
        completion = "".join(text for text in texts if isinstance(text, str))
    return completion[-MAX_CHARACTERS:] if isinstance(completion, str) else ""


def visible_text(completion: Any) -> str:
    """The text up to its first end-of-text token. Masks are U+FFFD, which no answer holds; other tokens separate."""
    text = _MASK.sub(UNKNOWN, _END_OF_TEXT.split(completion_text(completion), maxsplit=1)[0])
    return _SPECIAL.sub(" ", text).strip()


def extract_answer(completion: Any) -> str:
    r"""
    What a completion gives as its answer.

    That is what stands between the last `<answer>` and the `</answer>` after it, without tags in the last box, and
    without a box the whole text. Inside the tags, too, a box is opened. Tags and boxes with nothing in them are passed
    over for those before them. A missing closing tag or brace is forgiven: the answer then ends with its paragraph or
    line. What follows an end-of-text token does not count. With a mask left in it, it is no answer: nobody knows which
    token was to stand there.

    Args:
        completion (`str` or `list`):
            A completion, plain or conversational.

    Returns:
        `str`: the answer as it was written, without surrounding space; empty if there is none.
    """
    text = visible_text(completion)
    tagged = _last_tagged(text)
    answer = text if tagged is None else tagged[0]
    box = last_boxed(answer)
    return _filled(answer if box is None else box)


def extract_final_answer(completion: Any) -> str:
    r"""
    [`extract_answer`] for answers of one line, as in mathematics.

    Two more marks are known where there is no box: GSM8K's `#### 72`, inside of tags, too, and without tags a last
    line that says `The answer is 72`. What they mark is all that follows: `The answer is 12, not 15` gives `12, not
    15`, which is no number. After an `<answer>` that is never closed, only the first line counts.
    """
    text = visible_text(completion)
    tagged = _last_tagged(text)
    answer = text if tagged is None else tagged[0]
    box = last_boxed(answer)
    if box is not None:
        return _filled(", ".join([*_boxes_before(answer), box]))
    if tagged is not None and not tagged[1]:
        answer = answer.strip().split("\n")[0]
    markers = [marked for marked in _MARKER.findall(answer) if marked.strip()]
    if markers or tagged is not None:
        return _filled(markers[-1] if markers else answer)
    text = _PLEASANTRY.sub("", text)
    heading = _HEADING.search(text)
    return _filled(heading[1] if heading else strip_statement(text.split("\n")[-1]) or text)


def strip_statement(line: str) -> str:
    """What a line says the answer is: `72` for `So the answer is 72`. Empty if it says no such thing."""
    statement = _STATEMENT.search(line)
    return statement.group(1).strip() if statement else ""


def last_boxed(text: str) -> str | None:
    r"""
    What stands in the last `\boxed{…}` or `\fbox{…}` that holds anything, empty if none does, `None` if there is none.

    A box that is never closed ends with its line.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    filled = _up_to_the_last_filled(boxes)
    return _box_content(text[filled[-1].end() :]) if filled else ""


def _up_to_the_last_filled(boxes: list[re.Match]) -> list[re.Match]:
    """Without the empty ones at the end, with which a canvas may end; without any if a list is torn there."""
    while boxes and _EMPTY_BOX.match(boxes[-1].string, boxes[-1].start()):
        start = boxes[-1].start()
        if _LIST_GOES_ON.search(boxes[-1].string[max(0, start - 30) : start]):  # \boxed{1} and \boxed{
            return []
        boxes = boxes[:-1]
    return boxes


def _box_content(rest: str) -> str:
    """What stands in the box that a text is the rest of."""
    if not rest.startswith("{"):  # \boxed 72
        return re.split(r"[\s$}]", rest, maxsplit=1)[0]
    depth = 0
    for brace in _BRACES.finditer(rest):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return rest[1 : brace.start()].strip()
    line = rest[1:].split("\n")[0]
    line = re.split(r"\$|\\\)|\\\]", line, maxsplit=1)[0].strip()
    return line + "}" * max(0, line.count("{") - line.count("}"))


def _boxes_before(text: str) -> list[str]:
    """What stands in other boxes of the last one's list, `\\boxed{1}` and `\\boxed{-2}`, if it is another."""
    starts = [match.start() for match in _up_to_the_last_filled(list(_BOX.finditer(text)))]
    last, boxes = last_boxed(text), []
    for start, after in zip(starts[-2::-1], starts[:0:-1]):
        found = _LISTED.fullmatch(text[start:after])
        if found is None:
            break
        boxes.append(found[1])
    return boxes[::-1] if last and any(box.strip() != last for box in boxes) else []


def _filled(answer: str) -> str:
    """The answer without surrounding space and fence, empty if a token of it was never filled."""
    answer = answer.strip()
    fence = _FENCE.fullmatch(answer)
    return "" if UNKNOWN in answer else fence[1].strip() if fence else answer


def _last_tagged(text: str) -> tuple[str, bool] | None:
    """What follows the last `<answer>` that has anything in it, and whether it was closed; `None` without a tag."""
    openings = list(_OPENING.finditer(text))
    if not openings:
        return None
    ends = [*(opening.start() for opening in openings[1:]), None]
    for opening, end in zip(reversed(openings), reversed(ends)):
        answer, closed = _tagged(text[opening.end() : end], is_last=end is None)
        if re.sub(r"[\s$}]", "", _EMPTY_BOX.sub("", answer)):
            return answer, closed
    return "", True


def _tagged(rest: str, is_last: bool) -> tuple[str, bool]:
    """What is the answer of the text between an `<answer>` and the next one, and whether it was closed."""
    closing = _CLOSING.search(rest)
    if closing:
        return rest[: closing.start()], True
    rest = rest.strip()
    rows = _ROWS_APART.match(rest)  # of a grid
    paragraph = rows[0] if rows else re.split(r"\n\s*\n", rest, maxsplit=1)[0]
    # <answer>72<answer>: the second tag was to close the first.
    return _CUT_TAG.sub("", paragraph), not is_last and paragraph == rest
