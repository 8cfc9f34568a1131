# SPDX-License-Identifier: Apache-2.0
"""
The seam with TRL: the only file that touches private parts of `GRPOTrainer`.

TRL's training step is kept whole: prompts, tokenization, decoding, rewards, advantages, buffering, the loss with all
its variants, metrics, logging, checkpoints. Four of its private methods are overridden to put a diffusion model in:

- `_generate_single_turn`: the sampler fills canvases instead of `generate`;
- `_generate_and_score_completions`: the trajectories join the tensors that TRL shuffles, splits and buffers;
- `_get_per_token_logps_and_entropies`: the estimator scores tokens instead of a causal forward pass. It is called
  for the old and the reference policy while a batch is scored, where it returns one set of log-probabilities per draw,
  `(rows, num_iterations, length)`, which TRL only stores; and for the current policy inside the loss;
- `_compute_loss`: picks the draw of the running inner iteration and folds per-token weights into the advantages.

Nothing about a batch is kept on the trainer beyond the call that handles it, so that an evaluation in the middle of a
buffered batch cannot disturb it. A TRL upgrade is checked against [`check_trl`] and changes this file alone.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
import trl
from packaging.version import Version
from transformers import PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from ..generation import Trajectory


TRL_TESTED = ("1.16", "1.17")  # from, up to but without

# The private methods that are overridden or called, with the arguments that are relied upon.
_CONTRACT = {
    "_generate_single_turn": ("prompt_ids", "images", "multimodal_fields"),
    "_generate_and_score_completions": ("inputs",),
    "_get_per_token_logps_and_entropies": (
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
    ),
    "_compute_loss": ("model", "inputs"),
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_log_completion_extra": ("column", "values"),
}

# The attributes that are read, and exist once a trainer is built.
_ATTRIBUTES = (
    "_dist",
    "_entropy_bonus_enabled",
    "_metrics",
    "_step",
    "eos_token_ids",
    "model_wrapped",
    "num_iterations",
)


def check_trl() -> None:
    """
    Compare the installed TRL with what this file relies on.

    Raises:
        `ImportError`: If a method is gone or its arguments have changed. A silent mismatch would train a diffusion
            model on an autoregressive objective.
    """
    problems = []
    for name, expected in _CONTRACT.items():
        method = getattr(GRPOTrainer, name, None)
        parameters = () if method is None else tuple(inspect.signature(method).parameters)
        if method is None:
            problems.append(f"GRPOTrainer.{name} is missing")
        elif not set(expected) <= set(parameters):
            problems.append(f"GRPOTrainer.{name} takes {parameters}, expected {expected}")
    if problems:
        raise ImportError(_misfit(problems))
    if not Version(TRL_TESTED[0]) <= Version(trl.__version__) < Version(TRL_TESTED[1]):
        warnings.warn(
            f"trl {trl.__version__} is untested with trl-diffusion (tested: >= {TRL_TESTED[0]}, < {TRL_TESTED[1]}).",
            stacklevel=2,
        )


def _misfit(problems: list[str]) -> str:
    return (
        f"trl {trl.__version__} does not fit trl-diffusion, which is tested with trl >= {TRL_TESTED[0]}, "
        f"< {TRL_TESTED[1]}: {'; '.join(problems)}. Install a tested version: "
        f"pip install 'trl>={TRL_TESTED[0]},<{TRL_TESTED[1]}'"
    )


check_trl()


@dataclass
class RolloutBatch:
    """
    The rows that a call works on.

    Args:
        prompt_ids (`torch.Tensor` of shape `(rows, prompt_length)`, int64):
            Prompts, padded on the left.
        prompt_mask (`torch.Tensor` of shape `(rows, prompt_length)`):
            `0` on padding.
        scored (`torch.Tensor` of shape `(rows, text_length)`):
            `1` on the tokens that the loss counts: the text up to its end. TRL cuts the completions of a batch to the
            longest text, so `text_length` may be shorter than the canvas.
        trajectory ([`~trl_diffusion.generation.Trajectory`]):
            How the canvases were written, full width.
        seeds (`torch.Tensor` of shape `(rows, draws)`, int64):
            Randomness of the estimator, one column per inner iteration.
    """

    prompt_ids: torch.Tensor
    prompt_mask: torch.Tensor
    scored: torch.Tensor
    trajectory: Trajectory
    seeds: torch.Tensor

    def __getitem__(self, rows: slice) -> RolloutBatch:
        return RolloutBatch(
            self.prompt_ids[rows], self.prompt_mask[rows], self.scored[rows], self.trajectory[rows], self.seeds[rows]
        )


@dataclass
class TokenScores:
    """Log-probabilities and entropies of the text's tokens, `(rows, text_length)` each."""

    log_probs: torch.Tensor
    entropies: torch.Tensor


