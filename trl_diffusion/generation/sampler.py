# SPDX-License-Identifier: Apache-2.0
"""The decoder: one loop for rollouts, evaluation and chat.

A step looks only at rows that are not finished and, in each, at the masked positions of the row's own active block:
the LM head runs on nothing else, and rows do not wait for each other at block boundaries. When `max_batch_size` bounds
a forward pass, a waiting row takes the place of a finished one. Rows with the same canvas, such as those of a group in
the beginning, share a forward pass and draw from the same distributions, each with its own noise.

What has been written, and everything that is decided by it, is kept on the host. A step sends canvases to the device,
waits once, for what the model says about the masked positions, and reads nothing else from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from transformers import PreTrainedModel

from ..models import DiffusionSpec, ThresholdPolicy, length_problems, resolve_spec, threshold_policy
from ..models.spec import predict, ranks
from .approximate_cache import ApproximateCache
from .block_cache import BlockCache
from .cache import KeyValueCache
from .config import DiffusionGenerationConfig
from .drawing import look
from .drift import DriftMeter
from .noise import uniform, widest_float
from .sharing import distinct, slots
from .trajectory import Trajectory
from .unmasking import RULES, SCHEDULED_RULES, BlockStatistics


class DiffusionSampler:
    """
    Decodes a masked diffusion LM: semi-autoregressive blocks, any unmasking rule, a full record of the trajectory.

    Args:
        model (`torch.nn.Module`):
            The model. It is put into eval mode while sampling.
        config ([`DiffusionGenerationConfig`], *optional*):
            Decoding settings. Defaults to those that the model carries, see [`~DiffusionGenerationConfig.from_model`].
        spec ([`~trl_diffusion.models.DiffusionSpec`], *optional*):
            How to read the model. Found from the model's configuration by default.

    Example:

    ```python
    >>> sampler = DiffusionSampler(model, DiffusionGenerationConfig(max_new_tokens=64, temperature=0.0))
    >>> inputs = tokenizer(["2+2="], return_tensors="pt", padding=True, padding_side="left")
    >>> trajectory = sampler.sample(inputs.input_ids, inputs.attention_mask)
    >>> tokenizer.batch_decode(trajectory.texts(sampler.config.eos_token_ids), skip_special_tokens=True)
    ```
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: DiffusionGenerationConfig | None = None,
        spec: DiffusionSpec | None = None,
    ) -> None:
        self.model = model
        self.config = DiffusionGenerationConfig.from_model(cast(PreTrainedModel, model)) if config is None else config
        self.spec = resolve_spec(cast(PreTrainedModel, model)) if spec is None else spec
        if self.spec.mask_token_id in self.config.eos_token_ids:
            raise ValueError(f"`eos_token_ids` contains the mask token ({self.spec.mask_token_id}).")
        for problem in (*length_problems(self.spec, self.config.block_length), *self._cache_problems()):
            raise ValueError(problem)
        self.threshold_policy = self._find_threshold_policy()

    def _cache_problems(self) -> Iterator[str]:
        implementation = getattr(getattr(self.model, "config", None), "_attn_implementation", None)
        if self.config.approximate_cache is None:
            return
        if self.spec.attention_block is not None:
            yield "`approximate_cache` is for models with full attention: block-causal ones have an exact one."
        if implementation not in ("sdpa", "eager", None):
            yield (
                f"`approximate_cache` does not work with `attn_implementation={implementation!r}`. Load the model "
                "with 'sdpa' or 'eager'."
            )

    def _find_threshold_policy(self) -> ThresholdPolicy | None:
        if self.config.learned_threshold == "off":
            return None
        policy = threshold_policy(self.model)
        if policy is None:
            raise ValueError(
                f"`learned_threshold={self.config.learned_threshold!r}` needs a model with a threshold head, which "
                "this one has not. Train one with DiFFPO, or set `learned_threshold='off'`."
            )
        if policy.config.rule != self.config.unmasking:
            raise ValueError(
                f"The model's threshold head was made for `unmasking={policy.config.rule!r}`, got "
                f"{self.config.unmasking!r}."
            )
        if policy.config.per_block and self.spec.attention_block is not None:
            raise ValueError("A threshold per block is not supported for models with block-causal attention.")
        return policy

    @torch.no_grad()
    def sample(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        seeds: torch.Tensor | None = None,
        threshold: torch.Tensor | None = None,
        anyone_busy: Callable[[bool], bool] = bool,
        on_step: Callable[[Trajectory], object] | None = None,
    ) -> Trajectory:
        """
        Complete a batch of prompts.

        Args:
            input_ids (`torch.Tensor` of shape `(rows, prompt_length)`, int64):
                Prompts, padded on the left.
            attention_mask (`torch.Tensor` of shape `(rows, prompt_length)`, *optional*):
                `0` on padding. Defaults to no padding.
            seeds (`torch.Tensor` of shape `(rows,)`, int64, *optional*):
                One seed per row. A row's sample depends on its own seed and prompt only, not on its batch mates.
                Drawn from PyTorch's global generator by default.
            threshold (`torch.Tensor` of shape `(rows,)`, *optional*):
                A threshold per row, instead of the one in the configuration.
            anyone_busy (`Callable[[bool], bool]`, *optional*):
                For models sharded over processes: receives whether this process still has work and returns whether
                any has. A process without work then runs dummy passes, so that all make the same number of them.
            on_step (`Callable[[Trajectory], object]`, *optional*):
                Called after each step with what has been recorded so far, on the host; to look at, not to change.

        Returns:
            [`Trajectory`]: on the device of `input_ids`.
        """
        device, input_ids = input_ids.device, input_ids.cpu()
        if input_ids.dtype != torch.long or input_ids.ndim != 2:
            raise ValueError(
                f"`input_ids` must be int64 of shape (rows, prompt_length), got {input_ids.dtype} of shape "
                f"{tuple(input_ids.shape)}."
            )
        attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.cpu()
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"`attention_mask` has shape {tuple(attention_mask.shape)}, `input_ids` {tuple(input_ids.shape)}."
            )
        if bool((attention_mask[:, 1:] < attention_mask[:, :-1]).any()):
            raise ValueError("Prompts must be padded on the left: `attention_mask` has a 0 after a 1.")
        if threshold is not None and self.config.unmasking in SCHEDULED_RULES:
            raise ValueError(f"`threshold` has no effect with `unmasking={self.config.unmasking!r}`.")
        if threshold is not None and self.threshold_policy is not None:
            raise ValueError("`threshold` and `learned_threshold` exclude each other.")
        threshold = None if threshold is None else threshold.cpu()
        if threshold is not None and not bool((threshold >= 0).all()):  # also refuses NaN
            raise ValueError("`threshold` must not be negative or NaN.")
        if seeds is None:
            seeds = torch.randint(2**62, (input_ids.shape[0],))
        for name, values in (("seeds", seeds), ("threshold", threshold)):
            if values is not None and values.shape != input_ids.shape[:1]:
                raise ValueError(f"`{name}` must have one value for each of the {len(input_ids)} rows.")
        run = _Rollout(self, device, input_ids, attention_mask, seeds.cpu(), threshold)
        with _eval_mode(self.model):
            while anyone_busy(run.busy):
                if run.busy:
                    run.step()
                    if on_step is not None:
                        on_step(run.trajectory)
                else:
                    self._dummy_pass(device)
        return run.trajectory.to(device)

    def _dummy_pass(self, device: torch.device) -> None:
        ids = torch.full((1, 1), self.spec.mask_token_id, device=device)
        ones = torch.ones_like(ids)
        head = None if self.threshold_policy is None else torch.zeros(1, dtype=torch.long, device=device)
        predict(self.model, self.spec, ids, ones, ones.bool(), lambda logits, _: (logits[:, 0],), head)


