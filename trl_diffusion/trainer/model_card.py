# SPDX-License-Identifier: Apache-2.0
"""The model card: TRL's own shows a left-to-right `pipeline`, which a diffusion model has not."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from huggingface_hub import ModelCard, ModelCardData

from ..models import get_family


if TYPE_CHECKING:
    from .base_trainer import DiffusionGRPOTrainer


_VERSIONS = ("trl-diffusion", "trl", "transformers", "torch", "datasets", "peft")

# What a table of evaluations shows, if it was logged.
_COLUMNS = {"eval_reward": "reward", "eval_sampler/nfe": "nfe", "eval_sampler/tokens_per_step": "tokens per step"}


def make_model_card(
    trainer: DiffusionGRPOTrainer,
    base_model: str | None,
    model_name: str | None,
    dataset_name: str | None,
    tags: list[str],
) -> ModelCard:
    """
    The card of what a trainer has trained so far.

    Args:
        trainer ([`DiffusionGRPOTrainer`]):
            The trainer.
        base_model (`str`, *optional*):
            Id of the model that training started from.
        model_name (`str`, *optional*):
            Name for people.
        dataset_name (`str`, *optional*):
            Id of the dataset.
        tags (`list[str]`):
            Tags beside the method's.

    Returns:
        [`~huggingface_hub.ModelCard`]
    """
    args, paper = trainer.args, trainer._paper
    model_id = trainer.hub_model_id or os.path.basename(os.path.normpath(cast(str, args.output_dir)))
    card_data = ModelCardData(
        base_model=base_model,
        datasets=dataset_name,
        library_name="transformers",
        model_name=model_name or model_id.split("/")[-1],
        tags=sorted({"generated_from_trainer", "masked-diffusion", *trainer._tag_names, *tags}),
    )
    columns, evaluations = _evaluations(trainer.state.log_history)
    return ModelCard.from_template(
        card_data,
        template_path=str(files("trl_diffusion").joinpath("templates/model_card.md")),
        model_name=card_data.model_name,
        model_id=model_id,
        base_model=base_model,
        dataset_name=dataset_name,
        family=get_family(trainer.model.config).name,
        trainer_name=trainer._name,
        paper_id=paper.get("id"),
        paper_title=paper.get("title"),
        citation=paper.get("citation"),
        decoder=trainer.decoder("eval").describe(),
        columns=columns,
        evaluations=evaluations,
        steps=trainer.state.global_step,
        num_generations=args.num_generations,
        learning_rate=args.learning_rate,
        beta=args.beta,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Those of the packages that a result depends on most."""
    return {name: version(name) for name in _VERSIONS}


def _evaluations(log_history: list[dict[str, Any]]) -> tuple[list[str], dict[int, list[str]]]:
    """Columns, and by step their values."""
    logged = [entry for entry in log_history if "eval_reward" in entry]
    found = [name for name in _COLUMNS if any(name in entry for entry in logged)]
    rows = {entry["step"]: [f"{entry[name]:.4g}" if name in entry else "" for name in found] for entry in logged}
    return [_COLUMNS[name] for name in found], rows