class GRPOHooks(GRPOTrainer):
    """`GRPOTrainer` with its private methods translated into the four below, which a subclass implements."""

    args: GRPOConfig
    model: PreTrainedModel

    # Set for the duration of one call of a method of this class, and never read by another.
    _fresh: tuple[Trajectory, torch.Tensor] | None = None
    _scores: TokenScores | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if missing := [name for name in _ATTRIBUTES if not hasattr(self, name)]:
            raise ImportError(_misfit([f"GRPOTrainer.{name} is missing" for name in missing]))

    def rollout(self, prompt_ids: list[list[int]]) -> tuple[Trajectory, torch.Tensor]:
        """Sample one completion per prompt. Returns the trajectories and the seeds of the estimator's draws."""
        raise NotImplementedError

    def score(self, model: torch.nn.Module, batch: RolloutBatch, draw: int, entropy_grad: bool = False) -> TokenScores:
        """Score the text's tokens under `model` on the views of one draw."""
        raise NotImplementedError

    def token_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor) -> torch.Tensor | None:
        """Non-negative weights `(rows, text_length)` of the tokens in the loss, or `None` if all count alike."""
        raise NotImplementedError

    def reward_columns(self, trajectory: Trajectory) -> dict[str, list]:
        """Columns that reward functions receive by name, one value per row."""
        raise NotImplementedError

    # ---------------------------------------------------------------- services for subclasses

    @property
    def mode(self) -> str:
        """`"train"` or `"eval"`, as TRL tells them apart."""
        return "train" if self.model.training else "eval"

    @property
    def moment(self) -> str:
        """
        Where training is: the update, and the micro-batch within it; `"eval"` in an evaluation.

        Unlike a count of micro-batches since the start, it is the same after a restart; and unlike the update alone,
        it tells the rollouts apart that one update may consist of.
        """
        if self.mode == "eval":
            return "eval"
        return f"{self.state.global_step}.{self._step % self.current_gradient_accumulation_steps}"

    def record_metric(self, name: str, values: torch.Tensor, reduction: str = "mean") -> None:
        """
        Log the mean, min or max of `values` over all processes.

        Every process must call it, also one without values; the number of values may differ.
        """
        values = values.detach().float().flatten()
        if reduction == "mean":
            total = self.accelerator.reduce(torch.stack([values.sum(), values.new_tensor(values.numel())]), "sum")
            result = total[0] / total[1]  # NaN without any value: TRL drops it
        else:
            extreme = {"min": torch.inf, "max": -torch.inf}[reduction]
            values = torch.cat([values, values.new_tensor([extreme])])
            result = getattr(self.accelerator.gather(getattr(values, reduction)()), reduction)()
        self._metrics[self.mode][name].append(result.item())

    @contextmanager
    def model_for_generation(self) -> Iterator[torch.nn.Module]:
        """The bare model, its parameters gathered if the engine shards them and `ds3_gather_for_generation` is set."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=cast(dict, self.args.gradient_checkpointing_kwargs),
            ) as model,
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
        ):
            yield model

    @property
    def needs_lockstep(self) -> bool:
        """Whether a forward pass is a collective operation, so that all processes must make the same number."""
        return self.accelerator.num_processes > 1 and (self._dist.is_zero3 or self._dist.is_fsdp)

    # ---------------------------------------------------------------- overridden private methods

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *args, **kwargs):
        self._fresh = self.rollout(prompt_ids)
        return self._fresh[0].texts(self.eos_token_ids), None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        assert self._fresh is not None
        columns = self.reward_columns(self._fresh[0])
        inputs = [{**x, **{name: values[i] for name, values in columns.items()}} for i, x in enumerate(inputs)]
        for name, values in columns.items():
            self._log_completion_extra(name, values)
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _generate_and_score_completions(self, inputs):
        try:
            output = super()._generate_and_score_completions(inputs)
            assert self._fresh is not None
            trajectory, seeds = self._fresh
            return {**output, **trajectory.to_dict(), "draw_seeds": seeds}
        finally:
            self._fresh = None

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ):
        if self._scores is not None:  # inside the loss: already scored, see `_compute_loss`
            return self._scores.log_probs, self._scores.entropies, None
        if self._fresh is None:
            raise RuntimeError(
                "Log-probabilities were requested outside of a rollout and outside of the loss. A diffusion model has "
                "no log-probabilities without a trajectory."
            )
        trajectory, seeds = self._fresh
        prompt_ids, scored_ids = input_ids.split([input_ids.shape[1] - logits_to_keep, logits_to_keep], dim=1)
        prompt_mask, scored = attention_mask.split([prompt_ids.shape[1], scored_ids.shape[1]], dim=1)
        batch = RolloutBatch(prompt_ids, prompt_mask, scored, trajectory, seeds)
        rows = len(trajectory)
        chunks = [slice(start, start + (batch_size or rows)) for start in range(0, rows, batch_size or rows)]
        log_probs = [
            torch.stack([self.score(model, batch[chunk], draw).log_probs for draw in range(seeds.shape[1])], dim=1)
            for chunk in chunks
        ]
        return torch.cat(log_probs), None, None

    def _compute_loss(self, model, inputs):
        inputs = dict(inputs)
        draw = 0
        if self.model.training:
            draw = (self._step // cast(int, self.args.steps_per_generation)) % self.num_iterations
        for name in ("old_per_token_logps", "ref_per_token_logps"):  # (rows, draws, text_length)
            if inputs.get(name) is not None:
                inputs[name] = inputs[name][:, draw]
        batch = RolloutBatch(
            inputs["prompt_ids"],
            inputs["prompt_mask"],
            inputs["completion_mask"],
            Trajectory.from_dict(inputs),
            inputs["draw_seeds"],
        )
        # Scored here and handed to TRL below, since the token weights may depend on the scores.
        scores = self.score(model, batch, draw, entropy_grad=self._entropy_bonus_enabled)
        old_log_probs = inputs.get("old_per_token_logps")
        weights = self.token_weights(batch, scores.log_probs.detach() if old_log_probs is None else old_log_probs)
        if weights is not None:
            # min(rho A, clip(rho) A) is positively homogeneous in A: a weight on the token is a weight on A.
            inputs["advantages"] = inputs["advantages"][:, None] * weights
        self._scores = scores
        try:
            return super()._compute_loss(model, inputs)
        finally:
            self._scores = None
