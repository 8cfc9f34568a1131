# SPDX-License-Identifier: Apache-2.0
"""The overridden methods: a diffusion model in TRL's training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import cast

import torch
from accelerate.utils import DistributedType
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import use_adapter

from ...generation import Trajectory
from ...likelihood import Estimator, Pass, RolloutBatch, Scores
from ...models import DiffusionSpec
from ...objectives import Objective
from ..agreement import raise_together
from ..divergence import divergence
from ..gathering import unsharded, untraced
from ..interface import MethodInterface, Rollout
from ..loss_columns import ballast, widen
from ..micro_batches import reunite_groups
from ..reward_checks import RewardErrors
from .buffer import BufferHooks
from .contract import ATTRIBUTES, misfit
from .logs import LogHooks
from .reference import reference_by_layers


class GRPOHooks(BufferHooks, LogHooks, MethodInterface, GRPOTrainer):
    """`GRPOTrainer`, its private methods translated into those of `MethodInterface`, which a subclass implements."""

    model: PreTrainedModel

    spec: DiffusionSpec
    estimator: Estimator
    objective: Objective | None  # `None`: one of TRL's losses
    draws_from_policy: bool  # whether rollouts have the old policy's own probabilities

    # Set for the duration of one call of a method of this class, and never read by another.
    _fresh: Rollout | None = None
    _scores: tuple[torch.Tensor, torch.Tensor] | None = None

    def __init__(self, *args, **kwargs):
        with reference_by_layers():
            super().__init__(*args, **kwargs)
        if missing := [name for name in ATTRIBUTES if not hasattr(self, name)]:
            raise ImportError(misfit([f"GRPOTrainer.{name} is missing" for name in missing]))
        self._reward_errors = RewardErrors()
        self.reward_funcs = [
            function
            if isinstance(function, torch.nn.Module)
            else self._reward_errors.wrap(cast(Callable, function), name)
            for function, name in zip(self.reward_funcs, self.reward_func_names, strict=True)
        ]

    # ---------------------------------------------------------------- services for subclasses

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

    def tokenize(self, prompts: list) -> list[list[int]]:
        """Token ids of prompts, as training will see them."""
        return self._tokenize_prompts(prompts)[0]

    @contextmanager
    def model_for_generation(self) -> Iterator[torch.nn.Module]:
        """The bare model, whole if `ds3_gather_for_generation` is set and ZeRO-3 or FSDP2 shards it."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=cast(dict, self.args.gradient_checkpointing_kwargs),
            ) as model,
            self._dist.summon_full_params(self.model_wrapped, recurse=False),
            self._whole(),
        ):
            yield model

    def _whole(self) -> AbstractContextManager[None]:
        """What TRL leaves to do for this."""
        if not self.args.ds3_gather_for_generation:
            return nullcontext()
        if self._dist.fsdp_version == 2:
            return unsharded(self.model_wrapped, bool(self.accelerator.state.fsdp_plugin.reshard_after_forward))
        return untraced(self.model_wrapped) if self._dist.is_zero3 else nullcontext()

    @property
    def shards_parameters(self) -> bool:
        """Whether no process has the model in whole."""
        return self._dist.is_zero3 or self._dist.is_fsdp

    @property
    def needs_lockstep(self) -> bool:
        """Whether a rollout's forward pass is a collective operation, so that all processes make the same number."""
        if self.accelerator.num_processes == 1 or not self.shards_parameters:
            return False
        return self._dist.fsdp_version == 1 or not self.args.ds3_gather_for_generation

    @property
    def group_size(self) -> int:
        """Completions of a prompt."""
        return cast(int, self.num_generations if self.mode == "train" else self.num_generations_eval)

    @staticmethod
    def rollout_batch(inputs: dict[str, torch.Tensor], seeds: torch.Tensor, estimator: Estimator) -> RolloutBatch:
        """The rollouts in a batch of TRL's tensors, with an estimator's seeds."""
        trajectory = Trajectory.from_dict(inputs)
        scored = inputs["completion_mask"] != 0
        missing = trajectory.completion_ids.shape[1] - scored.shape[1]  # TRL cuts to the longest text
        scored = torch.nn.functional.pad(scored, (0, missing))
        if estimator.exact:
            scored = trajectory.decisive_mask(scored)
        return RolloutBatch(inputs["prompt_ids"], inputs["prompt_mask"], scored, trajectory, seeds)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """For scores of policies that are not trained."""
        checkpointing = cast(dict, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), disable_gradient_checkpointing(self.model, checkpointing):
            yield

    @contextmanager
    def reference(self) -> Iterator[torch.nn.Module]:
        """The reference model, or the policy with its adapter exchanged for the reference's."""
        if self.ref_model is not None:
            yield self.ref_model
            return
        model = self.accelerator.unwrap_model(self.model)
        with use_adapter(model, adapter_name="ref" if "ref" in model.peft_config else None):
            yield self.model

    def _is_reference(self, model: torch.nn.Module) -> bool:
        """Whether TRL asks for the reference's scores: by its own model, or by the policy within `use_adapter`."""
        if self.ref_model is not None:
            return model is self.ref_model
        layer = next((module for module in model.modules() if isinstance(module, BaseTunerLayer)), None)
        return layer is not None and (layer.disable_adapters or layer.active_adapters == ["ref"])

    @contextmanager
    def _accumulating(self, model: torch.nn.Module) -> Iterator[None]:
        """For all but the last backward pass of a micro-batch: gradients stay where they are."""
        sync_gradients = self.accelerator.sync_gradients
        self.accelerator.sync_gradients = False
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            self.accelerator.sync_gradients = sync_gradients

    def _backward(self, loss: torch.Tensor) -> None:
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        self.accelerator.backward(loss, **({"scale_wrt_gas": False} if deepspeed else {}))

    # ---------------------------------------------------------------- overridden methods

    def training_step(self, *args, **kwargs):
        with self._stopwatch("backward"):  # what is in none of the other sections
            loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            seconds = self._stopwatch.read()
            self._timed |= seconds.keys()
            for section in self._timed:
                self._metrics["train"][f"time/{section}"].append(seconds.get(section, 0.0))
        return loss

    def _get_grad_norm(self, *args, **kwargs):
        norm = super()._get_grad_norm(*args, **kwargs)
        # Half precision tries until no gradient is infinite. The norm is the same in all processes.
        error = None if self.args.fp16 else divergence("gradient", norm, self.state.global_step + 1)
        if error is not None:
            raise error
        return norm

    def _prepare_inputs(self, generation_batch):
        buffered = self._buffered_inputs
        with self.timed("other"):
            inputs = super()._prepare_inputs(generation_batch)
        if self.mode == "train" and self._buffered_inputs is not buffered and self.estimator.shares_canvases:
            steps = cast(int, self.args.steps_per_generation)
            window = min(self.args.gradient_accumulation_steps, steps)
            # Else an update begins or ends in the midst of the buffer's windows.
            if max(self.args.gradient_accumulation_steps, steps) % window == 0 and self._step % window == 0:
                self._buffered_inputs = reunite_groups(self._buffered_inputs, window)
                inputs = self._buffered_inputs[self._step % steps]
        return inputs

    def _get_train_sampler(self, dataset=None):
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, *args, **kwargs):
        with self.timed("rollout"):
            self._fresh = self.rollout(prompt_ids)
        return self._fresh.trajectory.texts(self.eos_token_ids), None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        assert self._fresh is not None
        columns = self.reward_columns(self._fresh.trajectory)
        inputs = [{**x, **{name: values[i] for name, values in columns.items()}} for i, x in enumerate(inputs)]
        for name, values in columns.items():
            self._log_completion_extra(name, values)
        with self.timed("reward"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        raise_together(self.accelerator, self._reward_errors.take())
        self._fresh.has_reward = ~rewards.isnan().all(-1)
        return rewards

    def _generate_and_score_completions(self, inputs):
        try:
            output = super()._generate_and_score_completions(inputs)
            assert self._fresh is not None
            self.record_canvases(self._fresh.trajectory)
            output |= self._fresh.trajectory.to_dict() | {"draw_seeds": self._fresh.draw_seeds}
            if self.objective is not None:
                output |= self.row_weights(self.objective, output, self._fresh)
            batch = self.rollout_batch(output, self._fresh.draw_seeds, self.estimator)
            output["num_items_in_batch"] = self.accelerator.gather(batch.scored.sum()).sum()
            rows = torch.arange(len(batch), device=batch.scored.device) + self.accelerator.process_index * len(batch)
            output["group"] = rows // self.group_size
            return output | self.fixed_scores(self._without_idle_rows(batch, output), self._fresh.wanted)
        finally:
            self._fresh = None

    def _without_idle_rows(self, batch: RolloutBatch, inputs: dict[str, torch.Tensor]) -> RolloutBatch:
        """The batch, scoring nothing in rows whose loss has no gradient, such as those of groups without advantage."""
        if self.mode == "eval":
            return batch
        if self.objective is not None:
            idle = self.objective.idle(inputs["advantages"], inputs.get("row_weights"))
        elif self.beta != 0 or self._entropy_bonus_enabled:
            idle = None
        else:
            idle = inputs["advantages"] == 0
        return batch if idle is None else replace(batch, scored=batch.scored & ~idle[:, None])

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **kwargs
    ):
        if self._scores is not None:  # inside the loss: already scored, see `_trl_loss`
            return *self._scores, None
        if self._fresh is None:
            raise RuntimeError(
                "Log-probabilities were requested outside of a rollout and outside of the loss. A diffusion model has "
                "no log-probabilities without a trajectory."
            )
        reference = self._is_reference(model)
        if self._needs_scores(reference):  # later, when the rewards are known
            self._fresh.wanted.append("ref" if reference else "old")
        return None, None, None

    def _needs_scores(self, reference: bool) -> bool:
        if reference:
            return self.objective is None or self.objective.needs_reference
        recorded = self.estimator.exact and self.draws_from_policy
        return not recorded and (self.objective is None or self.objective.needs_old)

    def _compute_loss(self, model, inputs):
        inputs = dict(inputs)
        draw = 0
        if self.model.training:
            draw = (self._step // cast(int, self.args.steps_per_generation)) % self.num_iterations
        for name in ("old_per_token_logps", "ref_per_token_logps"):  # (rows, draws, length)
            if inputs.get(name) is not None:
                inputs[name] = inputs[name][:, draw]
        batch = self.rollout_batch(inputs, inputs["draw_seeds"], self.estimator)
        if self.estimator.exact and self.draws_from_policy:
            inputs["old_per_token_logps"] = batch.trajectory.log_probs
        # The whole canvas, where TRL has cut to the longest text.
        inputs["completion_ids"], inputs["completion_mask"] = batch.trajectory.completion_ids, batch.scored.long()
        batch = self._without_idle_rows(batch, inputs)
        passes = self.passes(self.estimator, batch, draw)
        total = torch.zeros((), device=batch.scored.device)
        for part in passes[:-1]:
            with self._accumulating(model):
                loss = self._pass_loss(model, inputs, batch, part) / len(passes)
                if loss.requires_grad:
                    with self.timed("backward"):
                        self._backward(loss)
            total += loss.detach()
        loss = self._pass_loss(model, inputs, batch, passes[-1]) / len(passes) + total
        if self.mode == "train":
            raise_together(self.accelerator, divergence("loss", loss, self.state.global_step + 1))
        return loss

    def _pass_loss(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], batch: RolloutBatch, part: Pass
    ) -> torch.Tensor:
        bonus = self.objective is None and self._entropy_bonus_enabled
        with self.timed("forward"):
            scores = self.score(model, batch, part.views, entropies="grad" if bonus else "detached", thresholds=True)
        # Old scores of tokens that are not scored now would meet nothing, and overflow.
        scored = (scores.weights != 0).any(1)
        fixed = {name: inputs[name] for name in ("old_per_token_logps", "ref_per_token_logps") if name in inputs}
        inputs = inputs | {
            name: None if values is None else values.masked_fill(~scored, 0.0) for name, values in fixed.items()
        }
        if self.objective is None:
            return self._trl_loss(model, inputs, batch, scores, part.token_weights)
        return self.own_loss(self.objective, inputs, batch, scores)

    def _trl_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        batch: RolloutBatch,
        scores: Scores,
        token_weights: torch.Tensor | None,
    ) -> torch.Tensor:
        """One of TRL's losses, with the scores in the place of its per-token log-probabilities."""
        inputs = dict(inputs)
        log_probs, entropies = scores.token_log_probs, scores.token_entropies
        advantages = inputs["advantages"]
        old_log_probs = inputs.get("old_per_token_logps")
        factors = self.token_weights(
            replace(batch, scored=(scores.weights != 0).any(1)),
            log_probs.detach() if old_log_probs is None else old_log_probs,
        )
        if factors is not None:
            # min(rho A, clip(rho) A) is positively homogeneous in A: a factor on the token is a factor on A.
            inputs["advantages"] = advantages[:, None] * factors
        self._record_entropy(entropies if token_weights is None else entropies * token_weights, batch)
        texts = inputs["completion_mask"].any(-1, keepdim=True)
        if token_weights is not None:
            inputs["tool_mask"] = token_weights
            filler = ballast(inputs["completion_mask"], token_weights)
            log_probs, entropies = widen(inputs, (log_probs, entropies), filler)
        if scores.threshold_log_probs is not None:
            thresholds = self.threshold_columns(texts, advantages, batch, scores)
            log_probs, entropies = widen(inputs, (log_probs, entropies), thresholds)
        self._scores = log_probs, entropies
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._scores = None
        del self._metrics[self.mode]["entropy"][-1]  # TRL's, which counts rows that are not scored
        return loss

    def _record_entropy(self, entropies: torch.Tensor, batch: RolloutBatch) -> None:
        """The mean over scored tokens, of all processes."""
        sums = torch.stack([(entropies.detach() * batch.scored).sum(), batch.scored.sum()])
        total, count = self.accelerator.reduce(sums, "sum")
        self._metrics[self.mode]["entropy"].append((total / count).item())  # NaN without any: TRL drops it
