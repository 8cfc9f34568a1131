# SPDX-License-Identifier: Apache-2.0
"""The command line of EleutherAI's lm-evaluation-harness, which then knows `--model trl-diffusion`.

    python -m trl_diffusion.scripts.lm_eval --model trl-diffusion --tasks gsm8k --apply_chat_template \\
        --model_args pretrained=GSAI-ML/LLaDA-8B-Instruct,max_new_tokens=256,block_length=32 --batch_size 16

See [`~trl_diffusion.evaluation.harness.DiffusionLM`] for the arguments. Needs `pip install trl-diffusion[lm-eval]`.
"""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from lm_eval.__main__ import cli_evaluate

        from ..evaluation import harness as harness  # registers the model
    except ImportError as error:
        sys.exit(f"{error}. The harness comes with `pip install 'trl-diffusion[lm-eval]'`.")
    cli_evaluate()


if __name__ == "__main__":
    main()
