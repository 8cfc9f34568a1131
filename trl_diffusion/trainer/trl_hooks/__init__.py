# SPDX-License-Identifier: Apache-2.0
"""
The seam with TRL: the only package that touches private parts of `GRPOTrainer`.

TRL's training step is kept whole: prompts, tokenization, decoding, rewards, advantages, buffering, the loss with all
its variants, metrics, logging, checkpoints. These of its methods are overridden to put a diffusion model in:

- `_generate_single_turn`: the sampler fills canvases instead of `generate`;
- `_generate_and_score_completions`: the trajectories join the tensors that TRL shuffles, splits and buffers;
- `_get_per_token_logps_and_entropies`: the estimator scores tokens instead of a causal forward pass. It is called
  for the old and the reference policy before the rewards are known, where it only takes note: they are scored after
  the rewards, where they count, once per draw, `(rows, num_iterations, canvas length)`. And it is called for the
  current policy inside the loss;
- `_prepare_inputs`: completions of a prompt go through the model together, where they share canvases;
- `_compute_loss`: picks the draw of the running inner iteration, goes through its passes, and hands their scores to
  TRL's loss or to the method's own objective.

Nothing about a batch is kept on the trainer beyond the call that handles it, so that an evaluation in the middle of a
buffered batch cannot disturb it. A TRL upgrade is checked against [`check_trl`] and changes these files alone.
"""

from .contract import check_trl
from .hooks import GRPOHooks


__all__ = ["GRPOHooks", "check_trl"]
