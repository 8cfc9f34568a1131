# SPDX-License-Identifier: Apache-2.0
"""
The published algorithms without any care, to measure against.

Generation in semi-autoregressive blocks with low-confidence remasking is algorithm 5 of LLaDA
(https://huggingface.co/papers/2502.09992), with a confidence threshold it is that of Fast-dLLM
(https://huggingface.co/papers/2505.22618), the mean-field likelihood that of d1
(https://huggingface.co/papers/2504.12216, section 3.2), two-times mean-field that of DiFFPO
(https://huggingface.co/papers/2510.02212, section 3). Every step computes the logits of the whole canvas, every row
waits for the others, and the normalisation is a tensor of the logits' size.
"""

import torch


def confidences(model, canvas, mask_token_id):
    """The most likely token everywhere, and its probability where nothing is written."""
    logits = model(canvas).logits
    logits[..., mask_token_id] = -torch.inf
    tokens = logits.argmax(-1)
    confidence = logits.double().softmax(-1).gather(-1, tokens[..., None])[..., 0]
    confidence[canvas != mask_token_id] = -torch.inf
    return tokens, confidence


@torch.no_grad()
def generate(model, prompts, mask_token_id, length, block_length, steps):
    """Greedy completions `(rows, length)`, with as many tokens in each step."""
    prompt_length = prompts.shape[1]
    canvas = torch.nn.functional.pad(prompts, (0, length), value=mask_token_id)
    per_step = length // steps
    for start in range(prompt_length, prompt_length + length, block_length):
        for _ in range(block_length // per_step):
            tokens, confidence = confidences(model, canvas, mask_token_id)
            confidence[:, :start] = confidence[:, start + block_length :] = -torch.inf
            for row in range(len(canvas)):
                chosen = confidence[row].topk(per_step).indices
                canvas[row, chosen] = tokens[row, chosen]
    return canvas[:, prompt_length:]


@torch.no_grad()
def generate_above(model, prompts, mask_token_id, length, block_length, threshold):
    """Greedy completions `(rows, length)`, with all tokens above a threshold in each step, at least one per row."""
    prompt_length = prompts.shape[1]
    canvas = torch.nn.functional.pad(prompts, (0, length), value=mask_token_id)
    for start in range(prompt_length, prompt_length + length, block_length):
        block = slice(start, start + block_length)
        while (canvas[:, block] == mask_token_id).any():
            tokens, confidence = confidences(model, canvas, mask_token_id)
            confidence[:, :start] = confidence[:, start + block_length :] = -torch.inf
            for row in range(len(canvas)):
                if (canvas[row, block] == mask_token_id).any():
                    best = confidence[row].argmax()
                    chosen = (confidence[row] >= threshold).index_fill(0, best, True)
                    canvas[row, chosen] = tokens[row, chosen]
    return canvas[:, prompt_length:]


def log_probs(model, canvas, completions, mask_token_id):
    """Log-probabilities `(rows, length)` of the completions' tokens, given a canvas."""
    logits = model(canvas).logits[:, -completions.shape[1] :].float()
    logits[..., mask_token_id] = torch.finfo(logits.dtype).min
    return logits.log_softmax(-1).gather(-1, completions[..., None])[..., 0]


def mean_field_log_probs(model, prompts, completions, mask_token_id):
    """All tokens given the canvas on which nothing is written."""
    canvas = torch.nn.functional.pad(prompts, (0, completions.shape[1]), value=mask_token_id)
    return log_probs(model, canvas, completions, mask_token_id)


def two_times_log_probs(model, prompts, completions, mask_token_id, unmask_step, tau):
    """Tokens of the first `tau` steps given that canvas, the others given the one after `tau` steps."""
    early = unmask_step < tau[:, None]
    later_canvas = torch.cat([prompts, completions.where(early, mask_token_id)], dim=1)
    first = mean_field_log_probs(model, prompts, completions, mask_token_id)
    return torch.where(early, first, log_probs(model, later_canvas, completions, mask_token_id))
