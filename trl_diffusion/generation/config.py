# SPDX-License-Identifier: Apache-2.0
"""Settings of the sampler.

What needs PyTorch is imported where it is used: the command line describes these settings before it loads that.
"""

from __future__ import annotations

import math
import numbers
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast


if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


# The field of transformers' generation configuration that holds the settings.
_CARRIED_AS = "diffusion"

# What does not matter for what is written.
COMPUTATION = ("max_batch_size", "use_cache", "drift_check_rate")

CACHES = ("prefix", "dual")
LEARNED_THRESHOLDS = ("off", "greedy", "sample")


class _RuleNames:
    """Names of the unmasking rules: also of one's own, which there can only be where the module of rules is loaded."""

    def __iter__(self) -> Iterator[str]:
        loaded = sys.modules.get(f"{__package__}.unmasking")
        ours = ("entropy_bound", "confidence_threshold", "low_confidence", "random", "left_to_right")
        return iter(ours if loaded is None else loaded.RULES)

    def __contains__(self, name: object) -> bool:
        return name in tuple(self)


RULE_NAMES = _RuleNames()


@dataclass
class DiffusionGenerationConfig:
    r"""
    Settings of [`DiffusionSampler`]. The same object decodes rollouts, evaluations and chats.

    Args:
        > Parameters that control the canvas

        max_new_tokens (`int`, *optional*, defaults to `256`):
            Length of the completion canvas, in tokens. A multiple of `block_length`.
        block_length (`int`, *optional*, defaults to `32`):
            Semi-autoregressive decoding: blocks of this many tokens are completed from left to right, tokens inside a
            block in any order.
        stop_at_eos (`bool`, *optional*, defaults to `True`):
            Whether a row ends as soon as its text is decided: every position up to its first end-of-text token is
            written. What would follow cannot change the text any more, and stays masked.
        eos_token_ids (`tuple[int, ...]`, *optional*, defaults to `()`):
            Tokens that end the text.

        > Parameters that control what is written in a step

        unmasking (`str`, *optional*, defaults to `"entropy_bound"`):
            The unmasking rule. `"entropy_bound"` and `"confidence_threshold"` adapt the number of tokens per step to
            the model's certainty; `"low_confidence"`, `"random"` and `"left_to_right"` follow a fixed schedule of
            `max_denoising_steps`.
        entropy_bound (`float`, *optional*, defaults to `0.1`):
            Bound of the entropy-bound rule, in nats ([EB-Sampler](https://huggingface.co/papers/2505.24857)). `0`
            writes one uncertain token per step, infinity the whole block.
        confidence_threshold (`float`, *optional*, defaults to `0.9`):
            Threshold of the confidence rule on the largest token probability
            ([Fast-dLLM](https://huggingface.co/papers/2505.22618)). Above `1`, one token per step.
        learned_threshold (`str`, *optional*, defaults to `"off"`):
            Whether the model's threshold head decides the threshold, in the place of the two above: `"greedy"` takes
            its most likely one, `"sample"` draws.
        max_denoising_steps (`int`, *optional*):
            Denoising steps over the whole completion, a multiple of the number of blocks, each of which has an equal
            share. The scheduled rules take as many, by default one per token. The adaptive ones take no more: in the
            last step of a block they write all that is left of it. By default they are not bounded.
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature that tokens are sampled at; `0` takes the most likely token. Positions are chosen from the
            untempered distribution, so that a threshold means the same at every temperature.
        top_k (`int`, *optional*):
            Tokens are drawn from this many most likely ones. Defaults to all.
        top_p (`float`, *optional*, defaults to `1.0`):
            Of these, from the fewest whose probabilities add up to `top_p`. Needs `top_k`, which bounds the record of
            what could have been drawn.

        > Parameters that control the computation

        max_batch_size (`int`, *optional*):
            Rows in one forward pass. As rows finish, waiting ones take their place. Defaults to all rows at once.
        use_cache (`bool`, *optional*, defaults to `True`):
            Whether to cache keys and values where that changes nothing: in models with block-causal attention.

        > Parameters that trade fidelity for speed

        approximate_cache (`str`, *optional*):
            Where keys and values are those of an earlier step, in models with full attention
            ([Fast-dLLM](https://huggingface.co/papers/2505.22618)): `"prefix"`, before the active block, or `"dual"`,
            on both sides of it; by default nowhere. The sampler then no longer draws from the model's own
            distribution.
        cache_refresh_interval (`int`, *optional*):
            Steps after which the whole canvas goes through the model again, within a block; at the start of each block
            it does in any case. `1` is no approximation.
        drift_check_rate (`float`, *optional*, defaults to `0.0`):
            Share of the steps with a cache that are also made without it, to measure how far it leads astray:
            [`Trajectory`]'s `drift`. Each costs a forward pass.
    """

    max_new_tokens: int = field(default=256, metadata={"help": "Length of the completion canvas, in tokens."})
    block_length: int = field(default=32, metadata={"help": "Tokens per semi-autoregressive block."})
    stop_at_eos: bool = field(default=True, metadata={"help": "Whether a row ends once its text is decided."})
    eos_token_ids: tuple[int, ...] = field(default=(), metadata={"help": "Tokens that end the text."})
    unmasking: str = field(default="entropy_bound", metadata={"help": "The unmasking rule.", "choices": RULE_NAMES})
    entropy_bound: float = field(default=0.1, metadata={"help": "Bound of the entropy-bound rule, in nats."})
    confidence_threshold: float = field(default=0.9, metadata={"help": "Threshold of the confidence rule."})
    learned_threshold: str = field(
        default="off",
        metadata={
            "help": "Whether the model's threshold head decides, by its most likely threshold or a drawn one.",
            "choices": LEARNED_THRESHOLDS,
        },
    )
    max_denoising_steps: int | None = field(
        default=None, metadata={"help": "Denoising steps; of adaptive rules, the most."}
    )
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature; 0 is greedy."})
    top_k: int | None = field(default=None, metadata={"help": "Draw from this many most likely tokens."})
    top_p: float = field(default=1.0, metadata={"help": "Draw from the most likely tokens up to this probability."})
    max_batch_size: int | None = field(default=None, metadata={"help": "Rows in one forward pass."})
    use_cache: bool = field(default=True, metadata={"help": "Whether to cache keys and values where it is exact."})
    approximate_cache: str | None = field(
        default=None,
        metadata={"help": "Read keys and values of earlier steps, which is an approximation.", "choices": CACHES},
    )
    cache_refresh_interval: int | None = field(
        default=None, metadata={"help": "Steps after which an approximate cache is computed anew, within a block."}
    )
    drift_check_rate: float = field(
        default=0.0, metadata={"help": "Share of the steps with an approximate cache that are checked without it."}
    )

    def __post_init__(self) -> None:
        self.eos_token_ids = tuple(map(int, self.eos_token_ids))  # also NumPy's, which JSON does not know
        self.validate()

    def validate(self) -> None:
        """
        Raises:
            `TypeError`: If a value has the wrong type.
            `ValueError`: If a value, or a combination of values, has no meaning.
        """
        from .unmasking import RULES, SCHEDULED_RULES, THRESHOLD_RULES

        self._check_types()
        for name in ("max_new_tokens", "block_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.max_new_tokens % self.block_length:
            blocks = range(self.block_length, 0, -1)
            divisor = next(block for block in blocks if self.max_new_tokens % block == 0)
            below = self.max_new_tokens // self.block_length * self.block_length or self.block_length
            raise ValueError(
                f"`max_new_tokens` ({self.max_new_tokens}) must be a multiple of `block_length` "
                f"({self.block_length}). Set `block_length={divisor}` or `max_new_tokens={below}`."
            )
        if self.unmasking not in RULES:
            raise ValueError(f"`unmasking` must be one of {', '.join(map(repr, RULES))}, got {self.unmasking!r}.")
        if self.learned_threshold not in LEARNED_THRESHOLDS:
            raise ValueError(
                f"`learned_threshold` must be 'off', 'greedy' or 'sample', got {self.learned_threshold!r}."
            )
        if self.learned_threshold != "off" and self.unmasking in SCHEDULED_RULES:
            raise ValueError(
                f"`learned_threshold={self.learned_threshold!r}` needs a rule with a threshold, which "
                f"`unmasking={self.unmasking!r}` has not. Use one of {', '.join(map(repr, THRESHOLD_RULES))}."
            )
        if math.isinf(self.temperature):
            raise ValueError("`temperature` must be finite.")
        for name in ("entropy_bound", "confidence_threshold", "temperature"):
            if not getattr(self, name) >= 0:  # also refuses NaN
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"`top_k` must be at least 1, got {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` must lie in (0, 1], got {self.top_p}.")
        if self.top_p < 1 and self.top_k is None:
            raise ValueError(f"`top_p={self.top_p}` needs `top_k`, which bounds the record of what could be drawn.")
        if self.max_batch_size is not None and self.max_batch_size < 1:
            raise ValueError(f"`max_batch_size` must be at least 1, got {self.max_batch_size}.")
        self._check_cache()
        steps = self.max_denoising_steps
        if steps is not None and (steps % self.num_blocks or not self.num_blocks <= steps <= self.max_new_tokens):
            raise ValueError(
                f"`max_denoising_steps` ({steps}) must be a multiple of the number of blocks ({self.num_blocks}) and "
                f"at most the completion length ({self.max_new_tokens})."
            )

    def _check_cache(self) -> None:
        if self.approximate_cache is not None and self.approximate_cache not in CACHES:
            raise ValueError(
                f"`approximate_cache` must be one of {', '.join(map(repr, CACHES))}, got {self.approximate_cache!r}."
            )
        for name in ("cache_refresh_interval", "drift_check_rate"):
            if getattr(self, name) and self.approximate_cache is None:
                raise ValueError(f"`{name}` has no effect without `approximate_cache`.")
        if self.cache_refresh_interval is not None and self.cache_refresh_interval < 1:
            raise ValueError(f"`cache_refresh_interval` must be at least 1, got {self.cache_refresh_interval}.")
        if not 0 <= self.drift_check_rate <= 1:
            raise ValueError(f"`drift_check_rate` must lie in [0, 1], got {self.drift_check_rate}.")
        if self.drift_check_rate and (self.temperature == 0 or self.top_k is not None):
            raise ValueError(
                "`drift_check_rate` needs tokens that are drawn from the whole distribution: a `temperature` above 0, "
                "and no `top_k`."
            )

    def _check_types(self) -> None:
        kinds = {int: numbers.Integral, float: numbers.Real, str: str, bool: bool}
        for f in fields(self):
            value, annotation = getattr(self, f.name), str(f.type)
            if annotation.startswith("tuple") or (value is None and "None" in annotation):
                continue
            kind = next(kind for kind in kinds if annotation.startswith(kind.__name__))
            if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(f"`{f.name}` must be {kind.__name__}, got {value!r}.")
            setattr(self, f.name, kind(value))

    @property
    def num_blocks(self) -> int:
        """Number of blocks in the completion."""
        return self.max_new_tokens // self.block_length

    @property
    def steps_per_block(self) -> int:
        """Denoising steps that a scheduled rule spends on one block, and an adaptive one at most."""
        return (self.max_denoising_steps or self.max_new_tokens) // self.num_blocks

    @property
    def threshold(self) -> float:
        """The threshold of the adaptive rules; NaN for the scheduled ones, which have none."""
        if self.unmasking == "entropy_bound":
            return self.entropy_bound
        return self.confidence_threshold if self.unmasking == "confidence_threshold" else float("nan")

    @staticmethod
    def carried_by(model: PreTrainedModel | str) -> bool:
        """Whether a model, or what lies under an id or in a folder, carries settings."""
        if isinstance(model, str):
            from ..models.hub import saved_generation_config

            carrier = saved_generation_config(model, {})
        else:
            carrier = getattr(model, "generation_config", None)
        return getattr(carrier, _CARRIED_AS, None) is not None

    @classmethod
    def from_model(cls, model: PreTrainedModel, **overrides: Any) -> DiffusionGenerationConfig:
        """
        The settings that a model carries in its `generation_config.json`, where the trainers put those it was trained
        with.

        Args:
            model ([`~transformers.PreTrainedModel`]):
                The model, possibly wrapped by PEFT.
            overrides:
                Fields to change.

        Raises:
            `ValueError`: If the model carries none.
        """
        return cls._read(getattr(model, "generation_config", None), "The model", overrides)

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike, *, revision: str | None = None, **overrides: Any
    ) -> DiffusionGenerationConfig:
        """
        The settings that a trainer has saved beside a model or an adapter, for models that were put together by hand
        (`peft.PeftModel.from_pretrained` does not read them).

        Args:
            name (`str` or `os.PathLike`):
                Id on the Hub, or a folder.
            revision (`str`, *optional*):
                Branch, tag or commit on the Hub.
            overrides:
                Fields to change.

        Raises:
            `ValueError`: If there are none.
        """
        from ..models.hub import saved_generation_config

        return cls._read(saved_generation_config(os.fspath(name), {"revision": revision}), f"{name!r}", overrides)

    @classmethod
    def _read(
        cls, carrier: GenerationConfig | None, where: str, overrides: dict[str, Any]
    ) -> DiffusionGenerationConfig:
        settings = getattr(carrier, _CARRIED_AS, None)
        if settings is None:
            raise ValueError(
                f"{where} carries no decoding settings in its `generation_config`: pass a "
                "`DiffusionGenerationConfig`. Models that the trainers have saved carry theirs; those of an adapter "
                "that PEFT has loaded are read by `DiffusionGenerationConfig.from_pretrained(adapter)`."
            )
        unknown = set(settings) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(
                f"{where} carries decoding settings that this version does not know: {', '.join(sorted(unknown))}. "
                "Update trl-diffusion, or pass a `DiffusionGenerationConfig`."
            )
        return cls(**settings | overrides)

    def attach_to(self, model: PreTrainedModel, mask_token_id: int | None = None) -> None:
        """
        Have a model carry these settings in its `generation_config`, wherever it is saved or pushed. How to compute is
        not among them; for adapters, whose base model may say nothing about them, the description of the threshold
        head and the mask token are.

        Args:
            model ([`~transformers.PreTrainedModel`]):
                The model, possibly wrapped by PEFT.
            mask_token_id (`int`, *optional*):
                The mask token it was trained with, if its configuration does not name it.
        """
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in COMPUTATION}
        settings["eos_token_ids"] = list(self.eos_token_ids)
        carrier = cast(Any, model.generation_config)
        setattr(carrier, _CARRIED_AS, settings)
        carrier.threshold_head = getattr(model.config, "threshold_head", None)
        if mask_token_id is not None:
            carrier.mask_token_id = mask_token_id
        carrier._from_model_config = False  # else loading it leaves out what is not transformers' own

    def effective(self) -> dict[str, Any]:
        """
        The settings that what is written depends on, as plain values: those of computation, and thresholds of other
        rules than the one in use, are left out. Two decoders for which they are equal are the same.
        """
        from .unmasking import SCHEDULED_RULES

        unused = {"entropy_bound", "confidence_threshold"}
        if self.learned_threshold == "off":
            unused.discard(self.unmasking)
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*COMPUTATION, *unused)}
        if self.unmasking in SCHEDULED_RULES:
            settings["max_denoising_steps"] = self.max_denoising_steps or self.max_new_tokens
        return settings | {"eos_token_ids": sorted(self.eos_token_ids)}

    def describe(self) -> dict[str, Any]:
        """The settings that matter for a reported number, as plain values."""
        from .unmasking import SCHEDULED_RULES

        settings: dict[str, Any] = {"unmasking": self.unmasking}
        if self.unmasking in SCHEDULED_RULES:
            settings["steps"] = self.max_denoising_steps or self.max_new_tokens
        else:
            learned = self.learned_threshold != "off"
            settings["threshold"] = f"learned, {self.learned_threshold}" if learned else self.threshold
            if self.max_denoising_steps is not None:
                settings["at most"] = f"{self.max_denoising_steps} steps"
        if self.top_k is not None:
            settings |= {"top_k": self.top_k, "top_p": self.top_p}
        if self.approximate_cache is not None:
            settings |= {"approximate_cache": self.approximate_cache}
            settings |= {"cache_refresh_interval": self.cache_refresh_interval}
        return settings | {
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "block_length": self.block_length,
        }
