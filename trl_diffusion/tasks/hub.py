# SPDX-License-Identifier: Apache-2.0
"""Datasets of problems from the Hub, and the small samples that ship with the package for when there is no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from datasets import Dataset, load_dataset

from .splits import Split


def load_sample(name: str, split: Split) -> Dataset:
    """The problems of `samples/<name>.jsonl` that belong to a split, with the columns of the Hub's dataset."""
    text = files(__package__).joinpath("samples", f"{name}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return Dataset.from_list([row for row in rows if row.pop("split") == split])


def load_from_hub(hub_id: str, config: str | None, split: str, revision: str | None) -> Dataset:
    """One split of a dataset: a Hub id, or a folder with the same layout."""
    return load_dataset(hub_id, config, split=split, revision=revision)


def select(dataset: Dataset, size: int | None, seed: int) -> Dataset:
    """
    All rows in their order, or so many drawn at random without repeating one.

    Raises:
        `ValueError`: If there are not as many.
    """
    if size is None:
        return dataset
    if not 0 < size <= len(dataset):
        raise ValueError(f"`size` must be between 1 and {len(dataset)}, the rows there are, got {size}.")
    return dataset.shuffle(seed=seed).select(range(size))


def map_rows(dataset: Dataset, row: Callable[[dict], dict[str, Any]]) -> Dataset:
    """The dataset with the columns that `row` returns, and no others."""
    return Dataset.from_list([row(example) for example in dataset])
