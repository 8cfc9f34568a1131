# SPDX-License-Identifier: Apache-2.0
"""
The published algorithms without any care, to measure against.

Generation in semi-autoregressive blocks with low-confidence remasking is algorithm 5 of LLaDA
(https://huggingface.co/papers/2502.09992), the mean-field likelihood that of d1
(https://huggingface.co/papers/2504.12216, section 3.2). Every step computes the logits of the whole canvas, every row
waits for the others, and the normalisation is a tensor of the logits' size.
"""

import torch


@torch.no_grad()
def generate(model, prompts, mask_token_id, length, block_length, steps):
    """Greedy completions `(rows, length)`, with as many tokens in each step."""
    prompt_length = prompts.shape[1]
    canvas = torch.nn.functional.pad(prompts, (0, length), value=mask_token_id)
    per_step = length // steps
    for start in range(prompt_length, prompt_length + length, block_length):
        for _ in range(block_length // per_step):
            logits = model(canvas).logits
            logits[..., mask_token_id] = -torch.inf
            tokens = logits.argmax(-1)
            confidence = logits.double().softmax(-1).gather(-1, tokens[..., None])[..., 0]
            confidence[canvas != mask_token_id] = -torch.inf
            confidence[:, :start] = confidence[:, start + block_length :] = -torch.inf
            for row in range(len(canvas)):
                chosen = confidence[row].topk(per_step).indices
                canvas[row, chosen] = tokens[row, chosen]
    return canvas[:, prompt_length:]


def mean_field_log_probs(model, prompts, completions, mask_token_id):
    """Log-probabilities `(rows, length)` of completions, all of whose tokens are masked."""
    length = completions.shape[1]
    canvas = torch.nn.functional.pad(prompts, (0, length), value=mask_token_id)
    logits = model(canvas).logits[:, -length:].float()
    logits[..., mask_token_id] = torch.finfo(logits.dtype).min
    return logits.log_softmax(-1).gather(-1, completions[..., None])[..., 0]
