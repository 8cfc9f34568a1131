# SPDX-License-Identifier: Apache-2.0
"""What a run has measured, in a file of its own: there whole, or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


FORMAT = "trl-diffusion study 1"
FOLDER = Path(__file__).parents[1] / "results" / "study"


@dataclass(frozen=True)
class Answers:
    """
    What became of the held-out problems under one decoder.

    Args:
        correct (`str`):
            A bit per problem, in their order, as hexadecimal digits.
        problems (`int`):
            How many.
        passes (`float`):
            Forward passes per answer.
    """

    correct: str
    problems: int
    passes: float

    @property
    def bits(self) -> np.ndarray:
        """1 for a right answer, `(problems,)`."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.correct), np.uint8), count=self.problems).astype(float)

    @classmethod
    def pack(cls, right: list[bool], passes: float) -> Answers:
        return cls(np.packbits(np.array(right, bool)).tobytes().hex(), len(right), passes)


@dataclass(frozen=True)
class Record:
    """
    One run.

    Args:
        variant, task (`str`):
            Their keys.
        seed (`int`):
            Of the training.
        settings (`dict`):
            All else that it depends on.
        answers (`dict[str, Answers]`):
            By decoder: `"sampled"`, `"one per pass"`, `"bound 0.1"`, …; with a learned threshold also
            `"learned sampled"` and `"learned"`.
        curve (`dict[int, Answers]`):
            Sampled, after so many updates.
        rollouts (`dict[str, list[float]]`):
            Of each update: `accuracy` and `passes` of the completions that it learns from.
        seconds (`float`):
            Of a processor, for training alone.
        made_by (`dict[str, str]`):
            Versions.
    """

    variant: str
    task: str
    seed: int
    settings: dict[str, Any]
    answers: dict[str, Answers]
    curve: dict[int, Answers]
    rollouts: dict[str, list[float]]
    seconds: float
    made_by: dict[str, str]


def path_of(folder: Path, task: str, variant: str, seed: int) -> Path:
    return folder / task / f"{variant}.{seed}.json"


def save(folder: Path, record: Record) -> None:
    """Appears under its name when it is whole."""
    path = path_of(folder, record.task, record.variant, record.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"format": FORMAT} | asdict(record), indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def load(path: Path) -> Record:
    """
    Raises:
        `ValueError`: If it is no such file.
    """
    plain = json.loads(path.read_text(encoding="utf-8"))
    if plain.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no record of {FORMAT!r}. Delete it.")
    answers = {name: Answers(**own) for name, own in plain["answers"].items()}
    curve = {int(update): Answers(**own) for update, own in plain["curve"].items()}
    return Record(**plain | {"answers": answers, "curve": curve})


@dataclass
class Study:
    """
    All records in a folder.

    Args:
        records (`dict[tuple[str, str], dict[int, Record]]`):
            By task and variant, then by seed.
    """

    records: dict[tuple[str, str], dict[int, Record]]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Study:
        """
        Raises:
            `ValueError`: If runs of one variant were made under different settings.
        """
        records: dict[tuple[str, str], dict[int, Record]] = {}
        for path in sorted(folder.glob("*/*.json")):
            record = load(path)
            same = records.setdefault((record.task, record.variant), {})
            for other in same.values():
                if other.settings != record.settings:
                    raise ValueError(f"{path} was made under other settings than its sisters. Delete the older ones.")
            same[record.seed] = record
        return cls(records)

    def seeds(self, task: str, variant: str) -> dict[int, Record]:
        """The runs of a variant; none if there are none."""
        return self.records.get((task, variant), {})
