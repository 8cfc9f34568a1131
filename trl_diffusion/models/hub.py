# SPDX-License-Identifier: Apache-2.0
"""Where things are found: options of `from_pretrained` that are about the Hub, and not about the model."""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import GenerationConfig

from .. import embedded


_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies", "subfolder")


def hub_options(options: dict[str, Any]) -> dict[str, Any]:
    """Those that say where, and whether, to look on the Hub."""
    return {name: options[name] for name in _OPTIONS if options.get(name) is not None}


def saved_generation_config(name: str, options: dict[str, Any]) -> GenerationConfig | None:
    """The generation configuration that lies beside a model or an adapter, if one does."""
    try:
        return GenerationConfig.from_pretrained(name, **hub_options(options))
    except OSError:
        return None


def model_path(name: str) -> str:
    """
    The folder of an embedded model, such as `"embedded/sudoku"`; any other name as it is.

    Raises:
        `ValueError`: If it can be nothing but a folder, and there is none; or if there is no such embedded model.
    """
    if name.startswith(embedded.EMBEDDED):
        return embedded.path(name.removeprefix(embedded.EMBEDDED))
    if not os.path.exists(name):
        try:
            validate_repo_id(name)
        except HFValidationError:
            raise ValueError(f"The folder {name!r} does not exist, and no model on the Hub has such a name.") from None
    return name
