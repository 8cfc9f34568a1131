# SPDX-License-Identifier: Apache-2.0
"""Where things are found: options of `from_pretrained` that are about the Hub, and not about the model."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig


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
