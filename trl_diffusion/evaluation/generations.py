# SPDX-License-Identifier: Apache-2.0
"""
What a model wrote, and the file that keeps it.

The file is JSON lines: a header with all that is needed to write the same again, then a line per sample, with the
columns of the dataset that rewards read. While samples are made they go to files beside it, `<path>.part-…`, one per
process and run, each with a header of its own; when all are there, they are put together in their place at once. So a
run may be killed at any moment, and goes on with another number of processes.
"""

from __future__ import annotations

import glob
import json
import os
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..generation import DiffusionGenerationConfig, Trajectory
from .records import check_generations_header, check_sample, parse, sample_kinds


FORMAT = "trl-diffusion generations 1"
_RECORDED = tuple(f.name for f in fields(Trajectory))
_WHOLE = {
    "completion_ids": torch.int64,
    "unmask_step": torch.int64,
    "nfe": torch.int64,
    "support": torch.int32,
}  # the others are float32


@dataclass(frozen=True)
class Generation:
    """
    One sample.

    Args:
        prompt_index (`int`):
            Row of the dataset.
        sample_index (`int`):
            Which of the prompt's samples it is, from 0.
        seed (`int`):
            Seed of its noise: `DiffusionSampler.sample(…, seeds=…)` writes it again.
        prompt (`str` or `list`):
            The prompt as the dataset has it.
        columns (`dict`):
            The dataset's other columns.
        prompt_ids (`list[int]`):
            The prompt's tokens.
        trajectory ([`~trl_diffusion.Trajectory`]):
            The full canvas and how it was written, one row.
        text (`str`):
            The text, up to its end and without special tokens.
        tokens (`int`):
            Tokens of the text, up to and including its end.
        ended (`bool`):
            Whether the text has an end; without one it is cut where the canvas was.
        seconds (`float`):
            Wall time of decoding the batch it was in, divided by the batch's rows.
    """

    prompt_index: int
    sample_index: int
    seed: int
    prompt: Any
    columns: dict[str, Any]
    prompt_ids: list[int]
    trajectory: Trajectory
    text: str
    tokens: int
    ended: bool
    seconds: float

    @property
    def nfe(self) -> int:
        """Forward passes."""
        return int(self.trajectory.nfe)

    def to_json(self) -> str:
        """One line."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "trajectory"}
        return json.dumps(plain | {name: _plain(x[0]) for name, x in self.trajectory.to_dict("").items()})

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Generation:
        """The inverse of [`~Generation.to_json`], of a line that has been parsed."""
        rows = {name: _tensor(name, line[name]) for name in _RECORDED if name in line}
        plain = {f.name: line[f.name] for f in fields(cls) if f.name != "trajectory"}
        return cls(**plain, trajectory=Trajectory.from_dict(rows, prefix=""))


def _plain(values: torch.Tensor) -> Any:
    """Numbers and lists; floats by the fewest digits that are read as the same float32."""
    if not values.is_floating_point():
        return values.tolist()
    numbers = values.float().numpy()
    return [float(str(x)) for x in numbers] if numbers.ndim else float(str(numbers))


def _tensor(name: str, values: Any) -> torch.Tensor:
    """The tensor of one row."""
    return torch.tensor([values], dtype=_WHOLE.get(name, torch.float32))


@dataclass
class Generations:
    """
    The samples of one model under one decoder.

    Args:
        header (`dict`):
            `settings`, on which the samples depend; `decoder`, those of decoding in short; `prompts` and
            `num_samples`, their numbers; `made_by`, where and with what versions they were made.
        samples (`list[Generation]`):
            By prompt, then by sample.
    """

    header: dict[str, Any]
    samples: list[Generation]

    @property
    def config(self) -> DiffusionGenerationConfig:
        """The decoder's settings."""
        return DiffusionGenerationConfig(**self.header["settings"]["decoder"])

    @property
    def trajectory(self) -> Trajectory:
        """The trajectories of all samples, in their order."""
        rows = [sample.trajectory.to_dict() for sample in self.samples]
        return Trajectory.from_dict({name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    def __len__(self) -> int:
        return len(self.samples)


def load_generations(path: str | os.PathLike) -> Generations:
    """
    Read what [`generate`] has written.

    Args:
        path (`str` or `os.PathLike`):
            The file.

    Raises:
        `FileNotFoundError`: If it is not there, or not finished.
        `ValueError`: If it is no such file, damaged, or does not hold each of its samples once.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, and no file of generations: name the file in it.")
    if not path.is_file():
        parts = _parts(path)
        raise FileNotFoundError(
            f"{path} does not exist."
            if not parts
            else f"{path} is not finished: {sum(len(_read(part).samples) for part in parts)} samples are in "
            f"{len(parts)} files beside it. Call `generate` with the same arguments to go on."
        )
    there = _read(path)
    if there.header is None:
        raise ValueError(f"{path} does not begin with a header of {FORMAT!r}: `generate` did not write it.")
    if faults := there.faults():
        raise ValueError(
            f"{path}: {'; '.join(faults)}. `generate`, or `trl-diffusion eval`, makes the file whole again when it is "
            "called with the same arguments, and keeps what is sound."
        )
    return Generations(there.header, sorted(there.samples, key=sample_key))


@dataclass
class Kept:
    """
    What is there of the samples of a file, finished or not.

    Args:
        headers (`list[dict]`):
            Of the files read.
        samples (`dict[tuple[int, int], Generation]`):
            By prompt and sample.
        parts (`list[Path]`):
            Files beside it that were read.
        faults (`list[str]`):
            What is wrong with the file itself; nothing if it does not exist.
    """

    headers: list[dict[str, Any]]
    samples: dict[tuple[int, int], Generation]
    parts: list[Path]
    faults: list[str]

    def complete(self, header: dict[str, Any]) -> dict[str, Any]:
        """A header that names all that took part."""
        made_by: list[dict[str, Any]] = []
        for entry in [entry for kept in self.headers for entry in kept["made_by"]]:
            if entry not in made_by:
                made_by.append(entry)
        return header | {"made_by": made_by}


def read_all(path: Path, settings: dict[str, Any], *, warn: bool = False) -> Kept:
    """
    Read a file and those beside it. Lines that are damaged are left out, with a warning if `warn` asks for it.

    Raises:
        `ValueError`: If one was made with other settings.
    """
    if path.is_dir():
        raise ValueError(f"`path`: {path} is a folder. Name a file in it.")
    kept = Kept([], {}, _parts(path), [])
    for file in ([path] if path.is_file() else []) + kept.parts:
        there = _read(file)
        if there.header is None:
            if file == path:
                raise ValueError(f"`path`: {path} exists and is no file of generations. Choose another one.")
            continue  # killed before the header was whole
        if differences := list(_differences(there.header["settings"], settings)):
            raise ValueError(
                f"`path`: {file} holds generations with other settings: {'; '.join(differences)}. Choose another "
                "`path`, or delete the file to begin anew."
            )
        for fault in there.damaged if warn else ():
            warnings.warn(f"{file}: {fault}. That sample is made again.", stacklevel=3)
        if file == path:
            kept.faults = there.faults()
        kept.headers.append(there.header)
        kept.samples |= {sample_key(sample): sample for sample in there.samples}
    return kept


def _beside(path: Path, name: str) -> Path:
    """A new one of the files beside it, see [`_parts`]."""
    return path.with_name(f"{path.name}.part-{name}-{uuid.uuid4().hex[:8]}")


def _parts(path: Path) -> list[Path]:
    return sorted(map(Path, glob.glob(f"{glob.escape(str(path))}.part-*")))


def sample_key(sample: Generation) -> tuple[int, int]:
    """The prompt, and which of its samples."""
    return sample.prompt_index, sample.sample_index


@dataclass
class _File:
    """A file as it lies there: the header, `None` if there is none, the samples, and the lines that are none."""

    header: dict[str, Any] | None
    samples: list[Generation]
    damaged: list[str]

    def faults(self) -> list[str]:
        """Why this is not each of the samples that the header speaks of, once."""
        assert self.header is not None
        prompts, num_samples = self.header["prompts"], self.header["num_samples"]
        keys = [sample_key(sample) for sample in self.samples]
        distinct = set(keys)  # not of those expected, which a damaged header may say are very many
        known = sum(i < prompts and s < num_samples for i, s in distinct)
        faults = list(self.damaged)
        if missing := prompts * num_samples - known:
            faults.append(
                f"{missing} of {prompts * num_samples} samples are missing ({prompts} prompts, {num_samples} of each)"
            )
        if repeated := len(keys) - len(distinct):
            faults.append(f"{repeated} samples are there more than once")
        if strange := len(distinct) - known:
            faults.append(f"{strange} samples are of no prompt, or of none that the header speaks of")
        return faults


def _read(path: Path) -> _File:
    """
    What is in a file. A last line that is not whole counts as not there: its writer was killed.

    Raises:
        `ValueError`: If its header is damaged.
    """
    with path.open("rb") as file:
        try:
            header = parse(file.readline())
        except ValueError:
            return _File(None, [], [])
        if header.get("format") != FORMAT:
            return _File(None, [], [])
        try:
            check_generations_header(header)
        except ValueError as error:
            raise ValueError(
                f"The header of {path} is damaged, or of another version: {error}. Delete the file, and make it again "
                "by `generate` or `trl-diffusion eval`."
            ) from error
        kinds, samples, damaged = sample_kinds(header["settings"]["decoder"]), {}, {}
        for number, line in enumerate(file, start=2):
            if not line.endswith(b"\n"):
                break
            try:
                record = parse(line)
                check_sample(record, kinds)
                samples[number] = Generation.from_json(record)
            except ValueError as error:
                damaged[number] = str(error)
    for number, fault in _strangers(samples).items():
        del samples[number]
        damaged[number] = fault
    faults = [f"line {number} is damaged ({fault})" for number, fault in sorted(damaged.items())]
    return _File(header, list(samples.values()), faults)


def _strangers(samples: dict[int, Generation]) -> dict[int, str]:
    """Samples, by line, whose columns or records are not those of most: all are of one dataset and one decoder."""
    faults: dict[int, str] = {}
    for what, names_of in (
        ("columns", lambda sample: tuple(sorted(sample.columns))),
        ("records", lambda sample: tuple(sorted(sample.trajectory.to_dict("")))),
    ):
        names = {number: names_of(sample) for number, sample in samples.items()}
        counts = Counter(names.values())
        usual = max(counts, key=lambda own: (counts[own], len(own)), default=())
        for number, own in names.items():
            if own != usual:
                listed = [", ".join(x) or "none" for x in (own, usual)]
                faults[number] = f"its {what} are {listed[0]}, and those of most lines {listed[1]}"
    return faults


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    """The settings in which two headers differ, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}" if name else key)
    elif there != here:
        yield f"{name} is {there!r} there and {here!r} here"


class PartWriter:
    """
    Writes the samples of this process to a file of its own, beside `path`.

    Args:
        path (`Path`):
            The file that will hold them in the end.
        header (`dict`):
            Its header.
        process_index (`int`):
            Of this process.
    """

    def __init__(self, path: Path, header: dict[str, Any], process_index: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _beside(path, f"{process_index:05d}").open("x", encoding="utf-8")
        self._lines([json.dumps(header)])

    def write(self, samples: Iterable[Generation]) -> None:
        """Returns when they are on disk."""
        self._lines(sample.to_json() for sample in samples)

    def _lines(self, lines: Iterable[str]) -> None:
        self._file.writelines(f"{line}\n" for line in lines)
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def publish(path: Path, header: dict[str, Any], keys: list[tuple[int, int]], kept: Kept) -> None:
    """
    Put samples in their place, at once, and delete the files beside it if they hold nothing else. If there are others,
    of a run with more samples per prompt, they stay beside it.

    Raises:
        `ValueError`: If some are missing.
    """
    if missing := sum(key not in kept.samples for key in keys):
        raise ValueError(
            f"{missing} of {len(keys)} samples are missing: `path` ({path}) must be on a disk that all processes "
            "share."
        )
    whole = path.with_name(f"{path.name}.whole")
    with whole.open("w", encoding="utf-8") as file:
        file.write(json.dumps(kept.complete(header)) + "\n")
        file.writelines(f"{kept.samples[key].to_json()}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    if len(kept.samples) > len(keys) and path.is_file():
        path.replace(_beside(path, "kept"))
    whole.replace(path)
    if len(kept.samples) == len(keys):
        for part in kept.parts:
            part.unlink(missing_ok=True)