class _Rollout:
    """The state of one batch while it is decoded: on the host, for a model on `device`."""

    def __init__(
        self,
        sampler: DiffusionSampler,
        device: torch.device,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        seeds: torch.Tensor,
        threshold: torch.Tensor | None,
    ) -> None:
        self.model, self.config, self.spec = sampler.model, sampler.config, sampler.spec
        self.threshold_policy, self.device = sampler.threshold_policy, device
        (rows, self.prompt_length), length = input_ids.shape, self.config.max_new_tokens
        # Block-causal models count their blocks from the first token: the first block of the completion then begins
        # in the prompt, and there is one more of them.
        aligned = self.spec.attention_block is not None
        blocks = self.config.num_blocks + aligned
        self.offset = attention_mask.sum(-1) % self.config.block_length * aligned
        canvas = torch.full((rows, length), self.spec.mask_token_id, dtype=torch.long)
        self.canvas = torch.cat([input_ids, canvas], dim=1)
        self.attention_mask = torch.cat([attention_mask, attention_mask.new_ones(rows, length)], dim=1)
        self.eos = torch.tensor(self.config.eos_token_ids, dtype=torch.long)
        # A position is written once, so one uniform number per position is all the randomness its token needs.
        noise = uniform(seeds, (2 * length + blocks,))
        self.token_noise, self.order_noise, self.threshold_noise = noise.split([length, length, blocks], dim=1)
        if threshold is None:
            threshold = torch.full((rows,), self.config.threshold)
        learned = self.threshold_policy is not None
        self.trajectory = Trajectory(
            completion_ids=self.canvas[:, self.prompt_length :],  # a view: writing tokens writes the canvas
            unmask_step=torch.full((rows, length), -1),
            log_probs=torch.zeros(rows, length),
            entropies=torch.zeros(rows, length),
            nfe=torch.zeros(rows, dtype=torch.long),
            threshold=threshold.float()[:, None].repeat(1, blocks),
            slack=torch.zeros(rows),
            row_forwards=torch.zeros(rows),
            support=self._empty_support(rows, length),
            threshold_actions=torch.full((rows, blocks), torch.nan) if learned else None,
            threshold_log_probs=torch.zeros(rows, blocks) if learned else None,
        )
        # Rows of similar lengths share a forward pass, which leaves their common padding out.
        self._pending = attention_mask.sum(-1).argsort(descending=True, stable=True)
        self.cache = self._make_cache(aligned)
        self.meter = None
        if self.config.drift_check_rate:
            self.meter = DriftMeter(self.config.drift_check_rate, self.config.temperature, seeds)
            self.trajectory.drift = self.meter.sums

    def _make_cache(self, block_causal: bool) -> KeyValueCache | None:
        config = self.config
        what = self.model, self.spec, self.device, self.canvas, self.attention_mask, self.trajectory.row_forwards
        if block_causal and config.use_cache:
            return BlockCache(*what, places=config.max_batch_size, prompt_length=self.prompt_length)
        if config.approximate_cache is None:
            return None
        return ApproximateCache(
            *what,
            places=config.max_batch_size,
            kind=config.approximate_cache,
            block_length=config.block_length,
            refresh_interval=config.cache_refresh_interval,
        )

    @property
    def busy(self) -> bool:
        """Whether any row still has something to write, or any step is to be checked."""
        return self._pending.numel() > 0 or (self.meter is not None and self.meter.busy)

    def step(self) -> None:
        """One forward pass over the first unfinished rows, and what it writes."""
        record = self.trajectory
        if self.meter is not None and self.meter.busy:
            return self.meter.check(self.model, self.spec, self.device)
        rows = self._pending[: self.config.max_batch_size]
        if self.cache is not None and self.cache.admit(rows):
            return
        block, window, exists = self._active_block(rows)
        if self.cache is not None:
            together = self.cache.together(rows, self._start(rows, block))
            rows, block, window, exists = (values[together] for values in (rows, block, window, exists))
        masked = exists & (record.unmask_step[rows[:, None], window] < 0)
        (p_max, entropy, tokens, log_probs, *support), outputs = self._predict(rows, block, window, masked)
        if self.threshold_policy is not None and outputs is not None:
            self._choose_threshold(self.threshold_policy, rows, block, outputs)
        if not bool((p_max + entropy).isfinite().all()):
            raise FloatingPointError(
                "The model's logits are NaN or infinite: it has diverged. Lower the learning rate, or go back to an "
                "earlier checkpoint."
            )
        statistics = BlockStatistics(
            masked=masked,
            p_max=_spread(p_max, masked),
            entropy=_spread(entropy, masked),
            order_noise=self.order_noise[rows[:, None], window],
        )
        selected = self._select(statistics, rows, block, window, exists)

        chosen = selected[masked]  # among the predicted positions, those that are written
        r, c = rows[:, None].expand_as(window)[selected], window[selected]
        if record.support is not None:
            record.support[r, c] = support[0][chosen]
        record.completion_ids[r, c] = tokens[chosen]
        record.log_probs[r, c] = log_probs[chosen].float()
        record.entropies[r, c] = entropy[chosen].float()
        record.unmask_step[r, c] = record.nfe[r]
        written = statistics.entropy.masked_fill(~selected, 0.0)
        record.slack[rows] += (written.sum(-1) - written.amax(-1)).float()
        record.nfe[rows] += 1
        finished = torch.zeros(len(record), dtype=torch.bool)
        finished[rows] = self._finished(rows)
        self._pending = self._pending[~finished[self._pending]]

    def _active_block(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Each row's first block with a masked position, `(rows,)`; its positions within the completion,
        `(rows, block_length)`; and which of them exist.
        """
        size, offset = self.config.block_length, self.offset[rows]
        first_masked = (self.trajectory.unmask_step[rows] < 0).int().argmax(-1)
        block = (first_masked + offset) // size
        window = (block * size - offset)[:, None] + torch.arange(size)
        exists = (window >= 0) & (window < self.config.max_new_tokens)
        return block, window.clamp(0, self.config.max_new_tokens - 1), exists

    def _start(self, rows: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        """The column at which each row's active block begins, `(rows,)`."""
        return self.prompt_length + block * self.config.block_length - self.offset[rows]

    def _predict(
        self, rows: torch.Tensor, block: torch.Tensor, window: torch.Tensor, masked: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """
        At the masked positions of the active blocks: the largest probability, the entropy, the token to write, its
        log-probability, and what the distribution was truncated to, if it was. And the threshold head's output.
        """
        canvas, mask = self.canvas[rows], self.attention_mask[rows]
        first = kind = torch.arange(len(rows))
        if self.cache is None:  # whose states have a history
            first, kind = distinct(canvas.masked_fill(mask == 0, -1))
        sharing = kind.bincount(minlength=len(first))[kind]

        positions = torch.zeros_like(mask)
        positions = positions.scatter_add_(1, self.prompt_length + window, masked.to(positions.dtype))[first] > 0
        place = ranks(positions)[kind[:, None], self.prompt_length + window][masked]
        slot = slots(kind)[:, None].expand_as(masked)[masked]
        noise = self.token_noise.new_zeros(int(positions.sum()), int(sharing.max()))
        noise[place, slot] = self.token_noise[rows[:, None], window][masked]
        noise = noise.to(self.device, widest_float(self.device))

        def reduction(logits: torch.Tensor, part: slice) -> tuple[torch.Tensor, ...]:
            return look(logits, noise[part].to(logits.device), self.config)  # the head's, under a device map

        head = self._head_positions(window)
        if self.cache is not None:
            reduced, outputs = self.cache.predict(rows, self._start(rows, block), positions, reduction, head)
        else:
            self.trajectory.row_forwards[rows] += 1 / sharing
            head = None if head is None else head[first]
            what = canvas[first], mask[first], positions
            reduced, outputs = predict(self.model, self.spec, *what, reduction, head, device=self.device)
        # Here it is that the host waits for the device.
        p_max, entropy, tokens, log_probs, *support = (values.cpu() for values in reduced)
        if self.meter is not None and self.cache is not None and self.cache.approximate:
            self.meter.note(rows, canvas, mask, positions, tokens[:, 0], log_probs[:, 0])
        found = [
            p_max[place],
            entropy[place],
            tokens[place, slot],
            log_probs[place, slot],
            *(s[place] for s in support),
        ]
        return found, None if outputs is None else outputs.cpu()[kind]

    def _head_positions(self, window: torch.Tensor) -> torch.Tensor | None:
        """Where the threshold head reads: the last position before the active block, or of the prompt."""
        if self.threshold_policy is None:
            return None
        return self.prompt_length - 1 + window[:, 0] * self.threshold_policy.config.per_block

    def _choose_threshold(
        self, policy: ThresholdPolicy, rows: torch.Tensor, block: torch.Tensor, outputs: torch.Tensor
    ) -> None:
        """Draw the threshold of rows that need one: at the start of a block, or of the rollout."""
        record = self.trajectory
        assert record.threshold_actions is not None and record.threshold_log_probs is not None
        column = block * policy.config.per_block
        before = record.threshold_actions[rows, column]
        if self.config.learned_threshold == "greedy":
            actions = policy.greedy(outputs)
        else:
            actions = policy.sample(outputs, self.threshold_noise[rows, column])
        actions = torch.where(before.isnan(), actions, before)
        log_probs = torch.where(
            before.isnan(), policy.log_prob(outputs, actions), record.threshold_log_probs[rows, column]
        )
        record.threshold_actions[rows, column] = actions
        record.threshold_log_probs[rows, column] = log_probs
        thresholds = policy.threshold(actions)
        if policy.config.per_block:
            record.threshold[rows, block] = thresholds
        else:
            record.threshold[rows] = thresholds[:, None]

    def _select(
        self,
        statistics: BlockStatistics,
        rows: torch.Tensor,
        block: torch.Tensor,
        window: torch.Tensor,
        exists: torch.Tensor,
    ) -> torch.Tensor:
        rule, is_adaptive = RULES[self.config.unmasking], self.config.unmasking not in SCHEDULED_RULES
        if is_adaptive:
            selected = rule(statistics, self.trajectory.threshold[rows, block])
            if self.config.max_denoising_steps is None:
                return selected
        nfe = self.trajectory.nfe[rows]
        written_at = self.trajectory.unmask_step[rows[:, None], window]
        began = torch.where(exists & ~statistics.masked, written_at, nfe[:, None]).amin(-1)
        steps_left = (self.config.steps_per_block - (nfe - began)).clamp(min=1)
        if is_adaptive:
            return torch.where(steps_left[:, None] == 1, statistics.masked, selected)
        # Spread the block's tokens evenly over its steps, the remainder over the first ones.
        remaining = statistics.masked.sum(-1)
        return rule(statistics, (remaining + steps_left - 1) // steps_left)

    def _empty_support(self, rows: int, length: int) -> torch.Tensor | None:
        """Room for the tokens that could have been drawn, if the distribution is truncated."""
        if self.config.top_k is None or self.config.temperature == 0:
            return None
        return torch.full((rows, length, self.config.top_k), -1, dtype=torch.int32)

    def _finished(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows whose text is decided: all is written, or all up to the first end-of-text token."""
        record = self.trajectory
        written = record.unmask_step[rows] >= 0
        if self.config.stop_at_eos and self.eos.numel():
            ends = torch.isin(record.completion_ids[rows], self.eos) & written
            written = written | (ends.cumsum(-1) > 0)
        return written.all(-1)


def _spread(values: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
    """One value per masked position, in a block."""
    return torch.zeros(masked.shape, dtype=values.dtype, device=values.device).masked_scatter(masked, values)


@contextmanager
def _eval_mode(model: torch.nn.Module):
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:  # not `model.train()`: some parts may have been in eval mode on purpose
            module.training = True
