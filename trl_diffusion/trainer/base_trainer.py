# SPDX-License-Identifier: Apache-2.0
"""The trainer that all methods share: TRL's GRPO with a sampler for `generate` and an estimator for the likelihood."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.trainer.utils import get_config_model_id, pad

from ..generation import DiffusionGenerationConfig, DiffusionSampler, Trajectory
from ..generation.drift import RefreshInterval
from ..generation.noise import derive_seed
from ..likelihood import Estimator, Pass, RolloutBatch, Scores, View, score_views
from ..models import ThresholdPolicy, end_tokens, length_problems, resolve_spec, token_problems
from ..objectives import Groups, LossInputs, Objective
from ..process_exit import let_gloo_finish_at_exit
from .agreement import agree, anyone_busy, raise_together
from .base_config import DiffusionGRPOConfig
from .interface import Rollout
from .loss_columns import LossColumns
from .model_card import make_model_card
from .preflight import (
    check_dataset,
    check_model,
    check_output_dir,
    check_peft_config,
    check_processing_class,
    check_prompts,
    check_reference,
    keep_4bit_layers_differentiable,
    room_for_prompts,
)
from .rollout_metrics import rollout_histograms, rollout_metrics
from .trl_hooks import GRPOHooks


class DiffusionGRPOTrainer(GRPOHooks):
    """
    Base of the diffusion trainers. A method is an estimator and an objective.

    The arguments are [`~trl.GRPOTrainer`]'s, less `tools`, `rollout_func` and `environment_factory`. Reward functions
    receive, beside the dataset's columns, `nfe` (forward passes spent on each completion) and `threshold`.

    A subclass sets `_config_class` and implements `make_estimator`. It may override `make_objective`, if its loss is
    none of TRL's, and `token_weights`.
    """

    args: DiffusionGRPOConfig
    processing_class: PreTrainedTokenizerBase

    threshold_policy: ThresholdPolicy | None = None

    _config_class: ClassVar[type[DiffusionGRPOConfig]] = DiffusionGRPOConfig
    _tag_names = ["trl", "trl-diffusion"]

    def __init__(
        self,
        model: str | PreTrainedModel,
        reward_funcs=None,
        args: DiffusionGRPOConfig | None = None,
        train_dataset=None,
        eval_dataset=None,
        processing_class=None,
        reward_processing_classes=None,
        callbacks=None,
        optimizers=(None, None),
        quantization_config=None,
        peft_config=None,
        **unsupported: Any,
    ):
        for name, value in unsupported.items():
            if name not in ("tools", "rollout_func", "environment_factory"):
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument '{name}'")
            if value is not None:
                raise ValueError(f"`{name}` is not supported by diffusion trainers: a rollout is one canvas.")
        if args is None:
            model_id = model if isinstance(model, str) else get_config_model_id(model.config)
            args = self._config_class(f"{model_id.split('/')[-1] or 'model'}-{self._name}")
        if not isinstance(args, self._config_class):
            raise TypeError(f"`args` must be a {self._config_class.__name__}, got {type(args).__name__}.")
        check_output_dir(args)
        check_processing_class(processing_class)
        prompts = args.prompts_per_rollout
        for dataset, name, least in ((train_dataset, "train_dataset", prompts), (eval_dataset, "eval_dataset", 1)):
            if dataset is not None:
                check_dataset(dataset, name, least)
        check_model(model, args, peft_config)
        if quantization_config is not None and not isinstance(model, str):
            raise ValueError("`quantization_config` has no effect on a model that is loaded already. Pass its id.")
        peft_config = check_peft_config(model, args, self.prepare_model(model, args, peft_config))
        self.estimator = self.make_estimator(args)
        self.objective = self.make_objective(args)

        super().__init__(
            model=model,
            reward_funcs=reward_funcs,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            reward_processing_classes=reward_processing_classes,
            callbacks=callbacks,
            optimizers=optimizers,
            quantization_config=quantization_config,
            peft_config=peft_config,
        )
        let_gloo_finish_at_exit()
        self._set_up_model(args)
        for dataset, name in ((self.train_dataset, "train_dataset"), (self.eval_dataset, "eval_dataset")):
            self._check_dataset_lengths(dataset, name)

    def _set_up_model(self, args: Any) -> None:
        """What there is to know of the model now that it is loaded, and whether it can be trained and sampled from."""
        check_reference(args, self.moving_reference is not None and self.shards_parameters)
        if args.torch_compile:
            # A graph for each of: with and without gradient; one row, or more; one prediction, or more; the first
            # length, or any. Beyond its limit, 8 by default, PyTorch would quietly compile no more.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 16)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ValueError(
                "`model` has no parameter to train. An adapter is loaded for training by "
                "`peft.PeftModel.from_pretrained(base_model, ..., is_trainable=True)`."
            )
        keep_4bit_layers_differentiable(self.model)
        unwrapped = self.accelerator.unwrap_model(self.model)
        self.spec = resolve_spec(unwrapped, self.processing_class, args.mask_token_id)
        self.eos_token_ids = list(end_tokens(unwrapped, self.processing_class))
        for problem in (
            *token_problems(unwrapped, self.processing_class, self.spec.mask_token_id, self.eos_token_ids),
            *length_problems(self.spec, args.block_length),
        ):
            raise ValueError(problem)
        self._refresh = None
        if args.cache_min_ess is not None:
            initial = args.cache_refresh_interval or args.block_length
            self._refresh = RefreshInterval(initial, args.block_length, args.cache_min_ess)
        decoder = replace(self.decoder("train"), learned_threshold="off")
        DiffusionSampler(unwrapped, decoder, self.spec)  # says why not, if it cannot

    def prepare_model(self, model: str | PreTrainedModel, args: Any, peft_config: Any) -> Any:
        """A place to change the model, or how it is loaded, before it is wrapped. Returns the PEFT configuration."""
        return peft_config

    def make_estimator(self, args: Any) -> Estimator:
        """The method's estimator."""
        raise NotImplementedError(
            f"{type(self).__name__} has no estimator. Use a method's trainer, or implement `make_estimator`."
        )

    def make_objective(self, args: Any) -> Objective | None:
        """The method's objective; `None` for the one of TRL's losses that `args.loss_type` names."""
        return None

    @property
    def draws_from_policy(self) -> bool:  # type: ignore[override]
        return self.args.approximate_cache is None

    def token_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor) -> torch.Tensor | None:
        if self.draws_from_policy or not self.estimator.exact:
            return None
        return self.importance_weights(batch, old_log_probs, self.args.cache_clip_max)

    def importance_weights(self, batch: RolloutBatch, old_log_probs: torch.Tensor, cap: float) -> torch.Tensor:
        """What tokens are to the old policy, by what they were to the sampler, capped. Logged under TRL's name."""
        ratio = (old_log_probs - batch.trajectory.log_probs).exp()
        weights = ratio.clamp(max=cap) * batch.scored
        self.record_metric("sampling/importance_sampling_ratio/mean", weights[batch.scored])
        self.record_metric("sampling/importance_sampling_ratio/truncated", (ratio > cap)[batch.scored])
        return weights

    def progress(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors, state = super().progress()
        return tensors, state | {"refresh_interval": self._refresh and self._refresh.steps}

    def restore_progress(self, tensors: dict[str, torch.Tensor], state: dict[str, Any] | None) -> None:
        super().restore_progress(tensors, state)
        if self._refresh is not None and state is not None:
            self._refresh.steps = state["refresh_interval"] or self._refresh.steps

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        # The training batches are shuffled from the global generator: evaluating must not advance it.
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """[`~transformers.Trainer`]'s. The decoding settings of an evaluation go with the model."""
        model = self.accelerator.unwrap_model(self.model)
        self.decoder("eval").attach_to(model, self.spec.mask_token_id)
        if isinstance(model, PeftModel) and self.args.should_save:  # which saves nothing but the adapter
            model.generation_config.save_pretrained(output_dir or self.args.output_dir)
        super().save_model(output_dir, _internal_call)

    def create_model_card(  # type: ignore[override]  # TRL's own, of which mypy sees transformers'
        self,
        model_name: str | None = None,
        dataset_name: str | None = None,
        tags: str | list[str] | None = None,
    ) -> None:
        """TRL's, with a card that tells how to decode the model, and with what settings it was evaluated."""
        if not self.is_world_process_zero():
            return
        model_id = get_config_model_id(self.model.config)
        card = make_model_card(
            self,
            base_model=model_id if model_id and not os.path.isdir(model_id) else None,
            model_name=model_name,
            dataset_name=dataset_name,
            tags=[tags] if isinstance(tags, str) else tags or [],
        )
        output_dir = Path(cast(str, self.args.output_dir))
        output_dir.mkdir(parents=True, exist_ok=True)
        card.save(output_dir / "README.md")

    # ---------------------------------------------------------------- rollout

    def rollout(self, prompt_ids: list[list[int]]) -> Rollout:
        device = self.accelerator.device
        config = self.decoder(self.mode)
        if self._refresh is not None:
            config.cache_refresh_interval = self._refresh.steps
        with self.model_for_generation() as model, self.accelerator.autocast(), self._failing_together():
            check_prompts(prompt_ids, self.model.config, self.args)
            tokens = [torch.tensor(ids) for ids in prompt_ids]
            input_ids = pad(tokens, padding_value=self.processing_class.pad_token_id, padding_side="left")
            attention_mask = pad([torch.ones_like(ids) for ids in tokens], padding_value=0, padding_side="left")
            with self.timed("rollout_head", cast(PreTrainedModel, model).get_output_embeddings()):
                trajectory = DiffusionSampler(model, config, self.spec).sample(
                    input_ids.to(device),
                    attention_mask.to(device),
                    seeds=self._rollout_seeds(prompt_ids).to(device),
                    anyone_busy=self._anyone_busy if self.needs_lockstep else bool,
                )
        self._record_rollout_metrics(trajectory)
        draws = self.num_iterations if self.mode == "train" else 1
        return Rollout(
            trajectory,
            draw_seeds=self._draw_seeds("draw", draws, prompt_ids).to(device),
            sequence_seeds=self._draw_seeds("sequence", 1, prompt_ids).to(device),
        )

    def decoder(self, mode: str) -> DiffusionGenerationConfig:
        """The sampler's settings for rollouts in training (`"train"`) or evaluation (`"eval"`)."""
        return self.args.generation_config(tuple(self.eos_token_ids))

    def _check_dataset_lengths(self, dataset: Any, name: str) -> None:
        """Find prompts that leave no room for the canvas now, rather than when their turn comes."""
        room = room_for_prompts(self.model.config, self.args)
        if isinstance(dataset, dict):
            for key, part in dataset.items():
                self._check_dataset_lengths(part, f"{name}[{key!r}]")
        elif hasattr(dataset, "__len__") and room < math.inf:
            for row, prompt in enumerate(dataset["prompt"]):
                # A token is at least one byte of text: the tokenizer is spared the prompts that must fit.
                if len(str(prompt).encode()) > room:
                    where = f" (row {row} of `{name}`: {str(prompt)[:60]!r}…)"
                    check_prompts(self.tokenize([prompt]), self.model.config, self.args, where)

    def _rollout_seeds(self, prompt_ids: list[list[int]]) -> torch.Tensor:
        """
        A seed per completion. Training rollouts differ from step to step; those of an evaluation do not, so that two
        evaluations differ by the model alone. Nothing depends on the global random state.
        """
        first_row = self.accelerator.process_index * len(prompt_ids)
        return torch.tensor(
            [
                derive_seed(self.args.seed, "rollout", self.moment, first_row + row, *ids)
                for row, ids in enumerate(prompt_ids)
            ]
        )

    def _draw_seeds(self, purpose: str, draws: int, prompt_ids: list[list[int]]) -> torch.Tensor:
        """Seeds of an estimator, one per row and draw; the same over a group if the estimator asks so."""
        first_row = self.accelerator.process_index * len(prompt_ids)
        owner = [0 if self.estimator.seed_per_group else first_row + row for row in range(len(prompt_ids))]
        return torch.tensor(
            [
                [derive_seed(self.args.seed, purpose, self.moment, draw, row, *ids) for draw in range(draws)]
                for row, ids in zip(owner, prompt_ids, strict=True)
            ]
        )

    def _anyone_busy(self, busy: bool) -> bool:
        return anyone_busy(self.accelerator, busy)

    @contextmanager
    def _failing_together(self) -> Iterator[None]:
        """A rollout that fails in one process fails in all."""
        if not self.needs_lockstep:
            with agree(self.accelerator):
                yield
            return
        try:
            yield
        except (ValueError, FloatingPointError) as error:
            # Raised between two passes, when the others ask who is busy. What is raised within a pass finds the others
            # in the same pass: the launcher ends them.
            raise_together(self.accelerator, error)

    def _record_rollout_metrics(self, trajectory: Trajectory) -> None:
        metrics = rollout_metrics(trajectory, self.eos_token_ids)
        for extreme in ("min", "max"):
            self.record_metric(f"sampler/nfe_{extreme}", metrics["sampler/nfe"], extreme)
        if self.spec.attention_block is None:  # an exact cache has passes that write nothing
            spared = "shared" if self.draws_from_policy else "cached"
            metrics[f"sampler/{spared}"] = 1 - trajectory.row_forwards / trajectory.nfe
        for name, values in metrics.items():
            self.record_metric(name, values)
        if self.args.log_histograms:
            for name, values in rollout_histograms(trajectory, self.eos_token_ids).items():
                self.record_histogram(name, values)
        if trajectory.drift is not None:
            count, kl, weight, square = self.accelerator.reduce(trajectory.drift.sum(0), "sum")
            self.record_metric("drift/kl", kl / count)
            ess = weight.square() / (count * square)
            self.record_metric("drift/ess", ess)
            if self._refresh is not None and self.mode == "train":
                self.record_metric("drift/refresh_interval", torch.tensor(float(self._refresh.steps)))
                self._refresh.update(ess.item())
        if trajectory.threshold_actions is not None:
            drawn = trajectory.threshold[~trajectory.threshold_actions.isnan()]
            self.record_metric("threshold/mean", drawn)
            self.record_metric("threshold/min", drawn, "min")
            self.record_metric("threshold/max", drawn, "max")

    def reward_columns(self, trajectory: Trajectory) -> dict[str, list]:
        return {"nfe": trajectory.nfe.tolist(), "threshold": trajectory.threshold[:, 0].tolist()}

    # ---------------------------------------------------------------- likelihood

    def score(
        self,
        model: torch.nn.Module,
        batch: RolloutBatch,
        views: list[View],
        entropies: str = "none",
        thresholds: bool = False,
    ) -> Scores:
        with self.accelerator.autocast():
            return score_views(
                model,
                self.spec,
                views,
                batch,
                temperature=self.args.temperature,
                entropies=entropies,
                threshold_policy=self.threshold_policy if thresholds else None,
            )

    def row_weights(
        self, objective: Objective, output: dict[str, torch.Tensor], rollout: Rollout
    ) -> dict[str, torch.Tensor]:
        assert rollout.has_reward is not None

        def gathered(values: torch.Tensor) -> torch.Tensor:
            return self.accelerator.gather(values).view(-1, self.group_size)

        def local(values: torch.Tensor) -> torch.Tensor:
            rows = len(output["advantages"])
            return values.flatten()[self.accelerator.process_index * rows :][:rows]

        lengths = gathered(output["completion_mask"].sum(-1))
        counted = rollout.has_reward.view(-1, self.group_size) & (lengths > 0)
        groups = Groups(gathered(output["advantages"]), lengths, counted)
        if objective.sequence_estimator is not None:
            batch = self.rollout_batch(output, rollout.sequence_seeds, objective.sequence_estimator)
            groups.log_ratio = gathered(self._log_ratio(objective.sequence_estimator, batch))
        changed = {"completion_mask": output["completion_mask"] * local(counted)[:, None]}
        weighted = objective.group_weights(groups)
        if weighted is None:
            return changed
        weights, metrics = weighted
        for name, values in metrics.items():
            self.record_metric(name, values)
        return changed | {"row_weights": local(weights)}

    def _log_ratio(self, estimator: Estimator, batch: RolloutBatch) -> torch.Tensor:
        """Sequence log-probability under the reference minus that under the policy that made the rollouts."""
        with self.frozen():
            with self.timed("reference"), self.reference() as reference:
                log_ratio = self.score_draw(reference, batch, estimator, 0).sum(-1)
            if estimator.exact and self.draws_from_policy:
                return log_ratio - (batch.trajectory.log_probs * batch.scored).sum(-1)
            with self.timed("old"):
                return log_ratio - self.score_draw(self.model, batch, estimator, 0).sum(-1)

    def fixed_scores(self, batch: RolloutBatch, wanted: list[str]) -> dict[str, torch.Tensor]:
        scores = {}
        with self.frozen():
            if "old" in wanted:
                with self.timed("old"):
                    scores["old_per_token_logps"] = self._score_draws(self.model, batch)
            if "ref" in wanted:
                with self.timed("reference"), self.reference() as reference:
                    scores["ref_per_token_logps"] = self._score_draws(reference, batch)
        return scores

    def _score_draws(self, model: torch.nn.Module, batch: RolloutBatch) -> torch.Tensor:
        draws = range(batch.seeds.shape[1])
        return torch.stack([self.score_draw(model, batch, self.estimator, draw) for draw in draws], dim=1)

    def score_draw(
        self,
        model: torch.nn.Module,
        batch: RolloutBatch,
        estimator: Estimator,
        draw: int,
    ) -> torch.Tensor:
        args = self.args
        size = args.per_device_train_batch_size if self.mode == "train" else args.per_device_eval_batch_size
        chunks = [batch[start : start + size] for start in range(0, len(batch), size)]
        return torch.cat([self._score_passes(model, chunk, estimator, draw) for chunk in chunks])

    def _score_passes(
        self, model: torch.nn.Module, batch: RolloutBatch, estimator: Estimator, draw: int
    ) -> torch.Tensor:
        passes = self.passes(estimator, batch, draw)
        log_probs = torch.zeros_like(batch.trajectory.log_probs)
        for part in passes:
            scores = self.score(model, batch, part.views)
            if part.token_weights is None:  # each pass scores all tokens: an estimate of its own
                log_probs = log_probs + scores.token_log_probs / len(passes)
            else:
                scored = (scores.weights != 0).any(1)
                log_probs = torch.where(scored, scores.token_log_probs, log_probs)
        return log_probs

    def passes(self, estimator: Estimator, batch: RolloutBatch, draw: int) -> list[Pass]:
        passes = estimator.passes(batch, draw, self.spec.mask_token_id)
        # Each pass is a collective operation: processes with fewer fill up with empty ones.
        if self.accelerator.num_processes == 1:
            return passes
        count = torch.tensor(len(passes), device=self.accelerator.device)
        missing = int(self.accelerator.gather(count).max()) - len(passes)
        if missing:
            nothing = torch.zeros_like(batch.trajectory.log_probs)
            share = (len(passes) + missing) / len(passes)
            for part in passes:
                if part.token_weights is None:
                    raise ValueError("Passes that score all tokens must be equally many in all processes.")
                part.token_weights = share * part.token_weights
            view = View(batch.prompt_ids, batch.trajectory.completion_ids, nothing)
            passes += [Pass([view], nothing)] * missing
        return passes

    # ---------------------------------------------------------------- loss

    def threshold_columns(
        self, texts: torch.Tensor, advantages: torch.Tensor, batch: RolloutBatch, scores: Scores
    ) -> LossColumns:
        log_probs, entropies = scores.threshold_log_probs, scores.threshold_entropies
        actions, old_log_probs = batch.trajectory.threshold_actions, batch.trajectory.threshold_log_probs
        assert log_probs is not None and entropies is not None and actions is not None and old_log_probs is not None
        drawn = ~actions.isnan()
        scored = drawn & batch.scored.any(-1, keepdim=True)
        self.record_metric("threshold/entropy", entropies[scored])
        counted = drawn & texts  # not of a truncated completion that is masked
        advantages = self.threshold_advantages(advantages)[:, None].expand(drawn.shape)
        return LossColumns(log_probs, old_log_probs * scored, entropies, advantages, counted.float())

    def own_loss(
        self, objective: Objective, inputs: dict[str, torch.Tensor], batch: RolloutBatch, scores: Scores
    ) -> torch.Tensor:
        old_log_probs, advantages = inputs.get("old_per_token_logps"), inputs["advantages"]
        loss, metrics = objective(
            LossInputs(
                scores=scores,
                mask=inputs["completion_mask"] != 0,
                advantages=advantages,
                old_log_probs=scores.token_log_probs.detach() if old_log_probs is None else old_log_probs,
                ref_log_probs=inputs.get("ref_per_token_logps"),
                row_weights=inputs.get("row_weights"),
                gather=self.accelerator.gather,
            )
        )
        self.record_metric("entropy", scores.entropies[scores.weights != 0])
        for name, values in metrics.items():
            if values.shape == advantages.shape:
                values = values[batch.scored.any(-1)]
            self.record_metric(name, values)
        return loss / (self.current_gradient_accumulation_steps if self.mode == "train" else 1)
